# MaskMix alone with DeiT-S, patches of 14, on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/maskmix_deit-small-p14_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number is known.
# Measured: no.
# Cost: not measured by us.
# Source: official MixPro configs (fistyee/MixPro) and their loop; ICLR 2023. It is what
# these configs train: progressive attention labels are off in all that are for DeiT.
# Patches of 14 are those of all DeiT configs there: 257 in place of 197 tokens, 31 %
# more.
# Ours: Cells of 56 pixels are the official ones.
_base_ = './mixup-cutmix_deit-small-p14_8xb128-coslr-300e_in1k.py'

model = dict(
    train_cfg=dict(
        augments=[
            dict(type='mmtlalign.MaskMix', alpha=1.0, cell=56),
            dict(type='mmtlalign.Mixup', alpha=0.8),
            dict(type='mmtlalign.CutMix', alpha=1.0),
        ],
        probs=[0.5, 0.25, 0.25],
    ),
)
