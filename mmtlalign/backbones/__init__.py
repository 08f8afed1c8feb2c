"""Networks and necks that no host library has. One network, one file."""

from mmtlalign.backbones.caswin import CASwin
from mmtlalign.backbones.dhvt import DHVT
from mmtlalign.backbones.global_pooling import GlobalAveragePooling
from mmtlalign.backbones.lvvit import LVViT
from mmtlalign.backbones.pvt import PVT
from mmtlalign.backbones.side_layers import SideLayers
from mmtlalign.backbones.simple_feature_pyramid import SimpleFeaturePyramid
from mmtlalign.backbones.timm_backbone import TIMMBackbone
from mmtlalign.backbones.token_pooling import TokenPooling
from mmtlalign.backbones.windowed_vit import WindowedViT

__all__ = [
    'CASwin',
    'DHVT',
    'GlobalAveragePooling',
    'LVViT',
    'PVT',
    'SideLayers',
    'SimpleFeaturePyramid',
    'TIMMBackbone',
    'TokenPooling',
    'WindowedViT',
]
