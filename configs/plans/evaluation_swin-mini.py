# The plan evaluation_deit-mini.py with a small Swin, which has no class token.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE --data DIR
#
# DIR as in its base. Cost: not measured, about that of its base. All values are ours.
_base_ = './evaluation_deit-mini.py'

starts = dict(
    tlalign=dict(config='configs/small/tlalign_swin-mini-p4-w4_imagenette-64px.py'),
    control=dict(config='configs/small/cutmix_swin-mini-p4-w4_imagenette-64px.py'),
)
