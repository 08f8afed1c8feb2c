"""Frozen features of a config's backbone with the weights of a checkpoint.

Shapes: ``N`` images, ``h, w`` pixels, ``D`` channels.
"""

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from mmtlalign.checkpoint.check import check_checkpoint
from mmtlalign.checkpoint.load import WEIGHTS, load_backbone
from mmtlalign.engine.console import import_host
from mmtlalign.errors import InputError
from mmtlalign.methods.features import FEATURES

WEIGHT_CHOICES = (*WEIGHTS, 'random')
FEATURE_CHOICES = (*FEATURES, 'pixels')


class FrozenFeatures(nn.Module):
    """Backbone and preprocessor, with the interface that :class:`KNNHook` needs.

    Args:
        backbone: Network that computes the features.
        data_preprocessor: Preprocessor of its model.
        kind: One of :data:`FEATURE_CHOICES`; ``'pixels'`` are the normalised images
            themselves.
    """

    def __init__(
        self, backbone: nn.Module, data_preprocessor: nn.Module, kind: str = 'view'
    ):
        super().__init__()
        self.backbone = backbone
        self.data_preprocessor = data_preprocessor
        self.kind = kind

    @torch.no_grad()
    def extract_feat(self, inputs: Tensor, network: str | None = None) -> Tensor:
        """Return features (N, D) of normalised images (N, 3, h, w).

        Args:
            inputs: Normalised images.
            network: Not used, as there is only one network.
        """
        if self.kind == 'pixels':
            return inputs.flatten(1)
        return FEATURES[self.kind](self.backbone, inputs)


def frozen_features(
    cfg: Config,
    checkpoint: str | None = None,
    weights: str = 'auto',
    kind: str = 'view',
    seed: int = 0,
) -> tuple[FrozenFeatures, str]:
    """Build the model of a config and keep the parts for features, in eval mode.

    Args:
        cfg: A config of mmpretrain; its ``model`` has a ``backbone``.
        checkpoint: A local file, or None for the initial weights of the config.
        weights: Which network of the checkpoint, as in :func:`select_weights`, or
            ``'random'``.
        kind: One of :data:`FEATURE_CHOICES`.
        seed: Seed of random weights.

    Returns:
        The features, and a description of their weights.

    Raises:
        InputError: The checkpoint cannot be read, lacks these weights or does not fit.
    """
    import_host(cfg.get('default_scope', 'mmpretrain'))
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    settings = dict(cfg.model)
    if cfg.get('data_preprocessor'):
        settings.setdefault('data_preprocessor', cfg.data_preprocessor)
    if checkpoint is None and weights == 'auto':
        weights = 'random'
    if (checkpoint is None) != (weights == 'random'):
        raise InputError(
            f'weights={weights} and checkpoint={checkpoint}: name a checkpoint for '
            'learnt weights, and none for random ones.'
        )
    set_random_seed(seed)
    model = MODELS.build(settings)
    features = FrozenFeatures(model.backbone, model.data_preprocessor, kind)
    if kind == 'pixels':
        description = 'pixels'
    elif checkpoint is None:
        model.init_weights()
        description = f'random weights, seed {seed}'
    else:
        check_checkpoint(checkpoint)
        notes = load_backbone(model.backbone, checkpoint, weights=weights)
        description = '; '.join(notes)
    return features.eval(), description
