# Made by tools/configs/generate.py: change its tables, not this file.
# TransMix with DHVT-T fine-tuned from ImageNet-1k on CIFAR-100 at 224 px.
#   bash tools/dist_train.sh configs/transmix/transmix_dhvt-tiny-p16_in1k-pre_2xb128-coslr-100e_cifar100-224px.py 2 --amp
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the official recipe of DHVT, the base config, which is the control.
# Ours: the use of this recipe for TransMix, and the rule that the attention of the
# class token to head tokens counts equally for all tokens (Tracer.append_tokens).
_base_ = '../dhvt/dhvt-tiny-p16_in1k-pre_2xb128-coslr-100e_cifar100-224px.py'

model = dict(head=dict(type='mmtlalign.TransMixVisionTransformerClsHead'))
