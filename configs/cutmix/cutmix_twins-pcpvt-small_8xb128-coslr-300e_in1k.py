# Control of TL-Align's Twins-PCPVT-S: plain CutMix, all else the same.
#   bash tools/dist_train.sh configs/cutmix/cutmix_twins-pcpvt-small_8xb128-coslr-300e_in1k.py 8 --amp
# Cost and numbers: as the config below. Ours: that there is a control.
_base_ = '../tlalign/tlalign_twins-pcpvt-small_8xb128-coslr-300e_in1k.py'

model = dict(
    head=dict(type='LinearClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
