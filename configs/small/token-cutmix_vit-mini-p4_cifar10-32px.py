# CutMix with boxes on the token grid, the target by area: the images of TL-Align
# without its labels.
#   python tools/train.py configs/small/token-cutmix_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    the folder of the images
# Expected: no published number.
# Measured: not yet.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: the comparison with this run.
_base_ = './_base_/cifar10_32px.py'

model = dict(
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)]
    ),
)
