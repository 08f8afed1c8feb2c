"""Self-supervised pretraining: EsViT, and DINO as its part."""

from .esvit import EsViT
from .losses import region_loss, view_loss
from .matching import match_regions
from .region_metrics import attention_entropy, flip_correspondence
from .targets import teacher_probabilities
from .views import Views

__all__ = [
    'EsViT',
    'Views',
    'attention_entropy',
    'flip_correspondence',
    'match_regions',
    'region_loss',
    'teacher_probabilities',
    'view_loss',
]
