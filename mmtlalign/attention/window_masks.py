"""Masks of shifted windows, made once for each size of a map."""

from collections import OrderedDict

import torch
from mmpretrain.models.utils import ShiftWindowMSA
from torch import Tensor

from .kernels import is_compiling

# Sizes of maps, times shifts and devices, whose masks are kept: far more than crops of
# a few sizes need, and a bound where every batch has another size, as in detection.
KEPT = 16


class WindowMasks:
    """Stands at the seam ``get_attn_mask`` of mmpretrain's ``ShiftWindowMSA``.

    The stock module makes the mask anew in every forward, some twenty small kernels.
    Copies of a model, and files of it, start without masks.
    """

    def __init__(self):
        self.known: OrderedDict[tuple, Tensor] = OrderedDict()

    def __call__(self, hw_shape, window_size, shift_size, device=None):
        """The mask (windows, T, T) for a padded map, 0 or -100; None without shift."""
        if not shift_size or is_compiling():
            return ShiftWindowMSA.get_attn_mask(
                hw_shape, window_size, shift_size, device
            )
        key = (*hw_shape, window_size, shift_size, device)
        if key not in self.known:
            # One that is made in inference mode could not be used in training.
            with torch.inference_mode(False), torch.no_grad():
                self.known[key] = ShiftWindowMSA.get_attn_mask(
                    hw_shape, window_size, shift_size, device
                )
            if len(self.known) > KEPT:
                self.known.popitem(last=False)
        self.known.move_to_end(key)
        return self.known[key]

    def __reduce__(self):
        return type(self), ()
