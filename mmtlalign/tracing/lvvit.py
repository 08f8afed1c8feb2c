"""LV-ViT of this package: a plain transformer whose patches have a stem.

Its attention is mmpretrain's and is tapped as such. Shares move by the plain rule,
half from the token and half from attention, although ``skip_lam`` weakens the
branches: the published rule knows no such weight. A rule that does is a proposal of
ours, off by default: ``residual=skip_lam`` in the head, 2 for LV-ViT-S and M, 3 for L,
which is ``p <- (skip_lam p + A p) / (skip_lam + 1)``.
"""

import dataclasses

from mmtlalign.backbones.lvvit import LVViT

from .known import register_backbone
from .mmpretrain_vit import VIT

register_backbone(
    LVViT,
    dataclasses.replace(
        VIT,
        patch=lambda backbone: (backbone.patch_size, backbone.patch_size),
        note='class token',
    ),
)
