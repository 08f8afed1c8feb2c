"""Twins of mmpretrain's attentions that train faster, with the same numbers.

A twin is a subclass with the same parameters, adopted in place. In evaluation it is the
stock module, so that inference and exported graphs stay as they are. In training it
takes queries, keys and values apart at once: the stock modules index them one by one,
whose backward pass fills three tensors of the size of all with zeros.
"""

from mmpretrain.models.utils import ShiftWindowMSA
from mmpretrain.models.utils.attention import MultiheadAttention, WindowMSA
from torch import Tensor, nn

from .kernels import KERNELS, attend
from .window_masks import WindowMasks


class FastMultiheadAttention(MultiheadAttention):
    """Twin of the attention of mmpretrain's plain transformers."""

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, C) to (B, N, C)."""
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
    """Twin of the attention in windows, by the kernel for the case.

    Attributes:
        kernel: As of :func:`attend`. While labels are traced it is ``'explicit'``: the
            weights are at hand then.
        wire: Of tracing, where it is tapped.
    """

    kernel = 'auto'
    wire = None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Windows (B * G, T, C), mask (G, T, T) or None, to (B * G, T, C)."""
        if not self.training:
            return super().forward(x, mask)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        bias = bias.view(x.shape[1], x.shape[1], -1).permute(2, 0, 1).contiguous()
        if mask is not None:
            bias = bias + mask[:, None].to(bias)
        traced = self.wire is not None and self.wire.reader is not None
        out = attend(
            *split(self.qkv(x), self.num_heads),
            bias,
            self.scale,
            self.attn_drop.p,
            'explicit' if traced else self.kernel,
        )
        return self.proj_drop(self.proj(out.transpose(1, 2).flatten(2)))


def split(packed: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, H, N, D) of a projection (B, N, 3 C)."""
    batch, tokens, width = packed.shape
    parts = packed.view(batch, tokens, 3, heads, width // (3 * heads))
    return parts.permute(2, 0, 3, 1, 4).unbind(0)


FAST = {MultiheadAttention: FastMultiheadAttention, WindowMSA: FastWindowMSA}


def adopt_fast(module: nn.Module, kernel: str | None = None) -> bool:
    """Make an attention of mmpretrain its fast twin, in place.

    Args:
        module: Of any class; others are left alone.
        kernel: Of a window attention. Defaults to None: as it is, at first 'auto'.

    Returns:
        bool: Whether it is a twin now.
    """
    if kernel is not None and kernel not in KERNELS:
        raise ValueError(f'kernel={kernel!r}: choose one of {KERNELS}.')
    twin = FAST.get(type(module))
    if twin is not None:
        module.__class__ = twin
    if kernel is not None and isinstance(module, FastWindowMSA):
        module.kernel = kernel
    return isinstance(module, tuple(FAST.values()))


def share_window_masks(model: nn.Module) -> None:
    """Let all shifted windows of a model, in place, use each mask that one has made.

    Args:
        model: With any number of ``ShiftWindowMSA``. Its outputs, its state dict and
            its classes do not change.
    """
    masks = WindowMasks()
    for module in model.modules():
        if isinstance(module, ShiftWindowMSA):
            module.get_attn_mask = masks
