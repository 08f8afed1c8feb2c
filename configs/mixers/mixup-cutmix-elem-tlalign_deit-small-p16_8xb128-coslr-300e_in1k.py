# DeiT-S with TL-Align on ImageNet-1k, Mixup or CutMix drawn for each image, from
# scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix-elem-tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config, which is the control.
# Ours: the use of TL-Align with this mixing: images mixed by Mixup keep their share.
_base_ = './mixup-cutmix-elem_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(head=dict(type='mmtlalign.TLAlignVisionTransformerClsHead'))
