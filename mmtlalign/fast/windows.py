"""Caches for masks and token orders of shifted windows, by size of the map.

Shapes: ``B`` batch, ``N`` tokens, ``C`` channels, ``T`` tokens of a window, ``h, w``
rows and columns of a map.
"""

from collections import OrderedDict
from typing import Any

import torch
from mmpretrain.models.utils import ShiftWindowMSA
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmtlalign.compat.torch_2_1 import is_compiling

# Number of cached entries (size, shift, device): far more than crops of a few sizes
# need, and a limit where every batch has another size, as in detection.
KEPT = 16

HW = tuple[int, int]


class SizeCache:
    """A cache by size of the map; it is empty in copies and pickles of a model."""

    def __init__(self) -> None:
        self.known: OrderedDict[tuple, object] = OrderedDict()

    def make(
        self,
        hw_shape: HW,
        window_size: int,
        shift_size: int,
        device: torch.device | None,
    ) -> Any:
        """Compute the entry for a map of ``hw_shape`` (h, w)."""
        raise NotImplementedError

    def __call__(
        self,
        hw_shape: HW,
        window_size: int,
        shift_size: int,
        device: torch.device | None = None,
    ) -> Any:
        """Return the entry for a map of ``hw_shape`` (h, w), computed once."""
        if is_compiling():
            return self.make(hw_shape, window_size, shift_size, device)
        key = (*hw_shape, window_size, shift_size, device)
        if key not in self.known:
            # Tensors made in inference mode could not be used in training.
            with torch.inference_mode(False), torch.no_grad():
                self.known[key] = self.make(hw_shape, window_size, shift_size, device)
            if len(self.known) > KEPT:
                self.known.popitem(last=False)
        self.known.move_to_end(key)
        return self.known[key]

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), ()


class WindowMasks(SizeCache):
    """Masks (windows, T, T), 0 or -100, of a padded map; None without shift.

    It replaces ``get_attn_mask`` of mmpretrain's ``ShiftWindowMSA``, which makes the
    mask anew in every forward, with some twenty small kernels.
    """

    def make(
        self,
        hw_shape: HW,
        window_size: int,
        shift_size: int,
        device: torch.device | None,
    ) -> Tensor | None:
        """Make the mask as the stock module does."""
        return ShiftWindowMSA.get_attn_mask(hw_shape, window_size, shift_size, device)


class WindowOrder(SizeCache):
    """Order of tokens in a map that is shifted and cut into windows, and the inverse.

    For a map whose sides are multiples of the window: two index tensors (h * w,).
    """

    def make(
        self,
        hw_shape: HW,
        window_size: int,
        shift_size: int,
        device: torch.device | None,
    ) -> tuple[Tensor, Tensor]:
        """Make the order and its inverse."""
        height, width = hw_shape
        places = torch.arange(height * width, device=device).view(hw_shape)
        places = places.roll((-shift_size, -shift_size), dims=(0, 1))
        places = places.view(
            height // window_size, window_size, width // window_size, window_size
        )
        order = places.transpose(1, 2).flatten()
        return order, order.argsort()


class _Reorder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(order, back)
        return tokens.index_select(1, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.index_select(1, ctx.saved_tensors[1]), None, None


def reorder(tokens: Tensor, order: Tensor, back: Tensor) -> Tensor:
    """Put tokens (B, N, C) into another order, with one copy each way.

    Args:
        tokens: (B, N, C).
        order: Index of the token for each place (N,).
        back: The inverse (N,).
    """
    return _Reorder.apply(tokens, order, back)
