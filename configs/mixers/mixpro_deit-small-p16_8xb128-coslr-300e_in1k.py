# MixPro (MaskMix and progressive attention labels) with DeiT-S, patches of 16, on
# ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/mixpro_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number that we could confirm.
# Measured: not yet.
# Cost: not measured by us.
# Source: official MixPro configs (fistyee/MixPro) and their training loop; ICLR 2023.
# The released configs for DeiT have patches of 14.
# Ours: cells of 32 pixels, two tokens a side, since the official 56 is no multiple of
# 16. Labels follow the attention in CutMix batches as well; labels are smoothed; no
# gradient flows through the confidence (with detach=False it does).
_base_ = './maskmix_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(
    head=dict(type='mmtlalign.TransMixVisionTransformerClsHead', ratio='confidence'),
)
