"""SMMix (ICCV 2023): losses on the two regions and on the scores before mixing.

Written from a description of the paper and of its code. In addition to the loss of the
mixed label, a second classifier learns the own label from the mean of the tokens
outside the mask and the partner's label from the mean of those inside; and the scores
of the mixed image are trained towards a blend of both images' scores before mixing,
which a guide gives.

Shapes: ``B`` batch, ``K`` classes, ``N`` image tokens, ``D`` width, ``h, w`` token rows
and columns.
"""

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmpretrain.models.heads import LinearClsHead, VisionTransformerClsHead
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.methods.base import MixHead
from mmtlalign.methods.tl_align import TLAlign
from mmtlalign.mixing.mix import Mix
from mmtlalign.registry import MODELS
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import token_grid


@dataclass(frozen=True)
class TokenGrid:
    """Rows and columns of the tokens of a batch, for heads that trace nothing."""

    grid: tuple[int, int]


def grid_of(count: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of ``count`` tokens that were merged from a grid."""
    merged = round(math.sqrt(grid[0] * grid[1] / count))
    return grid[0] // merged, grid[1] // merged


class AreaTarget(MixHead):
    """Mixin that mixes the labels by area, as CutMix does."""

    @contextlib.contextmanager
    def trace(
        self, backbone: nn.Module, mix: Mix, data_samples: list | None = None
    ) -> Iterator[TokenGrid]:
        """Yield the token grid; nothing is traced."""
        yield TokenGrid(token_grid(backbone, mix.images.shape[-2:]))

    def partner_shares(self, mix: Mix, trace: Any) -> tuple[Tensor, ...]:
        """Return the share by area (B,) for each output."""
        return (mix.area(),) * self.outputs


class RegionTerms(MixHead):
    """Mixin for SMMix's losses on the two regions and on the scores before mixing.

    It precedes the mixin that computes the target. It needs all tokens after the last
    norm: ``out_type='raw'`` of plain transformers, or the map of a pyramid
    (``out_type='featmap'``, where there is a choice) without a neck. Batches without
    output of a guide, such as those of Mixup, have only the loss of the mixed label.

    Args:
        fine_weight (float): Weight of the loss on the two regions. Defaults to 1.0.
        consistency_weight (float): Weight of the consistency with the scores before
            mixing. Defaults to 1.0.
        **kwargs: Arguments of the other base classes.
    """

    in_channels: int
    extra_modules = ('token_head',)

    def __init__(
        self,
        *args: Any,
        fine_weight: float = 1.0,
        consistency_weight: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        for name, weight in dict(
            fine_weight=fine_weight, consistency_weight=consistency_weight
        ).items():
            if not weight >= 0:
                raise InputError(f'{name}={weight}: a weight is 0 or more.')
        self.fine_weight = fine_weight
        self.consistency_weight = consistency_weight
        # Drawn in a fork, so that all other weights equal those of the baseline.
        with torch.random.fork_rng(devices=[]):
            self.token_head = nn.Linear(self.in_channels, self.num_classes)
            nn.init.trunc_normal_(self.token_head.weight, std=0.02)
            nn.init.zeros_(self.token_head.bias)

    def read_output(self, backbone: nn.Module) -> tuple[str, int]:
        """Return ``'class'`` or ``'mean'``, and 1, the number of outputs.

        Raises:
            UnsupportedError: The backbone is not registered.
            InputError: It does not output all tokens, or has several special tokens.
        """
        spec, name = backbone_spec(backbone), type(backbone).__name__
        out_type = getattr(backbone, 'out_type', None)
        self.special = spec.prefix(backbone) + spec.late_tokens(backbone)
        if out_type in (None, 'featmap') and not self.special:
            return spec.output(backbone), 1
        if out_type != 'raw':
            fitting = "'raw'" if self.special else "'featmap' or 'raw'"
            raise InputError(
                f'{name} has out_type={out_type!r}: the losses of SMMix on the two '
                f'regions need all tokens of the backbone; set out_type={fitting}, and '
                'no neck.'
            )
        if self.special > 1:
            raise InputError(
                f'{name} has {self.special} special tokens: SMMix supports one, the '
                'class token, or none.'
            )
        return ('class' if self.special else 'mean'), 1

    def check_mixer(self, mixer: Any) -> None:
        """Check that an augment uses a guide, and that the guide gives scores.

        There is only a warning if no augment uses a guide.

        Raises:
            InputError: The guide gives no scores, and the consistency has a weight.
        """
        super().check_mixer(mixer)
        if not any(getattr(augment, 'needs', ()) for augment in mixer.augments):
            print_log(
                f'{type(self).__name__} trains on regions that an augment chooses with '
                'a guide, and no augment of train_cfg does so: its extra loss terms '
                "are 0. Add dict(type='mmtlalign.SMMix') to the augments.",
                'current',
                logging.WARNING,
            )
        gives = getattr(mixer.guide, 'gives', {'scores'})
        if self.consistency_weight and 'scores' not in gives:
            raise InputError(
                f'{type(mixer.guide).__name__} gives no scores of the images before '
                'mixing, which the consistency loss of SMMix needs: use '
                "guide=dict(type='mmtlalign.OwnAttention'), or set "
                'consistency_weight=0 in the head.'
            )

    def tokens(self, feats: tuple) -> tuple[Tensor, Tensor, tuple[int, int] | None]:
        """Return pooled features (B, D), image tokens (B, N, D) and their grid.

        The grid is None unless the last feature is a map.

        Raises:
            InputError: The last feature is neither tokens nor a map.
        """
        feat = feats[-1]
        if torch.is_tensor(feat) and feat.ndim == 4:
            if feat.shape[1] != self.in_channels:
                raise InputError(
                    f'The last feature is {tuple(feat.shape)}, but in_channels='
                    f'{self.in_channels}: SMMix needs a map (B, D, h, w); set '
                    "out_type='featmap' of the backbone, or correct in_channels."
                )
            image = feat.flatten(2).mT
            return image.mean(dim=1), image, (int(feat.shape[2]), int(feat.shape[3]))
        if not torch.is_tensor(feat) or feat.ndim != 3:
            shape = tuple(feat.shape) if torch.is_tensor(feat) else type(feat).__name__
            raise InputError(
                f'The last feature is {shape}: SMMix needs all tokens (B, N, D) or '
                "their map (B, D, h, w); set out_type='raw' and leave the neck out."
            )
        image = feat[:, self.special :]
        return (feat[:, 0] if self.special else image.mean(dim=1)), image, None

    def pre_logits(self, feats: tuple) -> Tensor:
        """Return the features (B, D) that the class is read from."""
        pooled, _, _ = self.tokens(feats)
        return super().pre_logits((pooled,))  # type: ignore[misc]  # mmpretrain's

    def extra_losses(
        self, feats: tuple, mix: Mix, trace: Any, scores: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Return the weighted terms ``loss_fine`` and ``loss_consistency``."""
        _, image, grid = self.tokens(feats)
        if mix.guide_output is None:
            # DistributedDataParallel needs every parameter in every loss.
            nothing = 0 * self.token_head(image.mean(dim=1)).sum()
            return dict(loss_fine=nothing, loss_consistency=nothing.detach())
        share = mix.token_share(grid or grid_of(image.shape[1], trace.grid))
        fine = [
            self._region(image, weight, labels)
            for weight, labels in (
                (1 - share, mix.labels),
                (share, mix.labels[mix.partner]),
            )
        ]
        losses = dict(loss_fine=self.fine_weight * (fine[0] + fine[1]) / 2)
        before = mix.guide_output.scores
        if before is not None:
            area = mix.area()[:, None]
            blend = torch.lerp(before, before[mix.partner], area.to(before.dtype))
            agree = F.kl_div(
                scores[0].float().log_softmax(dim=1),
                blend.softmax(dim=1),
                reduction='batchmean',
            )
            losses['loss_consistency'] = self.consistency_weight * agree
        return losses

    def _region(self, tokens: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of the tokens' mean with weights (B, N, 1)."""
        total = weight.sum(dim=1)
        mean = (tokens * weight.to(tokens.dtype)).sum(dim=1) / total.clamp(min=1e-6)
        # An image without tokens in the region does not contribute.
        there = (total[:, 0] > 0).float()
        score = self.token_head(mean.to(tokens.dtype))
        return self.loss_module(score, labels, weight=there, avg_factor=len(score))


@MODELS.register_module()
class SMMixVisionTransformerClsHead(RegionTerms, AreaTarget, VisionTransformerClsHead):
    """mmpretrain's ``VisionTransformerClsHead`` with the loss of SMMix."""


@MODELS.register_module()
class SMMixLinearClsHead(RegionTerms, AreaTarget, LinearClsHead):
    """mmpretrain's ``LinearClsHead`` with the loss of SMMix, for pyramid networks."""


@MODELS.register_module()
class TLAlignSMMixVisionTransformerClsHead(
    RegionTerms, TLAlign, VisionTransformerClsHead
):
    """SMMix with the mixed label traced by TL-Align; takes the arguments of both."""


@MODELS.register_module()
class TLAlignSMMixLinearClsHead(RegionTerms, TLAlign, LinearClsHead):
    """SMMix with the mixed label traced by TL-Align, for pyramid networks."""
