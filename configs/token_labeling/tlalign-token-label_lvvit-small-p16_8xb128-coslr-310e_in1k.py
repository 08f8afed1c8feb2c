# LV-ViT-S with token labels and TL-Align on ImageNet-1k, from scratch: of two mixed
# images the class token learns as much as attention brings to it, not their areas.
#   bash tools/dist_train.sh configs/token_labeling/tlalign-token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py 8 --amp
# Label maps: as for the base config.
# Expected: in no paper. Its control is the base config, whose other label is the area.
# Measured: no.
# Cost: not measured by us.
# Source: as the base config.
# Ours: this combination (mmtlalign/methods/token_labeling). Branches of this network
# are divided by 2; residual=2.0 in the head weighs what is skipped likewise.
_base_ = './token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py'

model = dict(head=dict(type='mmtlalign.TLAlignTokenLabelClsHead', traced='share'))
