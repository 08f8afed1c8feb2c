# CutMix with boxes on the token grid, the target by their area: TL-Align's images
# without its labels.
#   python tools/train.py configs/small/token-cutmix_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    where the pictures lie
# Expected: in no paper.
# Measured: no.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: that there is this comparison.
_base_ = './_base_/cifar10_32px.py'

model = dict(
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)]
    ),
)
