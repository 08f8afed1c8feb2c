# Control of TL-Align's DeiT III-B: plain CutMix, all else the same.
#   bash tools/dist_train.sh configs/cutmix/cutmix_timm-deit3-base-p16_in1k-pre_8xb64-20e_in1k.py 8 --amp
# Cost and numbers: as the config below. Ours: that there is a control.
_base_ = '../tlalign/tlalign_timm-deit3-base-p16_in1k-pre_8xb64-20e_in1k.py'

model = dict(
    head=dict(type='LinearClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
