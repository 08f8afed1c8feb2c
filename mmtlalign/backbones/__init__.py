"""Networks that no host library has. One network, one file."""

from mmtlalign.backbones.caswin import CASwin
from mmtlalign.backbones.dhvt import DHVT
from mmtlalign.backbones.global_pooling import GlobalAveragePooling
from mmtlalign.backbones.pvt import PVT
from mmtlalign.backbones.timm_backbone import TIMMBackbone
from mmtlalign.backbones.token_pooling import TokenPooling

__all__ = [
    'CASwin',
    'DHVT',
    'GlobalAveragePooling',
    'PVT',
    'TIMMBackbone',
    'TokenPooling',
]
