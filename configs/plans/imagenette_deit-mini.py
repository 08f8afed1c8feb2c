# The plan imagenette_swin-mini.py with a small DeiT: pretrained on Imagenette, then
# UperNet on CamVid and Cascade Mask R-CNN on persons of 100 COCO images.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE --data DIR
#
# DIR as in its base. Cost: its stages took us 69 minutes in total, with one CPU core
# per run, beside other work. All values are ours; see docs/results.md.
_base_ = './imagenette_swin-mini.py'

starts = dict(
    tlalign=dict(config='configs/small/tlalign_deit-mini-p8_imagenette-64px.py'),
    control=dict(config='configs/small/cutmix_deit-mini-p8_imagenette-64px.py'),
)
tasks = dict(
    segment=dict(config='configs/small/deit-mini-p8_mln-upernet_camvid-128x128.py'),
    detect=dict(
        config='configs/small/'
        'cascade-mask-rcnn_deit-mini-p8_pyramid-fpn_coco-persons.py'
    ),
)
