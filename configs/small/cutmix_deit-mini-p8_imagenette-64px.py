# The control: plain CutMix. Nothing but the head and the augment differs.
#
#   python tools/train.py THIS_FILE
#
# Cost and every number: as its base, so ours.
_base_ = './tlalign_deit-mini-p8_imagenette-64px.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
