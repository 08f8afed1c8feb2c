"""Five maps for a detector from the one map of a plain ViT."""

from mmengine.model import BaseModule
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn

from mmtlalign.registry import MODELS

__all__ = ['SimpleFeaturePyramid']

LN2D = dict(type='LN2d', eps=1e-6)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Simple feature pyramid (ViTDet, ECCV 2022, arXiv 2203.16527, section 3).

    From a map of stride 16 come maps of strides 4 (two transposed convolutions with
    LayerNorm and GELU between), 8 (one), 16 and 32 (maximum of 2 x 2), each followed
    by a 1 x 1 and a 3 x 3 convolution with LayerNorm. The fifth is every second pixel
    of the fourth. No map takes anything from another.

    Args:
        in_channels (int): Channels of the map.
        out_channels (int): Channels of the five maps. Defaults to 256.
        norm_cfg (dict): Norm over the channels of a pixel. Defaults to
            ``dict(type='LN2d', eps=1e-6)``.
        init_cfg (dict | list, optional): Defaults to None: as PyTorch starts
            convolutions.

    Raises:
        ValueError: ``in_channels`` is not a multiple of four, or there is more than
            one map.
    """

    def __init__(self, in_channels, out_channels=256, norm_cfg=LN2D, init_cfg=None):
        super().__init__(init_cfg)
        if in_channels % 4:
            raise ValueError(
                f'in_channels={in_channels}: the map of stride 4 has a quarter of '
                'them; give a multiple of four.'
            )
        half, quarter = in_channels // 2, in_channels // 4
        scales = (
            [
                nn.ConvTranspose2d(in_channels, half, 2, stride=2),
                build_norm_layer(norm_cfg, half),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, 2, stride=2),
            ],
            [nn.ConvTranspose2d(in_channels, half, 2, stride=2)],
            [],
            [nn.MaxPool2d(2)],
        )
        widths = (quarter, half, in_channels, in_channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *scale,
                # A norm follows, so a bias would do nothing.
                nn.Conv2d(width, out_channels, 1, bias=False),
                build_norm_layer(norm_cfg, out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                build_norm_layer(norm_cfg, out_channels),
            )
            for scale, width in zip(scales, widths)
        )

    def forward(self, inputs: tuple[Tensor]) -> tuple[Tensor, ...]:
        """One map to five.

        Args:
            inputs: A tuple with one map (B, in_channels, h, w) of stride 16, at least
                2 x 2.

        Returns:
            (B, out_channels, 4h, 4w), (.., 2h, 2w), (.., h, w), (.., h // 2, w // 2)
            and half of that, rounded up.
        """
        if len(inputs) != 1:
            raise ValueError(
                f'SimpleFeaturePyramid got {len(inputs)} maps: it makes its levels '
                'from one; let the backbone output its last map only.'
            )
        maps = [stage(inputs[0]) for stage in self.stages]
        return (*maps, maps[-1][:, :, ::2, ::2])
