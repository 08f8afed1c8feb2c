# LV-ViT-S with token labels and TL-Align on ImageNet-1k, from scratch: of two mixed
# images the class token learns as much as attention brings to it, not their areas.
#   bash tools/dist_train.sh configs/token_labeling/tlalign-token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py 8 --amp
# Label maps: as for the config below.
# Expected top-1: in no paper; not trained by us. Cost: not measured by us. Its control
# is the config below, whose other label is the area.
# Numbers: as below. Ours: this combination (heads/tl_align_token_head.py). Branches of
# this network are divided by 2; residual=2.0 in the head weighs what is skipped likewise.
_base_ = './token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py'

model = dict(head=dict(type='mmtlalign.TLAlignTokenLabelClsHead', traced='share'))
