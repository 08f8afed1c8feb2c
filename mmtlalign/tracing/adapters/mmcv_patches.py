"""Geometry of mmcv's patch embedding and merging, which mmpretrain's backbones use."""

from collections.abc import Sequence

from torch import nn

from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.propagate import Padding, Pair
from mmtlalign.tracing.support import convolved


def patch_stride(backbone: nn.Module) -> Pair:
    """Return the size of a token in pixels."""
    return backbone.patch_embed.projection.stride


def patch_grid(backbone: nn.Module, size: Sequence[int]) -> Pair:
    """Return the token rows and columns for images of ``size`` (height, width).

    Raises:
        UnsupportedError: Padding moves the patches off the cells of the grid, or there
            are gaps between them.
    """
    layer = backbone.patch_embed.projection
    adaptive = backbone.patch_embed.adaptive_padding
    left, right, top, bottom = adaptive_padding(adaptive, layer, size)
    kernel, stride = layer.kernel_size, layer.stride
    if top > kernel[0] - stride[0] or left > kernel[1] - stride[1]:
        raise UnsupportedError(
            f'Patches of {kernel[0]}x{kernel[1]} pixels with stride '
            f'{stride[0]}x{stride[1]} that start {top} rows above and {left} columns '
            f'left of an image of {size[0]}x{size[1]} do not contain their cells: set '
            "patch_cfg=dict(padding='corner') and a stride up to the kernel_size, or "
            'give images that need no padding.'
        )
    if adaptive is None:
        return convolved(size, layer)
    return convolved((size[0] + top + bottom, size[1] + left + right), layer)


def adaptive_padding(
    adaptive: nn.Module | None, layer: nn.Module, size: Sequence[int]
) -> Padding:
    """Return the left, right, top and bottom padding of a map.

    Args:
        adaptive: mmcv's ``AdaptivePadding`` before the layer, or None.
        layer: The convolution or unfolding, with its own ``padding``.
        size: Rows and columns of the map.
    """
    if adaptive is None:
        high, wide = layer.padding
        return wide, wide, high, high
    high, wide = adaptive.get_pad_shape(size)
    if adaptive.padding == 'corner':
        return 0, wide, 0, high
    left, top = wide // 2, high // 2
    return left, wide - left, top, high - top
