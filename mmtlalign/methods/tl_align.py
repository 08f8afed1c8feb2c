"""TL-Align (ICCV 2023, arXiv 2210.06455): targets traced through the network.

Every token starts with the label of its image, and the labels move through every layer
as the tokens do. The target of an output is the label that arrives there. The heads
differ from mmpretrain's only in the target.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from mmpretrain.models.heads import DeiTClsHead, LinearClsHead, VisionTransformerClsHead
from torch import Tensor, nn

from mmtlalign.compat.renamed import renamed_arguments
from mmtlalign.errors import InputError
from mmtlalign.methods.base import DistilledScores, MixHead
from mmtlalign.mixing.mix import Mix
from mmtlalign.registry import MODELS
from mmtlalign.tracing.attach import TraceContext, attach
from mmtlalign.tracing.options import (
    checked_head_token_rule,
    layer_indices,
    residual_weight,
)
from mmtlalign.tracing.trace import MixTracer, trace_forward


class TLAlign(MixHead):
    """Mixin that takes the target from labels traced through the attention.

    Args:
        layers (Sequence[int], optional): Attentions that move the labels, by index;
            negative ones count from the end. ``[-1]`` is the paper's ablation with only
            the last layer (Table 8). Defaults to None: all.
        residual (bool | float): Weight r of the labels before a layer relative to the
            moved ones, ``p <- (r p + A p) / (r + 1)``. True: 1, the plain mean; False:
            0, the paper's ablation. Other numbers are an extension of ours; r = 2 for
            LV-ViT-S and M and r = 3 for L match these networks' own residual weights
            (``skip_lam``). Defaults to True.
        head_token_rule (str, optional): How DHVT's head tokens are merged into the
            class token, ``'nested'`` or ``'flat'``; see
            :class:`mmtlalign.tracing.tracer.Tracer`. Defaults to None: ``'nested'``
            if there are head tokens.
        normalise (bool): Whether labels before a layer and moved ones are averaged.
            False: they are summed, one reading of the paper's ablation without
            normalisation (Table 8, whose code is not published). Each layer multiplies
            the labels by ``residual + 1``, so that the loss is that of normalised
            labels times ``(residual + 1) ** layers``, 4096 for DeiT. Defaults to True.
        learnt_weights (str, optional): How labels move through networks that mix tokens
            with learnt weights in place of attention: ``'mean_gates'``, ``'no_gates'``
            or ``'exact'``. The rules are ours and not from a paper; see
            :func:`mmtlalign.attach`. Defaults to None: such networks are rejected.
        **kwargs: Arguments of the mmpretrain head.
    """

    @renamed_arguments(merge='head_token_rule')
    def __init__(
        self,
        *args: Any,
        layers: Sequence[int] | None = None,
        residual: bool | float = True,
        head_token_rule: str | None = None,
        normalise: bool = True,
        learnt_weights: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.normalise = normalise
        self.trace_options = trace_options(layers, residual, head_token_rule)
        self.learnt_weights = learnt_weights

    def attach(self, backbone: nn.Module) -> None:
        """Attach tracing to the backbone.

        Raises:
            UnsupportedError: The backbone or an attention in it is not known.
            InputError: The head cannot score its outputs, ``layers`` or
                ``head_token_rule`` do not fit it, or ``normalise=False`` is given for a
                network where not all tokens take part in each layer alike.
        """
        super().attach(backbone)
        context = attach_with_options(backbone, self.trace_options, self.learnt_weights)
        if not self.normalise and (context.late_tokens or context.has_head_tokens):
            raise InputError(
                f'normalise=False: in {type(backbone).__name__} not all tokens take '
                'part in every layer, so the sums of their labels grow by different '
                'factors; remove it.'
            )
        layers = layer_indices(self.trace_options['layers'], context.attentions)
        self.label_layers = context.attentions if layers is None else len(layers)

    def trace(
        self, backbone: nn.Module, mix: Mix, data_samples: list | None = None
    ) -> AbstractContextManager[MixTracer]:
        """Trace the partner's share through one forward pass."""
        return trace_forward(backbone, MixTracer(backbone, mix, **self.trace_options))

    def partner_shares(self, mix: Mix, trace: MixTracer) -> tuple[Tensor, ...]:
        """Return the traced share (B,) at each output."""
        shares = trace.output_shares(self.output)[: self.outputs]
        return tuple(share.squeeze(-1) for share in shares)

    def loss(
        self,
        feats: tuple,
        data_samples: list,
        mix: Mix | None = None,
        trace: MixTracer | None = None,
    ) -> dict[str, Tensor]:
        """Compute the loss as :meth:`MixHead.loss`, scaled for ``normalise=False``."""
        losses = super().loss(feats, data_samples, mix, trace)
        if self.normalise:
            return losses
        # Cross-entropy is linear in the labels, whose rows sum to this.
        mass = (self.trace_options['residual'] + 1) ** self.label_layers
        name = 'loss_cls' if 'loss_cls' in losses else 'loss'
        return {**losses, name: mass * losses[name]}


def trace_options(
    layers: Sequence[int] | None, residual: bool | float, head_token_rule: str | None
) -> dict:
    """Return the options of a head as arguments of :class:`MixTracer`.

    Raises:
        InputError: An option has an invalid value.
    """
    options: dict = dict(layers=layers, residual=residual_weight(residual))
    if head_token_rule is not None:
        options.update(head_token_rule=checked_head_token_rule(head_token_rule))
    return options


def attach_with_options(
    backbone: nn.Module, options: dict, learnt_weights: str | None = None
) -> TraceContext:
    """Attach tracing to a backbone, and check that the options fit it.

    Raises:
        UnsupportedError: The backbone cannot be traced.
        InputError: It does not have the layers, or the head tokens, of the options.
    """
    context = attach(backbone, learnt_weights)
    layer_indices(options['layers'], context.attentions)
    if 'head_token_rule' in options and not context.has_head_tokens:
        raise InputError(
            f'head_token_rule={options["head_token_rule"]!r} applies to head tokens '
            f'(DHVT) only, and {type(backbone).__name__} has none: remove it.'
        )
    return context


@MODELS.register_module()
class TLAlignLinearClsHead(TLAlign, LinearClsHead):
    """mmpretrain's ``LinearClsHead`` with TL-Align; takes the arguments of both."""


@MODELS.register_module()
class TLAlignVisionTransformerClsHead(TLAlign, VisionTransformerClsHead):
    """mmpretrain's ``VisionTransformerClsHead`` with TL-Align, arguments of both."""


@MODELS.register_module()
class TLAlignDeiTClsHead(TLAlign, DistilledScores, DeiTClsHead):
    """mmpretrain's ``DeiTClsHead`` with TL-Align; takes the arguments of both."""
