# Real images at small scale: a small Swin pretrained on Imagenette, then UperNet on
# CamVid and Cascade Mask R-CNN on persons of 100 COCO images.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE --data DIR
#
# DIR holds imagenette224/, camvid/ and coco200seg/ (100 + 100 COCO images).
# Cost: its stages took us 62 minutes in total, with one CPU core per run, beside other
# work. All values are ours; see docs/results.md.
starts = dict(
    tlalign=dict(
        title='TL-Align',
        config='configs/small/tlalign_swin-mini-p4-w4_imagenette-64px.py',
        options={'data_root': '{data}/imagenette224'},
    ),
    control=dict(
        title='CutMix control',
        config='configs/small/cutmix_swin-mini-p4-w4_imagenette-64px.py',
        options={'data_root': '{data}/imagenette224'},
    ),
    scratch=dict(title='from scratch'),
)
tasks = dict(
    segment=dict(
        title='CamVid',
        config='configs/small/swin-mini-p4-w4_upernet_camvid-128x128.py',
        options={'data_root': '{data}/camvid'},
    ),
    detect=dict(
        title='COCO persons',
        config='configs/small/cascade-mask-rcnn_swin-mini-p4-w4_fpn_coco-persons.py',
        options={'data_root': '{data}/coco200seg'},
        metrics={'box AP50': 'coco/bbox_mAP_50', 'mask AP50': 'coco/segm_mAP_50'},
    ),
)
seeds = [0, 1, 2]
data = 'data/real'
smoke = dict(
    options={
        'train_cfg.max_iters': 12,
        'train_cfg.val_interval': 12,
        'default_hooks.checkpoint.interval': 4,
        'default_hooks.logger.interval': 2,
        'param_scheduler.0.end': 4,
        'param_scheduler.1.begin': 4,
    }
)
note = (
    'Small networks, small images, minutes of training: this says how the way '
    'behaves, not how good a method is on ImageNet.'
)
