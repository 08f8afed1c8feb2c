"""A neck for the unpooled tokens of mmpretrain's ``TIMMBackbone``."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmtlalign.registry import MODELS
from mmtlalign.tracing import family_of

__all__ = ['TokenPooling']


@MODELS.register_module()
class TokenPooling(BaseModule):
    """Takes the class token, or the mean of the image tokens.

    For mmpretrain's ``TIMMBackbone``, which gives ViT tokens (B, P + N, C) and Swin
    maps (B, h, w, C) without pooling. ``mmtlalign.TIMMBackbone`` needs no neck.

    Args:
        output (str): ``'class'`` or ``'mean'``.
        prefix (int): Number of special tokens P before the image tokens, which do
            not count in the mean. Defaults to 0.
    """

    def __init__(self, output: str, prefix: int = 0):
        super().__init__()
        if output not in ('class', 'mean'):
            raise ValueError(f"output={output!r}: choose 'class' or 'mean'.")
        self.output = output
        self.prefix = prefix

    def check(self, backbone: nn.Module) -> None:
        """Raise ValueError if the backbone's labels arrive elsewhere."""
        family = family_of(backbone)
        wanted = family.output(backbone), family.prefix(backbone)
        given = self.output, self.prefix if self.output == 'mean' else wanted[1]
        if given != wanted:
            raise ValueError(
                f'TokenPooling(output={self.output!r}, prefix={self.prefix}): this '
                f'model of timm pools output={wanted[0]!r} with prefix={wanted[1]}, '
                'where its labels are traced to; set these, or choose with '
                "mmtlalign.TIMMBackbone's out_type."
            )

    def forward(self, feats: tuple) -> tuple[Tensor]:
        """Last feature (B, ..., C), channels last, to (B, C)."""
        tokens = feats[-1].flatten(1, -2)
        if self.output == 'class':
            return (tokens[:, 0],)
        return (tokens[:, self.prefix :].mean(dim=1),)
