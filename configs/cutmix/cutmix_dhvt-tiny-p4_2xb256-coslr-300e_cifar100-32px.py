# Control of tlalign_dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px: plain CutMix, all
# else the same.
#   bash tools/dist_train.sh configs/cutmix/cutmix_dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px.py 2 --amp
# Expected top-1: in no paper; not trained by us. Cost: not measured by us.
# Numbers: as the config below. Ours: that there is a control.
_base_ = '../tlalign/tlalign_dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
