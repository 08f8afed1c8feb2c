"""A plain ViT for large images: most layers attend within windows.

Shapes: ``B`` batch, ``D`` width, ``H`` heads, ``(h, w)`` token grid, ``M`` side of a
window in tokens, ``n`` windows of an image.
"""

from collections.abc import Sequence
from typing import Any

from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
    VisionTransformer,
)
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.models.utils.attention import MultiheadAttention
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from mmtlalign.errors import InputError
from mmtlalign.registry import MODELS

# Tokens of a classifier, in the order in which they precede the image tokens.
EXTRA_TOKENS = ('cls_token', 'dist_token')
# Arguments of the parent that this class sets itself.
FIXED = {'layer_cfgs', 'out_indices', 'out_type', 'with_cls_token'}


@MODELS.register_module()
class WindowedViT(VisionTransformer):
    """ViT with windowed attention and a few global layers (ViTDet, arXiv 2203.16527).

    mmpretrain's ``VisionTransformer`` without a class token: the same parameters by
    the same names. When the state dict of a classifier is loaded, its class token,
    the distillation token of a distilled one, and their position embeddings are left
    out; everything else has to fit.

    The map is cut into windows that do not overlap and do not shift. Windows that
    reach beyond its right or bottom side are padded, and the padding is masked: no
    token attends to it. (In ViTDet's own code, tokens do attend to the padding.)
    Attention is fused. ViTDet's relative positions are left out, because no classifier
    has learnt them.

    Args:
        arch (str | dict): See mmpretrain's ``VisionTransformer``. Defaults to 'base'.
        img_size (int | tuple): Height and width of the images in pretraining, which
            set the size of the position embedding; images may have any size, and
            positions are resized in the forward pass (bicubic). Defaults to 224.
        window_size (int): Side of a window in tokens. Defaults to 14, that of a whole
            image in pretraining.
        global_layers (Sequence[int], optional): Layers that attend to the whole
            image, counted from 0. Defaults to None: the last of each quarter of the
            layers, such as 2, 5, 8, 11 of twelve.
        with_cp (bool): Compute each layer again in the backward pass instead of
            keeping its inner activations: less memory, about a third more time, the
            same gradients. Defaults to False.
        **kwargs: Arguments of mmpretrain's ``VisionTransformer``, except
            ``out_indices``, ``out_type``, ``with_cls_token`` and ``layer_cfgs``, which
            are fixed here.

    Raises:
        InputError: An argument is impossible; the message says which.
    """

    def __init__(
        self,
        arch: str | dict = 'base',
        img_size: int | tuple[int, int] = 224,
        window_size: int = 14,
        global_layers: Sequence[int] | None = None,
        with_cp: bool = False,
        **kwargs: Any,
    ):
        fixed = FIXED & set(kwargs)
        if fixed:
            raise InputError(
                f'WindowedViT sets {", ".join(sorted(fixed))} by itself: it outputs '
                'one map, that of the last layer, and has no class token. Remove these '
                'keys from the config.'
            )
        super().__init__(
            arch, img_size, out_type='featmap', with_cls_token=False, **kwargs
        )
        if global_layers is None:
            global_layers = _ends_of_quarters(self.num_layers)
        if window_size < 1 or not set(global_layers) <= set(range(self.num_layers)):
            raise InputError(
                f'window_size={window_size}, global_layers={list(global_layers)}: a '
                f'window has at least one token, and the layers are 0 to '
                f'{self.num_layers - 1}.'
            )
        self.window_size = window_size
        self.global_layers = tuple(global_layers)
        self.with_cp = with_cp
        for layer in self.layers:
            # Keeps the parameters; only the forward changes, and takes the grid.
            layer.__class__ = GridLayer
            layer.attn.__class__ = WindowedAttention

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Turn images (B, C, height, width) into the map of the last layer, normed.

        With patches of P pixels its shape is (B, D, ceil(height / P), ceil(width / P)).
        """
        x, grid = self.patch_embed(x)
        positions = resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            grid,
            mode=self.interpolate_mode,
            num_extra_tokens=0,
        )
        x = self.pre_norm(self.drop_after_pos(x + positions))
        for index, layer in enumerate(self.layers):
            window = None if index in self.global_layers else self.window_size
            if self.with_cp and x.requires_grad:
                x = checkpoint(layer, x, grid, window, use_reentrant=False)
            else:
                x = layer(x, grid, window)
        if self.final_norm:
            x = self.ln1(x)
        return (x.transpose(1, 2).unflatten(2, tuple(grid)).contiguous(),)

    def train(self, mode: bool = True) -> 'WindowedViT':
        """Set the mode and return the backbone, which the parent does not."""
        super().train(mode)
        return self

    def _prepare_pos_embed(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Leave out the special tokens and their positions, then resize.

        The parent, which registers this as a hook of loading, leaves out one
        position at most, and none where it has to resize.
        """
        extra = [prefix + n for n in EXTRA_TOKENS if prefix + n in state_dict]
        for name in extra:
            del state_dict[name]
        name = f'{prefix}pos_embed'
        if name in state_dict:
            state_dict[name] = state_dict[name][:, len(extra) :]
        super()._prepare_pos_embed(state_dict, prefix, *args, **kwargs)


def _ends_of_quarters(num_layers: int) -> list[int]:
    """Return the last layer of each quarter: 2, 5, 8, 11 of twelve."""
    return sorted({max(num_layers * k // 4 - 1, 0) for k in (1, 2, 3, 4)})


class GridLayer(TransformerEncoderLayer):
    """mmpretrain's layer, which passes the grid of the tokens to its attention."""

    def forward(self, x: Tensor, grid: tuple[int, int], window: int | None) -> Tensor:
        """Update tokens (B, h * w, D) on a grid (h, w).

        A window of None is the whole image.
        """
        x = x + self.attn(self.ln1(x), grid, window)
        return self.ffn(self.ln2(x), identity=x)


class WindowedAttention(MultiheadAttention):
    """mmpretrain's attention within windows.

    Only queries, keys and values are cut into windows. Everything else, above all
    stochastic depth, works on whole images.
    """

    def forward(self, x: Tensor, grid: tuple[int, int], window: int | None) -> Tensor:
        """Compute attention of normalised tokens (B, h * w, D) on a grid (h, w)."""
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, self.head_dims))
        mask = None
        if window is not None:
            qkv, mask = window_partition(qkv, grid, window)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        dropout = self.attn_drop if self.training else 0.0
        out = self.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout
        )
        out = out.transpose(1, 2)
        if window is not None:
            out = window_unpartition(out, grid, window)
        out = self.proj(out.flatten(2))
        return self.out_drop(self.gamma1(self.proj_drop(out)))


def window_partition(
    tokens: Tensor, grid: tuple[int, int], window: int
) -> tuple[Tensor, Tensor | None]:
    """Cut tokens into windows, row by row, padded with zeros.

    Args:
        tokens: (B, h * w, ...), row by row.
        grid: (h, w).
        window: Side M of a window.

    Returns:
        Windows (B * n, M * M, ...), and a mask (B * n, 1, 1, M * M), True for real
        tokens; None if there is no padding.
    """
    batch, inner = len(tokens), tokens.shape[2:]
    rows, columns = (-(-length // window) for length in grid)
    below, right = rows * window - grid[0], columns * window - grid[1]

    def cut(x: Tensor) -> Tensor:
        x = x.reshape(-1, rows, window, columns, window, x.shape[-1])
        return x.transpose(2, 3).reshape(-1, window * window, x.shape[-1])

    x = tokens.reshape(batch, *grid, -1)
    if not below and not right:
        return cut(x).unflatten(2, inner), None
    exists = x.new_ones((1, *grid, 1)).bool()
    x, exists = (pad(t, (0, 0, 0, right, 0, below)) for t in (x, exists))
    mask = cut(exists)[:, None, None, :, 0].repeat(batch, 1, 1, 1)
    return cut(x).unflatten(2, inner), mask


def window_unpartition(windows: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """Join windows (B * n, M * M, ...) to tokens (B, h * w, ...) again."""
    rows, columns = (-(-length // window) for length in grid)
    inner = windows.shape[2:]
    x = windows.reshape(-1, rows, columns, window, window, inner.numel())
    x = x.transpose(2, 3).reshape(-1, rows * window, columns * window, inner.numel())
    x = x[:, : grid[0], : grid[1]]
    return x.reshape(len(x), grid[0] * grid[1], *inner)
