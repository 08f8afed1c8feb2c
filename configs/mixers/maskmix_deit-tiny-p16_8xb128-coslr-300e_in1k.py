# MaskMix alone with DeiT-T, patches of 16, on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/maskmix_deit-tiny-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: official MixPro configs (fistyee/MixPro) and their training loop; ICLR 2023.
# Ours: cells of 32 pixels, two tokens a side, since the official 56 is no multiple of
# 16.
_base_ = './mixup-cutmix_deit-tiny-p16_8xb128-coslr-300e_in1k.py'

model = dict(
    train_cfg=dict(
        augments=[
            dict(type='mmtlalign.MaskMix', alpha=1.0, cell=32),
            dict(type='mmtlalign.Mixup', alpha=0.8),
            dict(type='mmtlalign.CutMix', alpha=1.0),
        ],
        probs=[0.5, 0.25, 0.25],
    ),
)
