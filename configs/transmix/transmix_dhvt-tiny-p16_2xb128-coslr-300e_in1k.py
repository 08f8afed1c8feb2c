# Made by tools/configs/generate.py: change its tables, not this file.
# TransMix with DHVT-T on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/transmix/transmix_dhvt-tiny-p16_2xb128-coslr-300e_in1k.py 2 --amp
# Expected: in no paper.
# Measured: no.
# Cost: not measured by us.
# Source: the official recipe of DHVT, the base config, which is the control.
# Ours: that TransMix runs with it, and that what the class token gives to head tokens
# counts for all tokens alike (Tracer.append_tokens).
_base_ = '../dhvt/dhvt-tiny-p16_2xb128-coslr-300e_in1k.py'

model = dict(head=dict(type='mmtlalign.TransMixVisionTransformerClsHead'))
