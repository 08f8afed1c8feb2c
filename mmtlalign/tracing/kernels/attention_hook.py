"""A replacement of the attention function that reports its calls to a reader.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens, ``D`` channels of a head, ``S`` share
columns.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.compat.torch_2_1 import is_compiling
from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.kernels.value_channels import attend_with_share, can_carry_share


class AttentionHook:
    """Replacement of ``F.scaled_dot_product_attention`` that reports to a reader.

    The share moves in the cheapest way that the call allows: by the attention weights,
    if the function stores them; as extra channels of the values; else by a separate
    call.

    Args:
        context: :class:`mmtlalign.tracing.attach.TraceContext` of the backbone.
        function: The function that the module called before; it computes the output. It
            may have a method ``stores_weights(query, key, mask)``, which returns
            whether a call stores its weights. It then takes ``on_weights``, a function
            that is called with the weights.
        scale: Factor of the logits if the call does not pass one. Defaults to None:
            ``1 / sqrt(D)``.

    Attributes:
        channels: Number of share columns in the last forward pass.
    """

    def __init__(self, context: Any, function: Callable, scale: float | None = None):
        self.context = context
        self.function = function
        self.scale = scale
        self.channels = 0

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Compute attention; arguments and output as in the replaced function."""
        reader = self.context.active()
        options = dict(dropout_p=dropout_p)
        if scale is not None:
            options.update(scale=scale)
        if is_causal or any(kwargs.values()):
            if reader is None:
                options.update(kwargs, is_causal=is_causal)
                return self.function(query, key, value, attn_mask, **options)
            raise UnsupportedError(
                f'is_causal={is_causal}, {kwargs}: causal and grouped-query attention '
                'cannot be traced; label tracing supports image models only.'
            )
        stores_weights = getattr(self.function, 'stores_weights', None)
        if stores_weights is not None and stores_weights(query, key, attn_mask):
            if reader is not None:
                options.update(on_weights=reader.weigh)
            return self.function(query, key, value, attn_mask, **options)
        plain = self.function is F.scaled_dot_product_attention
        if (plain or stores_weights) and can_carry_share(
            query, key, value, attn_mask, dropout_p
        ):
            share = self._share_of_keys(reader, query, key)
            if share is not None:
                out, moved = attend_with_share(query, key, value, share, scale)
                if reader is not None:
                    reader.move_share(moved)
                return out
        if reader is not None:
            factor = scale or self.scale or 1 / math.sqrt(query.shape[-1])
            reader.attend(query, key, factor, attn_mask)
        return self.function(query, key, value, attn_mask, **options)

    def weigh(self, weights: Tensor) -> Tensor:
        """Report weights (..., H, Nq, Nk) to the reader, and return them."""
        reader = self.context.active()
        if reader is not None:
            reader.weigh(weights)
        return weights

    def _share_of_keys(self, reader: Any, query: Tensor, key: Tensor) -> Tensor | None:
        """Return the share (B, Nk, S) that the call moves with its values, or None.

        A recomputation by gradient checkpointing, in the backward pass, has no reader.
        It moves zeros, with as many columns as the last forward pass, to round as that
        pass did. If it recomputes an earlier pass, only the rounding may differ: a call
        saves the same tensors with and without a share.
        """
        if reader is not None:
            share = reader.key_share(len(query), key.shape[-2])
            self.channels = 0 if share is None else share.shape[-1]
            return share
        if self.channels and not is_recomputing():
            self.channels = 0
        if self.channels:
            shape = (len(query), key.shape[-2], self.channels)
            return query.new_zeros(shape, dtype=torch.float32)
        return None


def is_recomputing() -> bool:
    """Return whether a backward pass calls this, to recompute what it did not keep."""
    return not is_compiling() and torch._C._current_graph_task_id() != -1
