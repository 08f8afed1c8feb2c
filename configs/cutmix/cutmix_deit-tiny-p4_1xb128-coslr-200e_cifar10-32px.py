# Control of TL-Align and TransMix on CIFAR-10 at 32 px: plain CutMix.
#   python tools/train.py configs/cutmix/cutmix_deit-tiny-p4_1xb128-coslr-200e_cifar10-32px.py
# Expected accuracy and cost: not measured by us; one GPU.
# Numbers: all ours, as of the config below.
_base_ = '../tlalign/tlalign_deit-tiny-p4_1xb128-coslr-200e_cifar10-32px.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
