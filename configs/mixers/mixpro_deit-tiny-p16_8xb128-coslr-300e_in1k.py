# MixPro (MaskMix and progressive attention labels) with DeiT-T, patches of 16, on
# ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/mixpro_deit-tiny-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: top-1 73.8 (plain DeiT-T 72.2), the abstract, which does not say the size of
# the patches.
# Measured: no.
# Cost: not measured by us.
# Source: official MixPro configs (fistyee/MixPro) and their loop; ICLR 2023. Released
# configs for DeiT have patches of 14.
# Ours: Cells of 32 pixels, two tokens a side: the official 56 are no multiple of 16.
# The labels follow the attention in batches of CutMix, too; the labels are smoothed; no
# gradient flows through the confidence (detach=False lets it).
_base_ = './maskmix_deit-tiny-p16_8xb128-coslr-300e_in1k.py'

model = dict(
    head=dict(type='mmtlalign.TransMixVisionTransformerClsHead', ratio='confidence'),
)
