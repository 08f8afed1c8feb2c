"""Heads: how the target of a mixed batch is read, and the loss. One paper, one file."""

from .esvit_head import EsViTHead
from .linear_probe_head import LinearProbeHead
from .map_batch import collate_label_maps
from .mix_head import MixHead
from .tl_align_head import (
    TLAlignDeiTClsHead,
    TLAlignLinearClsHead,
    TLAlignVisionTransformerClsHead,
)
from .tl_align_token_head import TLAlignTokenLabelClsHead
from .token_label_head import TokenLabelClsHead
from .token_label_loss import TokenLabelLoss
from .transmix_head import (
    TransMixDeiTClsHead,
    TransMixLinearClsHead,
    TransMixVisionTransformerClsHead,
)

__all__ = [
    'EsViTHead',
    'LinearProbeHead',
    'MixHead',
    'TLAlignDeiTClsHead',
    'TLAlignLinearClsHead',
    'TLAlignTokenLabelClsHead',
    'TLAlignVisionTransformerClsHead',
    'TokenLabelClsHead',
    'TokenLabelLoss',
    'TransMixDeiTClsHead',
    'TransMixLinearClsHead',
    'TransMixVisionTransformerClsHead',
    'collate_label_maps',
]
