# TransMix: the control's images, labels weighed by the attention of the class token.
#   python tools/train.py configs/small/transmix_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    where the pictures lie
# Expected: in no paper.
# Measured: no.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: every number.
_base_ = './cutmix_vit-mini-p4_cifar10-32px.py'

model = dict(head=dict(type='mmtlalign.TransMixVisionTransformerClsHead'))
