"""Linear layers on frozen features, one for each learning rate, trained together."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..registry import MODELS


@MODELS.register_module()
class LinearProbeHead(BaseModule):
    """Several linear classifiers that see the same features.

    They start alike and share nothing else, so each learns as it would alone: the
    loss is the sum of theirs. :class:`LinearProbeOptimWrapperConstructor` gives each
    its rate.

    Args:
        num_classes (int): C.
        in_channels (int): P, width of the features.
        rates (Sequence[float]): Learning rates, each as a multiple of the
            optimizer's; all different.
        std (float): Of the weights at the start; biases start at 0. Defaults to 0.01,
            as in DINO's and EsViT's official probes.
        init_cfg (dict, optional): Not used; the start is :meth:`init_weights`.

    Raises:
        ValueError: A rate is impossible, or there twice.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        rates: Sequence[float],
        std: float = 0.01,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        rates = tuple(float(rate) for rate in rates)
        if not rates or min(rates) <= 0 or len(set(rates)) < len(rates):
            raise ValueError(
                f'rates={rates}: set one number above 0 or several different ones, '
                'e.g. rates=[0.001, 0.003, 0.01].'
            )
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.rates = rates
        self.std = std
        self.layers = nn.ModuleList(nn.Linear(in_channels, num_classes) for _ in rates)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Start all layers alike."""
        nn.init.normal_(self.layers[0].weight, std=self.std)
        nn.init.zeros_(self.layers[0].bias)
        for layer in self.layers[1:]:
            layer.load_state_dict(self.layers[0].state_dict())

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Logits (N, R, C), a row for each rate, of features (N, P)."""
        features = feats[-1]
        if features.shape[-1] != self.in_channels:
            raise ValueError(
                f'model.head.in_channels={self.in_channels}, but the features have '
                f'{features.shape[-1]} channels: set it to that.'
            )
        return torch.stack([layer(features) for layer in self.layers], dim=1)

    def loss(self, feats: tuple[Tensor], data_samples: list[DataSample]) -> dict:
        """Sum of the cross-entropies, and each of them for the log."""
        if 'gt_score' in data_samples[0]:  # of mixed images
            target = torch.stack([sample.gt_score for sample in data_samples])
        else:
            target = torch.cat([sample.gt_label for sample in data_samples])
        logits = self(feats).unbind(dim=1)
        terms = torch.stack([F.cross_entropy(one, target) for one in logits])
        each = {f'ce_lr{r:g}': t for r, t in zip(self.rates, terms.detach())}
        return dict(loss=terms.sum(), **each)

    def predict(
        self, feats: tuple[Tensor], data_samples: list[DataSample] | None = None
    ) -> list[DataSample]:
        """Put ``probe_scores`` (R, C) and ``probe_rates`` into the data samples."""
        scores = self(feats).softmax(dim=-1)
        samples = data_samples
        if samples is None:
            samples = [DataSample() for _ in scores]
        for sample, each in zip(samples, scores):
            sample.set_field(each, 'probe_scores')
            sample.set_field(self.rates, 'probe_rates')
        return samples
