"""The classifier that connects batch augments, backbones and heads."""

from .. import mixing
from ..registry import BATCH_AUGMENTS
from .batch_mixer import BatchMixer
from .data_preprocessor import MixDataPreprocessor
from .linear_probe import LinearProbe
from .mix_classifier import MixClassifier

for augment in (
    mixing.CutMix,
    mixing.FMix,
    mixing.GridMix,
    mixing.MixToken,
    mixing.Mixup,
    mixing.ResizeMix,
    mixing.TokenCutMix,
    mixing.TokenMix,
):
    # The room of ideas knows nothing of registries.
    BATCH_AUGMENTS.register_module(module=augment)

__all__ = ['BatchMixer', 'LinearProbe', 'MixClassifier', 'MixDataPreprocessor']
