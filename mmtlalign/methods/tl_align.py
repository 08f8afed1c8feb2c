"""How a head's labels are traced: its options, and whether a backbone fits them.

TL-Align: train on the labels that arrive (ICCV 2023, arXiv 2210.06455).

Every token starts with the label of the image it came from, and the labels
move through every layer as the tokens do. The target of an output is the label
that arrives there. The heads differ from mmpretrain's in the target alone.
"""

from collections.abc import Sequence

from mmpretrain.models.heads import DeiTClsHead, LinearClsHead, VisionTransformerClsHead
from torch import Tensor

from mmtlalign.errors import InputError
from mmtlalign.methods.base import DistilledScores, MixHead
from mmtlalign.mixing.mix import Mix
from mmtlalign.registry import MODELS
from mmtlalign.tracing.attach import attach, share_tracer, trace_forward
from mmtlalign.tracing.tracer import Tracer, layer_indices, residual_weight


class TraceOptions:
    """Options of a trace that heads have in common.

    Args:
        layers: Attentions that move the labels, by index, negative ones from
            the end; ``[-1]`` is the paper's ablation with the last layer alone
            (TL-Align, ICCV 2023, Table 8). Defaults to None: all.
        residual: How much labels before a layer count beside the moved ones. True:
            the plain mean; False: not at all, the paper's ablation. A number r is
            an extension of ours, ``p <- (r p + A p) / (r + 1)``: 2 for LV-ViT-S and
            M, 3 for L weighs both as these networks do (``skip_lam``). Defaults to
            True.
        merge: How DHVT's head tokens come back to the class token, ``'nested'``
            or ``'flat'``; see :meth:`mmtlalign.tracing.Tracer.append_tokens`.
            Defaults to None: ``'nested'`` where there are head tokens.

    Attributes:
        of_tracer: The options as a tracer takes them.
    """

    def __init__(
        self,
        layers: Sequence[int] | None = None,
        residual: bool | float = True,
        merge: str | None = None,
    ):
        if merge not in (None, 'nested', 'flat'):
            raise InputError(f"merge={merge!r}: choose 'nested' or 'flat'.")
        self.merge = merge
        self.of_tracer = dict(
            layers=layers,
            residual=residual_weight(residual),
            merge=merge or 'nested',
        )

    def attach(self, backbone) -> None:
        """Tap the backbone.

        Raises:
            TypeError: If it cannot be traced.
            ValueError: If it has no such layers, or no head tokens to merge.
        """
        context = attach(backbone)
        layer_indices(self.of_tracer['layers'], context.attentions)
        if self.merge is not None and not context.appends:
            raise InputError(
                f'merge={self.merge!r} is about head tokens (DHVT), and '
                f'{type(backbone).__name__} has none: leave it out.'
            )


class TLAlign(MixHead):
    """Reads the target from labels traced through the attention.

    Args:
        layers, residual, merge: As of :class:`TraceOptions`. The defaults are the
            paper's.
        **kwargs: As of the mmpretrain head.
    """

    def __init__(
        self,
        *args,
        layers: Sequence[int] | None = None,
        residual: bool | float = True,
        merge: str | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.options = TraceOptions(layers, residual, merge)

    def attach(self, backbone) -> None:
        """Tap the backbone; errors as in :class:`MixHead`, and options that do
        not fit it."""
        super().attach(backbone)
        self.options.attach(backbone)

    def trace(self, backbone, mix: Mix, data_samples=None):
        """Trace the shares of ``mix`` through one forward."""
        return trace_forward(
            backbone, share_tracer(backbone, mix, **self.options.of_tracer)
        )

    def partner_shares(self, mix: Mix, seen: Tracer) -> tuple[Tensor, ...]:
        """What arrived at each output, each (B,)."""
        shares = seen.output_shares(self.output)[: self.outputs]
        return tuple(share.squeeze(-1) for share in shares)


@MODELS.register_module()
class TLAlignLinearClsHead(TLAlign, LinearClsHead):
    """mmpretrain's ``LinearClsHead`` with TL-Align; arguments of both."""


@MODELS.register_module()
class TLAlignVisionTransformerClsHead(TLAlign, VisionTransformerClsHead):
    """mmpretrain's ``VisionTransformerClsHead`` with TL-Align; arguments of both."""


@MODELS.register_module()
class TLAlignDeiTClsHead(TLAlign, DistilledScores, DeiTClsHead):
    """mmpretrain's ``DeiTClsHead`` with TL-Align; arguments of both."""
