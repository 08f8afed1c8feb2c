"""TransMix (CVPR 2022, arXiv 2111.09833): label weights from attention.

The partner's share of the target is the share of the class token's attention that it
receives in the last layer. This is averaged with the share by area, as the authors
intend (§4.1), or combined with it by the network's confidence (MixPro, ICLR 2023).

Shapes: ``B`` batch, ``K`` classes, ``H, W`` pixels, ``h, w`` rows and columns of a map.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import DeiTClsHead, LinearClsHead, VisionTransformerClsHead
from torch import Tensor, nn

from mmtlalign.compat.renamed import renamed_arguments
from mmtlalign.errors import InputError
from mmtlalign.methods.base import DistilledScores, MixHead
from mmtlalign.methods.guides import EMAAttention, TeacherAttention
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.mixtoken import MixToken
from mmtlalign.registry import MODELS
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.attention_readers import (
    READERS,
    attention_reader,
    check_layer,
    transmix_share,
)
from mmtlalign.tracing.trace import trace_forward


class TransMix(MixHead):
    """Mixin that weighs the labels by the attention of the last layer.

    Args:
        ratio (float | str): Weight of the share by area; the attention's share has the
            rest. The official code has an argument of this name with this default, but
            does not use it. ``'confidence'``: MixPro's progressive attention labels,
            with weight ``1 - cos(target by area, softmax of the scores)`` for each
            image. Defaults to 0.5.
        detach (bool): Whether to stop the gradient through the confidence; MixPro's
            code does not stop it. Defaults to True.
        attention (str): Attention that is used. ``'cls'``: that of the class token, as
            in the paper. ``'received'``: the attention that each token receives from
            all image tokens; an extension of ours for networks without a class token.
            Defaults to ``'cls'``.
        layer (int): Index of the attention that is used; negative ones count from the
            end. Values other than the last are for ablations. Defaults to -1.
        teacher (dict, optional): Config of another network whose attention on the mixed
            images replaces that of the trained network, which may then be of any kind:
            ``mmtlalign.TeacherAttention``, as in the paper's Table 6, or
            ``mmtlalign.EMAAttention``, each with its own ``attention``. It costs one
            forward pass of that network per batch. Defaults to None.
        **kwargs: Arguments of the mmpretrain head.
    """

    @renamed_arguments(
        looks='attention',
        values=dict(attention={'class': 'cls', 'columns': 'received'}),
    )
    def __init__(
        self,
        *args: Any,
        ratio: float | str = 0.5,
        attention: str = 'cls',
        detach: bool = True,
        layer: int = -1,
        teacher: Any = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        if ratio != 'confidence' and (isinstance(ratio, str) or not 0 <= ratio <= 1):
            raise InputError(
                f"ratio={ratio!r}: give a number from 0 to 1, or 'confidence'."
            )
        if not detach and ratio != 'confidence':
            raise InputError(
                f'detach=False with ratio={ratio}: detach applies to '
                "ratio='confidence' only; remove it."
            )
        if attention not in READERS:
            raise InputError(f"attention={attention!r}: choose 'cls' or 'received'.")
        self.ratio = ratio
        self.attention = attention
        self.detach = detach
        self.layer = layer
        # Not an nn.Module: it is in no checkpoint and no optimizer.
        self.teacher = MODELS.build(teacher) if isinstance(teacher, dict) else teacher
        if teacher is not None and (attention, layer) != ('cls', -1):
            raise InputError(
                f'attention={attention!r}, layer={layer} with a teacher: they select '
                'the attention of the trained network; remove them, and set the '
                'attention of the teacher in its own config.'
            )
        if not isinstance(self.teacher, (EMAAttention, TeacherAttention, type(None))):
            raise InputError(
                f'teacher={type(self.teacher).__name__}: choose '
                "dict(type='mmtlalign.TeacherAttention', ...) or "
                "dict(type='mmtlalign.EMAAttention', attention='cls')."
            )

    def bind(self, model: nn.Module) -> None:
        """Check that the teacher can process the images of a classifier.

        Raises:
            UnsupportedError: The attention of the teacher cannot be read.
            InputError: It does not have the chosen attention, or needs another
                normalisation of the images.
        """
        if self.teacher is not None:
            self.teacher.bind(model)

    def check_mixer(self, mixer: Any) -> None:
        """Check that a teacher sees mixed images.

        Raises:
            InputError: An augment mixes inside the network.
        """
        super().check_mixer(mixer)
        inside = [a for a in mixer.augments if isinstance(a, MixToken)]
        if inside and self.teacher is not None:
            raise InputError(
                'MixToken with a teacher: it mixes tokens inside the network, and the '
                'teacher would see images that are not mixed; use '
                'mmtlalign.TokenCutMix, or leave the teacher out.'
            )

    def attach(self, backbone: nn.Module) -> None:
        """Attach tracing to the backbone.

        Raises:
            UnsupportedError: The backbone or an attention in it is not known.
            InputError: The head cannot score its outputs, ``attention`` does not fit a
                network with or without class token, or ``layer`` does not exist or lies
                before the class token joins.
        """
        if self.teacher is not None:
            return  # nothing is read from the network itself
        super().attach(backbone)
        name = type(backbone).__name__
        if self.attention == 'cls' and self.output != 'class':
            raise InputError(
                f'{name} does not output a class token, and TransMix weights labels by '
                'its attention. Use a backbone with one (VisionTransformer with '
                "out_type='cls_token', mmtlalign.CASwin), attention='received' (an "
                'extension without class token), or TL-Align, which needs none.'
            )
        if self.attention == 'received' and self.output == 'class':
            raise InputError(
                f"attention='received' is for networks without a class token, and "
                f"{name} outputs one: leave it at 'cls'."
            )
        attach(backbone)
        check_layer(backbone, self.layer)

    def trace(
        self, backbone: nn.Module, mix: Mix, data_samples: list | None = None
    ) -> AbstractContextManager[Any]:
        """Read one attention of the forward pass, or of the teacher."""
        if self.teacher is not None:
            return nullcontext(self.teacher(mix.images, mix.labels).saliency)
        reader = attention_reader(backbone, mix, self.attention, self.layer)
        return trace_forward(backbone, reader)

    def partner_shares(self, mix: Mix, trace: Any) -> tuple[Tensor, ...]:
        """Average the partner's share of attention and of area, (B,) for each output.

        With ``ratio='confidence'`` return the share of attention; see
        :meth:`label_weights`.
        """
        if self.teacher is not None:
            shares: tuple[Tensor, ...] = (share_of_map(trace, mix),) * self.outputs
        else:
            shares = trace.output_shares()[: self.outputs]
        if isinstance(self.ratio, str):
            return shares
        area = mix.area()
        return tuple(transmix_share(share, area, self.ratio) for share in shares)

    def label_weights(
        self, mix: Mix, trace: Any, scores: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor | None, Tensor], ...]:
        """Return (None, share of the partner (B,)) for each output."""
        shares, area = self.partner_shares(mix, trace), mix.area()
        if isinstance(self.ratio, str):
            target = mix.target(area)
            sure = (self.confidence(score, target) for score in scores)
            shares = tuple(map(torch.lerp, (area,) * len(shares), shares, sure))
        return tuple((None, share) for share in shares)

    def confidence(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return the cosine (B,) between softmax scores and smoothed target (B, K)."""
        smoothing = getattr(self.loss_module, 'label_smooth_val', 0.0)
        target = target * (1 - smoothing) + smoothing / target.shape[1]
        scores = scores.detach() if self.detach else scores
        return F.cosine_similarity(scores.float().softmax(dim=1), target, dim=1)


def share_of_map(attention: Tensor, mix: Mix) -> Tensor:
    """Return the partner's share (B,) of an attention map on any grid.

    Args:
        attention: (B, h, w), at least 0. The mask is read at the first pixel of each
            cell, as in the resizing of TransMix's code.
        mix: The mixed batch.
    """
    size, device = mix.mask.shape[-2:], mix.mask.device
    rows, columns = (
        torch.arange(cells, device=device) * pixels // cells
        for cells, pixels in zip(attention.shape[1:], size)
    )
    mask = mix.mask[:, 0, rows[:, None], columns].float()
    return (attention * mask).sum(dim=(1, 2)) / attention.sum(dim=(1, 2))


@MODELS.register_module()
class TransMixLinearClsHead(TransMix, LinearClsHead):
    """mmpretrain's ``LinearClsHead`` with TransMix; takes the arguments of both."""


@MODELS.register_module()
class TransMixVisionTransformerClsHead(TransMix, VisionTransformerClsHead):
    """mmpretrain's ``VisionTransformerClsHead`` with TransMix, arguments of both."""


@MODELS.register_module()
class TransMixDeiTClsHead(TransMix, DistilledScores, DeiTClsHead):
    """mmpretrain's ``DeiTClsHead`` with TransMix; takes the arguments of both."""
