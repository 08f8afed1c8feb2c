# SMMix with DeiT-S and TL-Align on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/smmix-tlalign_deit-small-p16_4xb256-coslr-300e_in1k.py 4 --amp
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config, which is the control.
# Ours: the class label is weighted by the traced share instead of the area; the other
# terms are those of SMMix.
_base_ = './smmix_deit-small-p16_4xb256-coslr-300e_in1k.py'

model = dict(head=dict(type='mmtlalign.TLAlignSMMixVisionTransformerClsHead'))
