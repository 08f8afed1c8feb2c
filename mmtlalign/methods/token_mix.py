"""TokenMix (ECCV 2022, arXiv 2207.08409): label weights by the visible part of objects.

A teacher's label map shows where the class of an image is. The weight of the own label
is the part of it that the mask leaves visible, and that of the partner's label the part
that the mask pastes. The maps are those of Token Labeling
(:mod:`mmtlalign.methods.token_labeling.targets`). Nothing is read from the network, so
that any backbone can be used, with any augment of this package.

Shapes: ``B`` batch, ``K`` classes, ``N`` cells of a map, ``h, w`` rows and columns.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from mmpretrain.models.heads import LinearClsHead, VisionTransformerClsHead
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.methods.base import MixHead
from mmtlalign.methods.token_labeling.targets import MAP, SampleMaps
from mmtlalign.mixing.mix import Mix
from mmtlalign.registry import MODELS


class TokenMixTarget(MixHead):
    """Mixin that weighs labels by the mass of each image's own class in its label map.

    ``own = sum (1 - m) v_A / sum v_A`` and ``partner = sum m v_B / sum v_B``, where m
    is the share of the partner in each cell and v are a map's values for the hard label
    of its image; negative values count as 0. If a map does not contain this class, the
    weight is the image's area; the fraction of such images is logged as
    ``without_activation``.

    Args:
        normalise (bool, optional): Whether both weights are divided by their sum, as a
            loss with softmax requires; with binary cross-entropy the official code does
            not normalise. Defaults to None: True unless the loss has
            ``use_sigmoid=True``.
        missing (str): Handling of an image without map: ``'error'`` raises an error,
            ``'hard label'`` uses its area as weight. Defaults to ``'error'``.
        **kwargs: Arguments of the mmpretrain head.
    """

    def __init__(
        self,
        *args: Any,
        normalise: bool | None = None,
        missing: str = 'error',
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        loss: Any = self.loss_module
        binary = getattr(getattr(loss, 'ce', loss), 'use_sigmoid', False)
        if normalise is False and not binary:
            raise InputError(
                'normalise=False: weights that do not sum to 1 need a loss that treats '
                "each class independently, such as dict(type='CrossEntropyLoss', "
                'use_sigmoid=True); choose it, or leave normalise out.'
            )
        self.normalise = not binary if normalise is None else normalise
        self.maps = SampleMaps(self.num_classes, 'logits', missing, 0.0)

    def attach(self, backbone: nn.Module) -> None:
        """Do nothing, as nothing is read from the backbone."""

    def check_mixer(self, mixer: Any) -> None:
        """Check that each augment records which pixels are the partner's.

        Raises:
            InputError: One is of mmpretrain, whose augments do not.
        """
        mixer.check_records(type(self).__name__)

    @contextlib.contextmanager
    def trace(
        self, backbone: nn.Module, mix: Mix, data_samples: list | None = None
    ) -> Iterator[Tensor | None]:
        """Read where the class of each image is, from its label map.

        Args:
            backbone: Not used.
            mix: The mixed batch.
            data_samples: B data samples with label maps.

        Yields:
            Value of the image's own class in each cell (B, h, w), float32, at least 0;
            None if no image has a map.

        Raises:
            InputError: Maps are missing, or have other classes.
        """
        yield self.activation(data_samples or [], mix.labels)

    def activation(self, samples: list, labels: Tensor) -> Tensor | None:
        """Return each map's values (B, h, w) for the largest of its labels (B, K)."""
        if not samples:
            raise InputError(
                f'{type(self).__name__} reads label maps: give the data samples.'
            )
        stacked = self.maps.read(samples, MAP, labels.device)
        if stacked is None:
            return None
        values, classes = stacked.values.float(), labels.argmax(dim=1)
        if stacked.index is None:
            found = values[torch.arange(len(values), device=values.device), classes]
        else:
            own = stacked.index == classes.view(-1, 1, 1, 1)
            found = (values * own).sum(dim=1)
        return found.clamp(min=0)

    def partner_shares(self, mix: Mix, trace: Tensor | None) -> tuple[Tensor, ...]:
        """Return the weight of the partner's label (B,)."""
        return (self.visible(mix, trace)[1],)

    def label_weights(
        self, mix: Mix, trace: Any, scores: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor | None, Tensor], ...]:
        """Return the weights of the own and of the partner's label (B,)."""
        return (self.visible(mix, trace),)

    def visible(self, mix: Mix, activation: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the label weights (B,) of own image and partner by visible mass.

        Args:
            mix: The mixed batch.
            activation: Output of :meth:`trace`.
        """
        area = mix.area()
        own, partner = 1 - area, area
        if activation is not None:
            grid = (int(activation.shape[1]), int(activation.shape[2]))
            mass, known = activation.flatten(1), self._known(activation)
            place = mass / mass.sum(dim=1, keepdim=True).clamp(min=1e-8)
            kept = ((1 - mix.token_share(grid)[..., 0]) * place).sum(dim=1)
            shown = (mix.pasted_share(grid) * place[mix.partner]).sum(dim=1)
            own = torch.where(known, kept, own)
            partner = torch.where(known[mix.partner], shown, partner)
        if self.normalise:
            total = own + partner
            # If both objects are hidden, the area is used.
            partner = torch.where(total > 0, partner / total.clamp(min=1e-8), area)
            own = 1 - partner
        return own, partner

    def extra_losses(
        self, feats: tuple, mix: Mix, trace: Any, scores: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Return the fraction of images weighted by their area, only for the log."""
        known = mix.area().new_zeros(()) if trace is None else self._known(trace)
        return dict(without_activation=1 - known.float().mean())

    @staticmethod
    def _known(activation: Tensor) -> Tensor:
        """Return for each image whether its class is in its map (B,)."""
        return activation.flatten(1).sum(dim=1) > 0


@MODELS.register_module()
class TokenMixLinearClsHead(TokenMixTarget, LinearClsHead):
    """mmpretrain's ``LinearClsHead`` with the targets of TokenMix."""


@MODELS.register_module()
class TokenMixVisionTransformerClsHead(TokenMixTarget, VisionTransformerClsHead):
    """mmpretrain's ``VisionTransformerClsHead`` with the targets of TokenMix."""
