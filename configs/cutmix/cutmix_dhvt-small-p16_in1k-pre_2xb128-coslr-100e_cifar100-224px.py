# Control of tlalign_dhvt-small-p16_in1k-pre_2xb128-coslr-100e_cifar100-224px: plain
# CutMix, all else the same.
#   bash tools/dist_train.sh configs/cutmix/cutmix_dhvt-small-p16_in1k-pre_2xb128-coslr-100e_cifar100-224px.py 2 --amp
# Expected top-1: in no paper; not trained by us. Cost: not measured by us.
# Numbers: as the config below. Ours: that there is a control.
_base_ = (
    '../tlalign/tlalign_dhvt-small-p16_in1k-pre_2xb128-coslr-100e_cifar100-224px.py'
)

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
