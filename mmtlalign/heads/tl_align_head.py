"""TL-Align: train on the labels that arrive (ICCV 2023, arXiv 2210.06455).

Every token starts with the label of the image it came from, and the labels
move through every layer as the tokens do. The target of an output is the label
that arrives there. The heads differ from mmpretrain's in the target alone.
"""

from collections.abc import Sequence

from mmpretrain.models.heads import DeiTClsHead, LinearClsHead, VisionTransformerClsHead
from torch import Tensor

from ..mixing import Mix
from ..registry import MODELS
from ..tracing import Tracer, attach, layer_indices, share_tracer, watch
from .mix_head import DistilledScores, MixHead


class TLAlign(MixHead):
    """Reads the target from labels traced through the attention.

    Args:
        layers: Attentions that move the labels, by index, negative ones from
            the end; ``[-1]`` is the paper's ablation with the last layer alone
            (Table 8). Defaults to None: all.
        residual: Average the moved labels with those before each layer.
            False is the ablation without. Defaults to True.
        merge: How DHVT's head tokens come back to the class token, ``'nested'``
            or ``'flat'``; see :meth:`mmtlalign.tracing.Tracer.append_tokens`.
            Defaults to None: ``'nested'`` where there are head tokens.
        **kwargs: As of the mmpretrain head.
    """

    def __init__(
        self,
        *args,
        layers: Sequence[int] | None = None,
        residual: bool = True,
        merge: str | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if merge not in (None, 'nested', 'flat'):
            raise ValueError(f"merge={merge!r}: choose 'nested' or 'flat'.")
        self.trace_options = dict(
            layers=layers, residual=residual, merge=merge or 'nested'
        )
        self.merge = merge

    def attach(self, backbone) -> None:
        """Tap the backbone; errors as in :class:`MixHead`, and options that do
        not fit it."""
        super().attach(backbone)
        wire = attach(backbone)
        layer_indices(self.trace_options['layers'], wire.attentions)
        if self.merge is not None and not wire.appends:
            raise ValueError(
                f'merge={self.merge!r} is about head tokens (DHVT), and '
                f'{type(backbone).__name__} has none: leave it out.'
            )

    def watch(self, backbone, mix: Mix):
        """Trace the shares of ``mix`` through one forward."""
        return watch(backbone, share_tracer(backbone, mix, **self.trace_options))

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
