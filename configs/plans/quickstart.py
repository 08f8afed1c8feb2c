# The quickstart: a small Swin learns handwritten digits with TL-Align and, as the
# control, with plain CutMix; UperNet and Cascade Mask R-CNN go on from both backbones
# and from random weights, all three with the same budget.
#
#   bash tools/quickstart.sh
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE
#
# Cost: ten minutes on two CPU cores. Every number is ours.
starts = dict(
    tlalign=dict(
        title='TL-Align',
        config='configs/quickstart/tlalign_swin-mini-p4-w4_digits-64px.py',
        options={'data_root': '{data}/digits'},
    ),
    control=dict(
        title='CutMix control',
        config='configs/quickstart/cutmix_swin-mini-p4-w4_digits-64px.py',
        options={'data_root': '{data}/digits'},
    ),
    scratch=dict(title='from scratch'),
)
tasks = dict(
    segment=dict(
        title='UperNet',
        config='configs/quickstart/swin-mini-p4-w4_upernet_digits-128x128.py',
        options={'data_root': '{data}/ade'},
    ),
    detect=dict(
        title='Cascade Mask R-CNN',
        config='configs/quickstart/cascade-mask-rcnn_swin-mini-p4-w4_fpn_digits-128x128.py',
        options={'data_root': '{data}/coco'},
    ),
)
data = 'data/quickstart'
# Paints the images, unless they are there.
before = [['tools/demo/quickstart_data.py', '{data}']]
# The whole path in little: enough to see that it works, too little to learn.
smoke = dict(
    data='data/quickstart-smoke',
    before=[
        [
            'tools/demo/quickstart_data.py',
            '{data}',
            '--train',
            '48',
            '--val',
            '16',
        ]
    ],
    options={
        'train_cfg.max_iters': 12,
        'train_cfg.val_interval': 12,
        'default_hooks.checkpoint.interval': 4,
        'default_hooks.logger.interval': 2,
        'param_scheduler.0.end': 4,
        'param_scheduler.1.begin': 4,
    },
)
