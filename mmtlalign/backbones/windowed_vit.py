"""A plain ViT for large pictures: most layers attend within windows."""

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

# Of a classifier, in the order in which they precede the tokens of the picture.
EXTRA_TOKENS = ('cls_token', 'dist_token')
# Settings of the parent that have one value here.
FIXED = {'layer_cfgs', 'out_indices', 'out_type', 'with_cls_token'}


@MODELS.register_module()
class WindowedViT(VisionTransformer):
    """ViT with windowed attention and a few global layers (ViTDet, arXiv 2203.16527).

    mmpretrain's ``VisionTransformer`` without a class token: the same parameters by
    the same names. When the state dict of a classifier is loaded, its class token,
    the distillation token of a distilled one, and the first positions, which are
    theirs, are left out; everything else has to fit.

    The picture is cut into windows that do not overlap and do not shift. Windows that
    reach beyond its right or bottom side are filled up, and what fills them is masked:
    no token attends to it, so that the outputs are those of attention among the tokens
    of a window that exist. (ViTDet's own code lets its zeros take part.) Attention is
    fused. ViTDet's relative positions are not there: no classifier has learnt them.

    Args:
        arch (str | dict): As in ``VisionTransformer``. Defaults to 'base'.
        img_size (int | tuple): Height and width of the pictures in pretraining, which
            is the size of the position embedding; pictures of any size run, with
            positions resized on the way (bicubic). Defaults to 224.
        window_size (int): Side of a window in tokens. Defaults to 14, that of a whole
            picture in pretraining.
        global_layers (Sequence[int], optional): Layers that attend to the whole
            picture, counted from 0. Defaults to None: the last of each quarter, such
            as 2, 5, 8, 11 of twelve.
        with_cp (bool): Compute each layer again in the backward pass instead of
            keeping its inner activations: less memory, about a third more time, the
            same gradients. Defaults to False.
        **kwargs: As in ``VisionTransformer``, without ``out_indices``, ``out_type``,
            ``with_cls_token`` and ``layer_cfgs``, which are fixed here.

    Raises:
        ValueError: An argument is impossible; the message says which.
    """

    def __init__(
        self,
        arch='base',
        img_size=224,
        window_size=14,
        global_layers=None,
        with_cp=False,
        **kwargs,
    ):
        fixed = FIXED & set(kwargs)
        if fixed:
            raise InputError(
                f'WindowedViT sets {", ".join(sorted(fixed))} by itself: it outputs '
                'one map, that of the last layer, and has no class token. Remove what '
                'the config says of it.'
            )
        super().__init__(
            arch, img_size, out_type='featmap', with_cls_token=False, **kwargs
        )
        if global_layers is None:
            global_layers = every_fourth(self.num_layers)
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
            # Parameters as they are; only the forward takes the grid as well.
            layer.__class__ = GridLayer
            layer.attn.__class__ = WindowedAttention

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Images (B, C, H, W) to one map (B, D, ceil(H / P), ceil(W / P)).

        P is the patch; the last map, behind the final norm, in a tuple of one.
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
            side = None if index in self.global_layers else self.window_size
            if self.with_cp and x.requires_grad:
                x = checkpoint(layer, x, grid, side, use_reentrant=False)
            else:
                x = layer(x, grid, side)
        if self.final_norm:
            x = self.ln1(x)
        return (x.transpose(1, 2).unflatten(2, tuple(grid)).contiguous(),)

    def train(self, mode: bool = True):
        """Set the mode; unlike the parent's this returns the backbone."""
        super().train(mode)
        return self

    def _prepare_pos_embed(self, state_dict, prefix, *args, **kwargs):
        """Leave out what precedes the tokens of the picture, then resize.

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


def every_fourth(num_layers: int) -> list[int]:
    """The last layer of each quarter: 2, 5, 8, 11 of twelve."""
    return sorted({max(num_layers * k // 4 - 1, 0) for k in (1, 2, 3, 4)})


class GridLayer(TransformerEncoderLayer):
    """mmpretrain's layer, which tells its attention the grid of the tokens."""

    def forward(self, x: Tensor, grid, side: int | None) -> Tensor:
        """Tokens (B, h * w, D) of a grid (h, w); ``side`` None attends globally."""
        x = x + self.attn(self.ln1(x), grid, side)
        return self.ffn(self.ln2(x), identity=x)


class WindowedAttention(MultiheadAttention):
    """mmpretrain's attention within windows.

    Only queries, keys and values are cut, so that everything else, and stochastic
    depth above all, is a matter of whole pictures.
    """

    def forward(self, x: Tensor, grid, side: int | None) -> Tensor:
        """As :meth:`GridLayer.forward`."""
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, self.head_dims))
        mask = None
        if side is not None:
            qkv, mask = cut(qkv, grid, side)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        dropped = self.attn_drop if self.training else 0.0
        out = self.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropped
        )
        out = out.transpose(1, 2)
        if side is not None:
            out = paste(out, grid, side)
        out = self.proj(out.flatten(2))
        return self.out_drop(self.gamma1(self.proj_drop(out)))


def cut(tokens: Tensor, grid, side: int) -> tuple[Tensor, Tensor | None]:
    """Cut tokens into windows, row by row, filled up with zeros.

    Args:
        tokens: (B, h * w, ...), row by row.
        grid: (h, w).
        side: Rows and columns of a window.

    Returns:
        Windows (B * n, side * side, ...), and None or a mask (B * n, 1, 1,
        side * side), True for tokens that exist, if some do not.
    """
    batch, inner = len(tokens), tokens.shape[2:]
    rows, columns = (-(-length // side) for length in grid)
    below, right = rows * side - grid[0], columns * side - grid[1]

    def windows(x):
        x = x.reshape(-1, rows, side, columns, side, x.shape[-1])
        return x.transpose(2, 3).reshape(-1, side * side, x.shape[-1])

    x = tokens.reshape(batch, *grid, -1)
    if not below and not right:
        return windows(x).unflatten(2, inner), None
    real = x.new_ones((1, *grid, 1)).bool()
    x, real = (pad(t, (0, 0, 0, right, 0, below)) for t in (x, real))
    real = windows(real)[:, None, None, :, 0].repeat(batch, 1, 1, 1)
    return windows(x).unflatten(2, inner), real


def paste(windows: Tensor, grid, side: int) -> Tensor:
    """The inverse of :func:`cut`: windows (B * n, side * side, ...) to tokens."""
    rows, columns = (-(-length // side) for length in grid)
    inner = windows.shape[2:]
    x = windows.reshape(-1, rows, columns, side, side, inner.numel())
    x = x.transpose(2, 3).reshape(-1, rows * side, columns * side, inner.numel())
    x = x[:, : grid[0], : grid[1]]
    return x.reshape(len(x), grid[0] * grid[1], *inner)
