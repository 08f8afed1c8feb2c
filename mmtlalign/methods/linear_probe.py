"""Linear evaluation of a frozen backbone at several learning rates in one run.

A classifier that trains only its head, a head with a linear layer for each rate, the
parameter groups of the optimizer, and a metric. DINO (arXiv 2104.14294), §4.1, and
EsViT (arXiv 2106.09785), §4.1.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModule
from mmengine.optim import DefaultOptimWrapperConstructor
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.methods.features import BLOCKS, FEATURES
from mmtlalign.registry import METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS


@MODELS.register_module()
class LinearProbe(ImageClassifier):
    """Classifier that trains a head on features of a frozen backbone.

    DINO (arXiv 2104.14294), §4.1, and EsViT (arXiv 2106.09785), §4.1. No gradient
    reaches the backbone, and it is always in evaluation mode. Its weights are loaded by
    :class:`PretrainedBackboneHook`.

    Args:
        backbone (dict): Config of the backbone that is evaluated.
        head (dict): Config of a :class:`LinearProbeHead`, with ``in_channels`` equal to
            the features' width.
        features (str): ``'blocks'``, the last blocks concatenated, or ``'view'``, the
            class token or the mean of the last map. Defaults to ``'blocks'``.
        blocks (int, optional): Number of blocks, for ``features='blocks'``. Defaults
            to None: 4.
        **kwargs: ``data_preprocessor`` and ``init_cfg`` of mmpretrain's
            ``ImageClassifier``.

    Raises:
        InputError: ``features`` is unknown, or ``blocks`` is given for ``'view'``.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        features: str = 'blocks',
        blocks: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(backbone, head=head, **kwargs)
        if features not in FEATURES:
            raise InputError(
                f'features={features!r} is not known: choose one of {list(FEATURES)}.'
            )
        self.features = features
        if features != 'blocks' and blocks is not None:
            raise InputError(
                f"blocks={blocks} is for features='blocks', not {features!r}: leave it "
                'out.'
            )
        self.options = {}
        if features == 'blocks':
            self.options = dict(blocks=BLOCKS if blocks is None else blocks)
        self.backbone.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> 'LinearProbe':
        """Set the mode, but keep the backbone in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def extract_feat(self, inputs: Tensor) -> tuple[Tensor]:
        """Return features (N, D) of normalised images (N, 3, h, w)."""
        return (FEATURES[self.features](self.backbone, inputs, **self.options),)


@MODELS.register_module()
class LinearProbeHead(BaseModule):
    """Several linear classifiers on the same features, one for each learning rate.

    They have the same initial weights and the loss is the sum of theirs, so that each
    is trained as it would be alone. :class:`LinearProbeOptimWrapperConstructor` sets
    the rates. Shapes: N images, D channels, R rates, C classes.

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Width D of the features.
        rates (Sequence[float]): Learning rates, each as a multiple of the
            optimizer's; all different.
        std (float): Standard deviation of the initial weights; biases start at 0.
            Defaults to 0.01, as in DINO's and EsViT's official probes.
        init_cfg (dict, optional): Not used, see :meth:`init_weights`.

    Raises:
        InputError: A rate is not positive, or given twice.
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
            raise InputError(
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
        """Draw the first layer and copy it to the others."""
        nn.init.normal_(self.layers[0].weight, std=self.std)
        nn.init.zeros_(self.layers[0].bias)
        for layer in self.layers[1:]:
            layer.load_state_dict(self.layers[0].state_dict())

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Return logits (N, R, C), a row for each rate, for features (N, D)."""
        features = feats[-1]
        if features.shape[-1] != self.in_channels:
            raise InputError(
                f'model.head.in_channels={self.in_channels}, but the features have '
                f'{features.shape[-1]} channels: set it to that.'
            )
        return torch.stack([layer(features) for layer in self.layers], dim=1)

    def loss(
        self, feats: tuple[Tensor], data_samples: list[DataSample]
    ) -> dict[str, Tensor]:
        """Return the sum of the cross-entropies, and each of them for the log."""
        if 'gt_score' in data_samples[0]:  # soft labels of mixed images
            target = torch.stack([sample.gt_score for sample in data_samples])
        else:
            target = torch.cat([sample.gt_label for sample in data_samples])
        logits = self(feats).unbind(dim=1)
        terms = torch.stack([F.cross_entropy(one, target) for one in logits])
        named = {f'ce_lr{r:g}': t for r, t in zip(self.rates, terms.detach())}
        return dict(loss=terms.sum(), **named)

    def predict(
        self, feats: tuple[Tensor], data_samples: list[DataSample] | None = None
    ) -> list[DataSample]:
        """Add ``probe_scores`` (R, C) and ``probe_rates`` to the data samples.

        Their ``pred_score`` (C,), which inferencers show, is the mean over all layers.
        """
        scores = self(feats).softmax(dim=-1)
        if data_samples is None:
            data_samples = [DataSample() for _ in scores]
        for sample, score in zip(data_samples, scores):
            sample.set_field(score, 'probe_scores')
            sample.set_field(self.rates, 'probe_rates')
            mean = score.mean(dim=0)
            sample.set_pred_score(mean).set_pred_label(mean.argmax().detach())
        return data_samples


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LinearProbeOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Optimizer constructor that gives each layer of a head its multiple of ``lr``.

    The head is a :class:`LinearProbeHead`. No other parameter is in a group, so that
    nothing else is trained.

    Args:
        optim_wrapper_cfg (dict): The ``optim_wrapper`` of the config, whose optimizer
            has an ``lr``.
        paramwise_cfg (None): Must be None.

    Raises:
        InputError: ``paramwise_cfg`` is set, ``lr`` is not, or the model has no
            :class:`LinearProbeHead`.
    """

    base_lr: float | None
    paramwise_cfg: dict | None

    def _validate_cfg(self) -> None:
        if self.paramwise_cfg or self.base_lr is None:
            raise InputError(
                f'{type(self).__name__}: lr={self.base_lr} and '
                f'paramwise_cfg={self.paramwise_cfg}; set optimizer.lr, which is '
                'multiplied by the rates of the head, and remove paramwise_cfg.'
            )
        # If it is empty, the default constructor does not call add_params.
        self.paramwise_cfg = dict(layers=True)

    def add_params(self, params: list, module: nn.Module, **kwargs: Any) -> None:
        """Add one group for each layer, in the order of the rates."""
        head: Any = getattr(module, 'head', None)
        if not hasattr(head, 'rates'):
            raise InputError(
                f'{type(self).__name__}: the model has no mmtlalign.LinearProbeHead; '
                'remove the constructor, or set model.head.'
            )
        for rate, layer in zip(head.rates, head.layers):
            params.append(dict(params=list(layer.parameters()), lr=self.base_lr * rate))


@METRICS.register_module()
class ProbeAccuracy(BaseMetric):
    """Top-1 and top-5 accuracy of each layer of a linear probe, and the best of them.

    The best layer is chosen on the images that it is reported on, as in the official
    linear evaluations of DINO and EsViT: with many rates this is slightly optimistic.
    Top-5 is left out if there are at most five classes.

    Reports ``probe/top1_lr0.01`` and so on and ``probe/best_top1`` in percent, and
    ``probe/best_lr``, the rate of the best layer.

    Args:
        collect_device (str): Device on which the results of all processes are gathered,
            'cpu' or 'gpu'. Defaults to 'cpu'.
    """

    default_prefix = 'probe'

    def process(self, data_batch: dict | None, data_samples: Sequence[dict]) -> None:
        """Store the rank of the true class of each image at each rate, from 0."""
        for sample in data_samples:
            scores, label = sample['probe_scores'], sample['gt_label']
            right = scores[:, label]
            # Written so that a NaN ranks above the label.
            rank = (~(scores <= right)).sum(dim=1)
            # Among equal scores the class of the lowest index is predicted.
            rank += (scores == right)[:, : int(label)].sum(dim=1)
            self.results.append((rank.cpu(), sample['probe_rates'], scores.shape[1]))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return accuracies by name."""
        ranks = torch.stack([rank for rank, _, _ in results])
        _, rates, classes = results[0]
        accuracy: dict[str, float] = {}
        for k in (1, 5) if classes > 5 else (1,):
            share = 100 * (ranks < k).double().mean(dim=0)
            accuracy |= {f'top{k}_lr{r:g}': v for r, v in zip(rates, share.tolist())}
        best = max(rates, key=lambda rate: accuracy[f'top1_lr{rate:g}'])
        return accuracy | dict(best_top1=accuracy[f'top1_lr{best:g}'], best_lr=best)
