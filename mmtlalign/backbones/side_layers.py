"""Four maps for UperNet from four layers of LV-ViT."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmtlalign.backbones.lvvit_parts import ConvUnit
from mmtlalign.registry import MODELS

__all__ = ['SideLayers']

BN = dict(type='BN')


@MODELS.register_module()
class SideLayers(BaseModule):
    """The neck of LV-ViT's semantic segmentation (official code of arXiv 2104.10858).

    Maps of stride P from four layers become maps of stride P / 4 (a transposed
    convolution), P / 2 (another), P and P, the last one wide. Each map ends in a 1 x 1
    convolution. Every convolution is without bias and followed by a norm and ReLU.

    Args:
        in_channels (int): Channels of the four maps, and of the first three that
            come out.
        last_channels (int): Channels of the fourth that comes out. Defaults to 2048.
        norm_cfg (dict): Norm after each convolution. Defaults to
            ``dict(type='BN')``.
        init_cfg (dict | list, optional): Defaults to None: as PyTorch starts
            convolutions.

    Raises:
        ValueError: There are not four maps.
    """

    def __init__(self, in_channels, last_channels=2048, norm_cfg=BN, init_cfg=None):
        super().__init__(init_cfg)
        enlarging = ((4,), (2,), (), ())
        widths = (in_channels, in_channels, in_channels, last_channels)
        self.sides = nn.ModuleList(
            nn.Sequential(
                *(
                    ConvUnit(
                        nn.ConvTranspose2d(
                            in_channels, in_channels, factor, factor, bias=False
                        ),
                        norm_cfg,
                    )
                    for factor in factors
                ),
                ConvUnit(nn.Conv2d(in_channels, width, 1, bias=False), norm_cfg),
            )
            for factors, width in zip(enlarging, widths)
        )

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Four maps (B, in_channels, h, w), the earliest layer's first.

        Returns:
            (B, in_channels, 4h, 4w), (B, in_channels, 2h, 2w), (B, in_channels, h, w)
            and (B, last_channels, h, w).
        """
        if len(inputs) != len(self.sides):
            raise ValueError(
                f'SideLayers got {len(inputs)} maps: it takes those of four layers; '
                'name four in out_indices of the backbone.'
            )
        return tuple(side(given) for side, given in zip(self.sides, inputs))
