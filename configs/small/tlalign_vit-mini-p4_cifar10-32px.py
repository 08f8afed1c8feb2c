# TL-Align on CIFAR-10: a ViT of five layers, 65 tokens and 1 M parameters.
#   python tools/train.py configs/small/tlalign_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    the folder of the images
# Expected: no published number.
# Measured: not yet.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: no published source.
# Ours: every value of the recipe.
_base_ = './_base_/cifar10_32px.py'

model = dict(
    head=dict(type='mmtlalign.TLAlignVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)]
    ),
)
