# Made by tools/configs/generate.py: change its tables, not this file.
# TL-Align with PVT-M on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/tlalign/tlalign_pvt-medium_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: the paper's table contains PVT, but we could not confirm its numbers.
# Measured: not yet.
# Cost: not measured by us.
# Source: PVT's own recipe, the base config.
# Ours: the use of this recipe for TL-Align; the paper states neither its PVT settings
# nor the grid of the box, which is here that of the patch embedding. CutMix mixes every
# batch and Mixup is off, as in its recipe for DeiT.
_base_ = '../pvt/pvt-medium_8xb128-coslr-300e_in1k.py'

model = dict(
    head=dict(type='mmtlalign.TLAlignVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)],
        probs=None,
    ),
)
