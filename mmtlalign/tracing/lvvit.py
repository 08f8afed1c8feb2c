"""LV-ViT of this package: a plain transformer whose patches have a stem.

Its attention is mmpretrain's and is tapped as such. Shares move by the plain rule,
half from the token and half from attention, although ``skip_lam`` weakens the
branches: the published rule knows no such weight.
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
