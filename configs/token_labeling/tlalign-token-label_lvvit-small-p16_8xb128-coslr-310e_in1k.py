# LV-ViT-S with token labels and TL-Align on ImageNet-1k, from scratch: the class token
# learns the labels of two mixed images by the share that attention brings to it, not by
# area.
#   bash tools/dist_train.sh configs/token_labeling/tlalign-token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py 8 --amp
# Label maps: as for the base config.
# Expected: no published number. The control is the base config, in which the class
# token's labels are weighted by area.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: this combination (mmtlalign/methods/token_labeling). The residual branches of
# this network are divided by 2; residual=2.0 in the head weights the skip connections
# accordingly.
_base_ = './token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py'

model = dict(head=dict(type='mmtlalign.TLAlignTokenLabelClsHead', traced='share'))
