"""The classifier that connects batch augments, backbones and heads."""

from ..mixing import CutMix, FMix, GridMix, Mixup, ResizeMix, TokenCutMix, TokenMix
from ..registry import BATCH_AUGMENTS
from .batch_mixer import BatchMixer
from .data_preprocessor import MixDataPreprocessor
from .mix_classifier import MixClassifier

for augment in (CutMix, FMix, GridMix, Mixup, ResizeMix, TokenCutMix, TokenMix):
    # The room of ideas knows nothing of registries.
    BATCH_AUGMENTS.register_module(module=augment)

__all__ = ['BatchMixer', 'MixClassifier', 'MixDataPreprocessor']
