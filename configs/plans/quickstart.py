# The quickstart: a small Swin learns handwritten digits with TL-Align and, as the
# control, with plain CutMix, three seeds each; UperNet and Cascade Mask R-CNN are then
# trained from the backbones of the first seed and from random weights, all with the
# same budget.
#
#   bash tools/quickstart.sh
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE
#
# Cost: five to fourteen minutes on two CPU cores. All values are ours.
starts = dict(
    tlalign=dict(
        title='TL-Align',
        config='configs/quickstart/tlalign_swin-mini-p4-w3_digits-48px.py',
        options={'data_root': '{data}/digits'},
    ),
    control=dict(
        title='CutMix control',
        config='configs/quickstart/cutmix_swin-mini-p4-w3_digits-48px.py',
        options={'data_root': '{data}/digits'},
    ),
    scratch=dict(title='random weights'),
)
tasks = dict(
    segment=dict(
        title='UperNet',
        config='configs/quickstart/swin-mini-p4-w3_upernet_digits-96x96.py',
        options={'data_root': '{data}/ade'},
    ),
    detect=dict(
        title='Cascade R-CNN',
        config='configs/quickstart/cascade-mask-rcnn_swin-mini-p4-w3_fpn_digits-96x96.py',
        options={'data_root': '{data}/coco'},
    ),
    labels=dict(
        title='labels',
        suite=['labels'],
        items=['rmse', 'empty-box', 'microscope'],
        metrics={'RMSE %': 'rmse', 'phantom points': 'empty-box'},
        arguments=['--data', '{data}', '--pairs', '1024'],
    ),
)
seeds = [0, 1, 2]
task_seeds = [0]
data = 'data/quickstart'
# Draws the images, unless they exist.
before = [['tools/demo/quickstart_data.py', '{data}']]
note = (
    'Each row is one way to begin. A small Swin learned to name a digit anywhere on a '
    'busy background from 600 images, with labels that follow the tokens (TL-Align) or '
    'the area of the pasted box (its control); top-1 is its accuracy on 710 others. '
    'Then UperNet and Cascade Mask R-CNN learned from 60 scenes, beginning with that '
    'backbone or with random weights; mIoU and AP are measured on 96 others. Higher is '
    'better. RMSE is how far the label share that arrives through the attention of '
    'the network lies from the area of the box; phantom points, how much label mass '
    'TL-Align moves off digits that the pasted box does not show (negative: less than '
    'with CutMix). A difference smaller than the spread says nothing.'
)
# The whole path at small scale: enough to see that it works, too little to learn.
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
    seeds=[0],
    options={
        'train_cfg.max_iters': 12,
        'train_cfg.val_interval': 12,
        'default_hooks.checkpoint.interval': 4,
        'default_hooks.logger.interval': 2,
        'param_scheduler.0.end': 4,
        'param_scheduler.1.begin': 4,
    },
)
