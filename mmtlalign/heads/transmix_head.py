"""TransMix: weigh labels by attention (CVPR 2022, arXiv 2111.09833).

The share of the partner is where the class token of the last layer looks. As
the authors intend, it is averaged with the share by area (§4.1).
"""

from mmpretrain.models.heads import DeiTClsHead, LinearClsHead, VisionTransformerClsHead
from torch import Tensor

from ..mixing import Mix
from ..registry import MODELS
from ..tracing import ClassRows, TokenColumns, attach, look_reader, watch
from .mix_head import DistilledScores, MixHead

_WRONG_LOOKS = {
    'class': (
        '{} does not output a class token: TransMix weighs labels by the class '
        "token's attention. Use a backbone with one (VisionTransformer with "
        "out_type='cls_token', mmtlalign.CASwin), looks='columns' (an extension "
        'without class token), or TL-Align, which needs none.'
    ),
    'mean': (
        "looks='columns' is for networks without a class token, and {} outputs "
        "one: leave it at 'class'."
    ),
}


class TransMix(MixHead):
    """Reads the target from the class token's attention.

    Args:
        ratio: Weight of the area share; the rest is the attention's. The
            official code's argument of this name is not read there; its value
            is this default. Defaults to 0.5.
        looks: Whose attention weighs. ``'class'``: the class token's, as in
            the paper. ``'columns'``: how much each token is looked at by all
            image tokens of the last layer; an extension of ours for networks
            without a class token, not in the paper. Defaults to ``'class'``.
        **kwargs: As of the mmpretrain head.
    """

    def __init__(self, *args, ratio: float = 0.5, looks: str = 'class', **kwargs):
        super().__init__(*args, **kwargs)
        if not 0 <= ratio <= 1:
            raise ValueError(f'ratio={ratio}: a weight lies between 0 and 1.')
        if looks not in ('class', 'columns'):
            raise ValueError(f"looks={looks!r}: choose 'class' or 'columns'.")
        self.ratio = ratio
        self.looks = looks

    def attach(self, backbone) -> None:
        """Tap the backbone; errors as in :class:`MixHead`, and no class token."""
        super().attach(backbone)
        needed = 'mean' if self.looks == 'columns' else 'class'
        if self.output != needed:
            raise ValueError(_WRONG_LOOKS[needed].format(type(backbone).__name__))
        attach(backbone)

    def watch(self, backbone, mix: Mix, data_samples=None):
        """Read where the last attention looks."""
        kind = TokenColumns if self.looks == 'columns' else ClassRows
        return watch(backbone, look_reader(backbone, mix, kind))

    def partner_shares(
        self, mix: Mix, seen: ClassRows | TokenColumns
    ) -> tuple[Tensor, ...]:
        """Where it is looked, averaged with the area, for each output (B,)."""
        area = mix.area()
        return tuple(
            self.ratio * area + (1 - self.ratio) * looked
            for looked in seen.output_shares()[: self.outputs]
        )


@MODELS.register_module()
class TransMixLinearClsHead(TransMix, LinearClsHead):
    """mmpretrain's ``LinearClsHead`` with TransMix; arguments of both."""


@MODELS.register_module()
class TransMixVisionTransformerClsHead(TransMix, VisionTransformerClsHead):
    """mmpretrain's ``VisionTransformerClsHead`` with TransMix; arguments of both."""


@MODELS.register_module()
class TransMixDeiTClsHead(TransMix, DistilledScores, DeiTClsHead):
    """mmpretrain's ``DeiTClsHead`` with TransMix; arguments of both."""
