"""EsViT (ICLR 2022, arXiv 2106.09785), and DINO (arXiv 2104.14294) as a part of it."""

from mmtlalign.methods.esvit.head import EsViTHead
from mmtlalign.methods.esvit.hook import EsViTHook, TensorClipHook
from mmtlalign.methods.esvit.loss import (
    Views,
    match_regions,
    region_loss,
    teacher_probabilities,
    view_loss,
)
from mmtlalign.methods.esvit.model import EsViT

__all__ = [
    'EsViT',
    'EsViTHead',
    'EsViTHook',
    'TensorClipHook',
    'Views',
    'match_regions',
    'region_loss',
    'teacher_probabilities',
    'view_loss',
]
