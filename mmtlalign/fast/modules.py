"""Subclasses of mmpretrain's and mmcv's modules: faster training, same results.

A module becomes an object of its fast class in place, with its parameters and hooks. In
evaluation it runs the stock forward, so that inference and exported graphs stay as they
are. In training it splits queries, keys and values at once: the stock modules index
them one by one, and the backward pass then fills three tensors of the full size with
zeros.

A fast class calls the attributes and submodules of the class that it ``stands_for`` as
that class does, so that hooks on them keep working.

Shapes: ``B`` batch, ``N`` tokens, ``C`` channels, ``h, w`` rows and columns of a map,
``G`` windows of an image, ``T`` tokens of a window, ``H`` heads, ``D`` channels of a
head.
"""

import torch
from mmcv.cnn.bricks.drop import DropPath
from mmcv.cnn.bricks.transformer import PatchMerging
from mmpretrain.models.utils import ShiftWindowMSA
from mmpretrain.models.utils.attention import MultiheadAttention, WindowMSA
from torch import Tensor, nn

from mmtlalign.compat.torch_2_1 import is_compiling
from mmtlalign.fast.attention import (
    check_kernel,
    choose_kernel,
    explicit_attention,
    fused_attention,
)
from mmtlalign.fast.windows import WindowMasks, WindowOrder, reorder


class FastMultiheadAttention(MultiheadAttention):
    """mmpretrain's attention of plain transformers with a faster split."""

    stands_for = MultiheadAttention

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to (B, N, C)."""
        if not self.training:
            return super().forward(x)
        query, key, value = split(self.qkv(x), self.num_heads)
        out = self.scaled_dot_product_attention(
            query, key, value, dropout_p=self.attn_drop
        )
        out = self.proj(out.transpose(1, 2).flatten(2))
        out = self.out_drop(self.gamma1(self.proj_drop(out)))
        return value.squeeze(1) + out if self.v_shortcut else out


class FastWindowMSA(WindowMSA):
    """mmpretrain's attention in windows with a choice of the kernel.

    Attributes:
        kernel: ``'auto'``, ``'fused'`` or ``'explicit'``. With a forward hook on the
            softmax module, which needs the weights, the kernel is always explicit.
    """

    kernel = 'auto'

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map windows (B * G, T, C), masked by (G, T, T) or None, to the same."""
        if not self.training:
            return super().forward(x, mask)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        bias = bias.view(x.shape[1], x.shape[1], -1).permute(2, 0, 1).contiguous()
        if mask is not None:
            bias = bias + mask[:, None].to(bias)
        out = self._attend(*split(self.qkv(x), self.num_heads), bias)
        out = out.transpose(1, 2).flatten(2)
        return self.proj_drop(self.proj(out))

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor
    ) -> Tensor:
        # A function of its own, so that the packed projection is freed when it
        # returns, and later layers can use its memory.
        given = (query, key, value, bias, self.scale, self.attn_drop.p)
        kernel = 'explicit' if self.softmax._forward_hooks else self.kernel
        if kernel == 'auto':
            kernel = choose_kernel(query, key, bias)
        if kernel == 'explicit':
            return explicit_attention(*given, softmax=self._softmax)
        return fused_attention(*given)

    def _softmax(self, logits: Tensor, dim: int) -> Tensor:
        return self.softmax(logits)


class FastShiftWindowMSA(ShiftWindowMSA):
    """Shift a map and cut it into windows with one copy, and one copy back.

    The stock module pads, rolls and cuts with a copy each. Maps that need padding to
    fill their windows still run its forward.

    Attributes:
        order: Order of the tokens in windows; see :func:`share_windows`.
    """

    stands_for = ShiftWindowMSA
    order: WindowOrder | None = None

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Map tokens (B, h * w, C) of a map (h, w) to the same."""
        window, (height, width) = self.window_size, hw_shape
        grid = (height, width)
        fills = height % window == width % window == 0 and min(hw_shape) > 0
        if not (self.training and fills and self.order) or is_compiling():
            return super().forward(query, hw_shape)
        # The stock forward does not shift a map that is a single window.
        single = min(hw_shape) == window and not self.pad_small_map
        shift = 0 if single else self.shift_size
        where = dict(window_size=window, shift_size=shift, device=query.device)
        order, back = self.order(grid, **where)
        windows = reorder(query, order, back).view(-1, window**2, query.shape[-1])
        mask = self.get_attn_mask(grid, **where)
        out = self.w_msa(windows, mask=mask).view(query.shape)
        return self.drop(reorder(out, back, order))


class FastPatchMerging(PatchMerging):
    """Merge 2 x 2 tokens with one copy instead of mmcv's ``nn.Unfold``."""

    stands_for = PatchMerging

    def forward(
        self, x: Tensor, input_size: tuple[int, int]
    ) -> tuple[Tensor, tuple[int, int]]:
        """Map tokens (B, h * w, C) to (B, h/2 * w/2, C'), and the new (h/2, w/2)."""
        height, width = input_size
        sampler = self.sampler
        usual = (2, 2) == tuple(sampler.kernel_size) == tuple(sampler.stride)
        usual = usual and tuple(sampler.dilation) == (1, 1)
        usual = usual and not any(sampler.padding) and height % 2 == width % 2 == 0
        if not (self.training and usual):
            return super().forward(x, input_size)
        batch, _, channels = x.shape
        x = x.view(batch, height // 2, 2, width // 2, 2, channels)
        # In the order of nn.Unfold: the four tokens of a channel are adjacent.
        x = x.permute(0, 1, 3, 5, 2, 4).reshape(batch, -1, 4 * channels)
        x = x if self.norm is None else self.norm(x)
        return self.reduction(x), (height // 2, width // 2)


class FastDropPath(DropPath):
    """Stochastic depth with one product instead of mmcv's division and product.

    Half precision runs mmcv's forward: ``1 / (1 - drop_prob)`` rounded to it would
    change the scale of the whole path by up to 0.4 %.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop the paths (B, ...) of some images and scale the rest."""
        if not (self.training and self.drop_prob) or x.dtype != torch.float32:
            return super().forward(x)
        keep = 1 - self.drop_prob
        kept = torch.rand((len(x), *[1] * (x.ndim - 1)), dtype=x.dtype, device=x.device)
        return x * kept.add_(keep).floor_().div_(keep)


def split(packed: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split a projection (B, N, 3 C) into queries, keys and values (B, H, N, D)."""
    batch, tokens, width = packed.shape
    parts = packed.view(batch, tokens, 3, heads, width // (3 * heads))
    return parts.permute(2, 0, 3, 1, 4).unbind(0)


FAST = {
    DropPath: FastDropPath,
    MultiheadAttention: FastMultiheadAttention,
    PatchMerging: FastPatchMerging,
    ShiftWindowMSA: FastShiftWindowMSA,
    WindowMSA: FastWindowMSA,
}


def make_fast(module: nn.Module, kernel: str | None = None) -> bool:
    """Make a module of mmpretrain or mmcv an object of its fast class, in place.

    Args:
        module: A module of any class; those without a fast class are left alone.
        kernel: Kernel of a window attention. Defaults to None: unchanged, at first
            'auto'.

    Returns:
        Whether the module is a fast attention now.
    """
    fast = FAST.get(type(module))
    if fast is not None:
        module.__class__ = fast
    if kernel is not None and isinstance(module, FastWindowMSA):
        module.kernel = check_kernel(kernel)
    return isinstance(module, (FastMultiheadAttention, FastWindowMSA))


def share_windows(model: nn.Module) -> None:
    """Let all shifted windows of a model share masks and orders, in place.

    Args:
        model: Model with any number of ``ShiftWindowMSA``. Its outputs, its state dict
            and its classes do not change.
    """
    masks, order = WindowMasks(), WindowOrder()
    for module in model.modules():
        if isinstance(module, ShiftWindowMSA):
            module.get_attn_mask = masks
            module.order = order
