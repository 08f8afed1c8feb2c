"""Necks: pooling for classification, feature pyramids for dense tasks.

Shapes: ``B`` batch, ``C`` channels, ``P`` special tokens, ``N`` image tokens, ``h, w``
rows and columns of a map.
"""

from mmengine.model import BaseModule
from mmpretrain.models.necks import GlobalAveragePooling as StockPooling
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn

from mmtlalign.backbones.lvvit_layers import ConvUnit
from mmtlalign.compat.renamed import register_old_name
from mmtlalign.errors import InputError
from mmtlalign.registry import MODELS
from mmtlalign.tracing.support import backbone_spec

BN = dict(type='BN')
LN2D = dict(type='LN2d', eps=1e-6)


@MODELS.register_module()
class GlobalAveragePooling(StockPooling):
    """mmpretrain's ``GlobalAveragePooling``, also for a list of maps.

    mmdet's ``PyramidVisionTransformer`` outputs a list, which mmpretrain's neck
    refuses.

    Args:
        *args: Arguments of mmpretrain's ``GlobalAveragePooling``.
        **kwargs: Arguments of mmpretrain's ``GlobalAveragePooling``.
    """

    def forward(self, inputs: tuple | list | Tensor) -> tuple[Tensor, ...] | Tensor:
        """Turn maps (B, C, h, w) into (B, C) each."""
        return super().forward(tuple(inputs) if isinstance(inputs, list) else inputs)


@MODELS.register_module()
class TokenPooling(BaseModule):
    """Neck that outputs the class token, or the mean of the image tokens.

    For mmpretrain's ``TIMMBackbone``, which gives ViT tokens (B, P + N, C) and Swin
    maps (B, h, w, C) without pooling. ``mmtlalign.TIMMBackbone`` needs no neck.

    Args:
        output (str): ``'class'`` or ``'mean'``.
        prefix (int): Number of special tokens P before the image tokens; the mean
            leaves them out. Defaults to 0.
    """

    def __init__(self, output: str, prefix: int = 0):
        super().__init__()
        if output not in ('class', 'mean'):
            raise InputError(f"output={output!r}: choose 'class' or 'mean'.")
        self.output = output
        self.prefix = prefix

    def check(self, backbone: nn.Module) -> None:
        """Check that this pools where the backbone's labels are traced to.

        Raises:
            InputError: It pools other tokens.
        """
        spec = backbone_spec(backbone)
        wanted = spec.output(backbone), spec.prefix(backbone)
        given = self.output, self.prefix if self.output == 'mean' else wanted[1]
        if given != wanted:
            raise InputError(
                f'TokenPooling(output={self.output!r}, prefix={self.prefix}): this '
                f'timm model pools output={wanted[0]!r} with prefix={wanted[1]}, and '
                'labels are traced to that output; set these values, or use '
                'mmtlalign.TIMMBackbone with its out_type.'
            )

    def forward(self, feats: tuple) -> tuple[Tensor]:
        """Pool the last feature (B, ..., C), channels last, to (B, C)."""
        tokens = feats[-1].flatten(1, -2)
        if self.output == 'class':
            return (tokens[:, 0],)
        return (tokens[:, self.prefix :].mean(dim=1),)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Simple feature pyramid (ViTDet, ECCV 2022, arXiv 2203.16527, section 3).

    A map of stride 16 is turned into maps of strides 4 (two transposed convolutions
    with LayerNorm and GELU between), 8 (one), 16 and 32 (2 x 2 max pooling), each
    followed by a 1 x 1 and a 3 x 3 convolution with LayerNorm. The fifth map is every
    second pixel of the fourth. Apart from that, no map depends on another.

    Args:
        in_channels (int): Channels of the map.
        out_channels (int): Channels of the five maps. Defaults to 256.
        norm_cfg (dict): Norm over the channels of a pixel. Defaults to
            ``dict(type='LN2d', eps=1e-6)``.
        init_cfg (dict | list, optional): Defaults to None: as PyTorch initialises
            convolutions.

    Raises:
        InputError: ``in_channels`` is not a multiple of four, or there is more than
            one map.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        norm_cfg: dict = LN2D,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg)
        if in_channels % 4:
            raise InputError(
                f'in_channels={in_channels}: the map of stride 4 has a quarter of '
                'them; give a multiple of four.'
            )
        half, quarter = in_channels // 2, in_channels // 4
        scales: tuple[list[nn.Module], ...] = (
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
                # A norm follows, which would cancel a bias.
                nn.Conv2d(width, out_channels, 1, bias=False),
                build_norm_layer(norm_cfg, out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                build_norm_layer(norm_cfg, out_channels),
            )
            for scale, width in zip(scales, widths)
        )

    def forward(self, inputs: tuple[Tensor]) -> tuple[Tensor, ...]:
        """Make five maps from one.

        Args:
            inputs: A tuple with one map (B, in_channels, h, w) of stride 16, at least
                2 x 2.

        Returns:
            (B, out_channels, 4h, 4w), (.., 2h, 2w), (.., h, w), (.., h // 2, w // 2)
            and half of that, rounded up.
        """
        if len(inputs) != 1:
            raise InputError(
                f'SimpleFeaturePyramid got {len(inputs)} maps: it builds all levels '
                'from one map; let the backbone output its last map only.'
            )
        maps = [stage(inputs[0]) for stage in self.stages]
        return (*maps, maps[-1][:, :, ::2, ::2])


@MODELS.register_module()
class LVViTNeck(BaseModule):
    """Neck of LV-ViT's semantic segmentation (official code of arXiv 2104.10858).

    Maps of stride P from four layers become maps of stride P / 4 and P / 2 (by a
    transposed convolution each), P and P, the last one with more channels. A 1 x 1
    convolution follows on each map. Every convolution is without bias and followed by
    a norm and ReLU.

    Args:
        in_channels (int): Channels of the four input maps, and of the first three
            output maps.
        last_channels (int): Channels of the fourth output map. Defaults to 2048.
        norm_cfg (dict): Norm after each convolution. Defaults to
            ``dict(type='BN')``.
        init_cfg (dict | list, optional): Defaults to None: as PyTorch initialises
            convolutions.

    Raises:
        InputError: There are not four maps.
    """

    def __init__(
        self,
        in_channels: int,
        last_channels: int = 2048,
        norm_cfg: dict = BN,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg)
        factors = (4, 2, 1, 1)
        widths = (in_channels, in_channels, in_channels, last_channels)
        self.sides = nn.ModuleList()
        for factor, width in zip(factors, widths):
            convs = []
            if factor > 1:
                sizes = in_channels, in_channels, factor, factor
                convs.append(nn.ConvTranspose2d(*sizes, bias=False))
            convs.append(nn.Conv2d(in_channels, width, 1, bias=False))
            units = (ConvUnit(conv, norm_cfg) for conv in convs)
            self.sides.append(nn.Sequential(*units))

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Turn the maps of four layers into a pyramid.

        Args:
            inputs: Four maps (B, in_channels, h, w), the earliest layer's first.

        Returns:
            (B, in_channels, 4h, 4w), (B, in_channels, 2h, 2w), (B, in_channels, h, w)
            and (B, last_channels, h, w).
        """
        if len(inputs) != len(self.sides):
            raise InputError(
                f'LVViTNeck got {len(inputs)} maps: it takes those of four layers; '
                'name four in out_indices of the backbone.'
            )
        return tuple(side(given) for side, given in zip(self.sides, inputs))


register_old_name(MODELS, 'SideLayers', LVViTNeck)
