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
from ..tracing import Tracer, share_tracer, watch
from .mix_head import DistilledScores, MixHead
from .trace_options import TraceOptions


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

    def watch(self, backbone, mix: Mix, data_samples=None):
        """Trace the shares of ``mix`` through one forward."""
        return watch(backbone, share_tracer(backbone, mix, **self.options.of_tracer))

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
