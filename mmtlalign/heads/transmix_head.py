"""TransMix: weigh labels by attention (CVPR 2022, arXiv 2111.09833).

The share of the partner is where the class token of the last layer looks. As
the authors intend, it is averaged with the share by area (§4.1).
"""

from mmpretrain.models.heads import DeiTClsHead, LinearClsHead, VisionTransformerClsHead
from torch import Tensor

from ..mixing import Mix
from ..registry import MODELS
from ..tracing import ClassRows, attach, family_of, row_reader, watch
from .mix_head import DistilledScores, MixHead


class TransMix(MixHead):
    """Reads the target from the class token's attention.

    Args:
        ratio: Weight of the area share; the rest is the attention's. The
            official code's argument of this name is not read there; its value
            is this default. Defaults to 0.5.
        **kwargs: As of the mmpretrain head.
    """

    def __init__(self, *args, ratio: float = 0.5, **kwargs):
        super().__init__(*args, **kwargs)
        if not 0 <= ratio <= 1:
            raise ValueError(f'ratio={ratio}: a weight lies between 0 and 1.')
        self.ratio = ratio

    def attach(self, backbone) -> None:
        """Tap the backbone; errors as in :class:`MixHead`, and no class token."""
        family = family_of(backbone)
        if not family.prefix(backbone) or family.output(backbone) != 'class':
            raise ValueError(
                f'{type(backbone).__name__} does not output a class token: TransMix '
                "weighs labels by the class token's attention. Use a backbone with "
                "one (VisionTransformer with out_type='cls_token', "
                'DistilledVisionTransformer), or TL-Align, which needs none.'
            )
        super().attach(backbone)
        attach(backbone, moves_shares=False)

    def watch(self, backbone, mix: Mix):
        """Read the special tokens' rows of the last attention."""
        return watch(backbone, row_reader(backbone, mix))

    def partner_shares(self, mix: Mix, seen: ClassRows) -> tuple[Tensor, ...]:
        """Where each special token looks, averaged with the area, each (B,)."""
        area = mix.area()
        return tuple(
            self.ratio * area + (1 - self.ratio) * looked
            for looked in seen.output_shares()
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
