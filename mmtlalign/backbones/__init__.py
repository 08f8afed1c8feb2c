"""Backbones and necks that the OpenMMLab libraries lack, one network per file."""

from mmtlalign.backbones.caswin import CASwin
from mmtlalign.backbones.dhvt import DHVT
from mmtlalign.backbones.lvvit import LVViT
from mmtlalign.backbones.necks import (
    GlobalAveragePooling,
    LVViTNeck,
    SimpleFeaturePyramid,
    TokenPooling,
)
from mmtlalign.backbones.pvt import PVT
from mmtlalign.backbones.timm_backbone import TIMMBackbone
from mmtlalign.backbones.windowed_vit import WindowedViT

__all__ = [
    'CASwin',
    'DHVT',
    'GlobalAveragePooling',
    'LVViT',
    'LVViTNeck',
    'PVT',
    'SimpleFeaturePyramid',
    'TIMMBackbone',
    'TokenPooling',
    'WindowedViT',
]
