"""A classifier whose backbone only looks: linear evaluation of frozen features."""

import torch
from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor

from ..registry import MODELS
from ..selfsup.features import BLOCKS, FEATURES


@MODELS.register_module()
class LinearProbe(ImageClassifier):
    """Train a head on features of a backbone that stays as it is.

    DINO (arXiv 2104.14294), §4.1, and EsViT (arXiv 2106.09785), §4.1. No gradient
    reaches the backbone, and it is always in evaluation mode. Its weights come from
    :class:`PretrainedBackboneHook`.

    Args:
        backbone (dict): To be judged.
        head (dict): :class:`LinearProbeHead`; its ``in_channels`` is the features'
            width.
        features (str): ``'blocks'``, the last blocks side by side, or ``'view'``, the
            class token or the mean of the last map. Defaults to ``'blocks'``.
        blocks (int, optional): How many blocks, where they are the features. Defaults
            to None: 4.
        **kwargs: ``data_preprocessor`` and ``init_cfg`` as in ``ImageClassifier``.

    Raises:
        ValueError: ``features`` is not known, or has no ``blocks``.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        features: str = 'blocks',
        blocks: int | None = None,
        **kwargs,
    ):
        super().__init__(backbone, head=head, **kwargs)
        if features not in FEATURES:
            raise ValueError(
                f'features={features!r} is not known: choose one of {list(FEATURES)}.'
            )
        self.features = features
        if features != 'blocks' and blocks is not None:
            raise ValueError(
                f"blocks={blocks} is for features='blocks', not {features!r}: leave it "
                'out.'
            )
        self.options = {}
        if features == 'blocks':
            self.options = dict(blocks=BLOCKS if blocks is None else blocks)
        self.backbone.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True):
        """As usual, but the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def extract_feat(self, inputs: Tensor) -> tuple[Tensor]:
        """Features (N, P) of normalised images (N, 3, h, w)."""
        return (FEATURES[self.features](self.backbone, inputs, **self.options),)
