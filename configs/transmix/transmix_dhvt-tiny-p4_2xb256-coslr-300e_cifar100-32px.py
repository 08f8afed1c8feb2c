# Made by tools/configs/generate.py: change its tables, not this file.
# TransMix with DHVT-T with patches of 4 on CIFAR-100 at 32 px, from scratch.
#   bash tools/dist_train.sh configs/transmix/transmix_dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px.py 2 --amp
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the official recipe of DHVT, the base config, which is the control.
# Ours: the use of this recipe for TransMix, and the rule that the attention of the
# class token to head tokens counts equally for all tokens (Tracer.append_tokens).
_base_ = '../dhvt/dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px.py'

model = dict(head=dict(type='mmtlalign.TransMixVisionTransformerClsHead'))
