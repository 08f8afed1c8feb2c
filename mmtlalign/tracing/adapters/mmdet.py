"""mmdet's Pyramid Vision Transformers, v1 (ICCV 2021) and v2.

Keys are tokens reduced by a convolution whose kernel equals its stride, so their shares
are the means over the same squares. The depth-wise convolution in v2's feed-forward
network does not move shares, as an MLP does not: its weights are no distribution over
tokens.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.backbones import PyramidVisionTransformer
from mmdet.models.backbones.pvt import SpatialReductionAttention
from mmdet.models.layers import PatchEmbed
from torch import Tensor, nn

from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    check_last_output,
    convolved,
    register_attention,
    register_backbone,
    register_token_module,
)


def _output(backbone: nn.Module) -> str:
    check_last_output(backbone.out_indices, backbone.num_stages - 1)
    return 'mean'


def _first_layer(backbone: nn.Module) -> nn.Conv2d:
    return backbone.layers[0][0].projection


register_backbone(
    PyramidVisionTransformer,
    BackboneSpec(
        patch=lambda backbone: _first_layer(backbone).stride,
        prefix=lambda backbone: 0,
        output=_output,
        # v1 ignores pixels that do not fill a whole patch, v2 pads.
        grid=lambda backbone, size: convolved(size, _first_layer(backbone)),
        note='mean of the tokens',
    ),
)


class TracedMultiheadAttention(nn.MultiheadAttention):
    """PyTorch's attention module, computed by the fused kernel so that it can be read.

    The original forward is a single function without access to its attention, and
    computes weights that the callers here do not use. This class is used only inside
    modules whose calls are known: no masks, (N, B, C) sequences.
    """

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Compute attention of sequences (N, B, C); the returned weights are None."""
        if self.attention_hook.context.reader is None and not torch.is_grad_enabled():
            return super().forward(query, key, value)
        # With gradients also without a reader: gradient checkpointing repeats the
        # forward without one, and must compute the same.
        weights, biases = self.in_proj_weight.chunk(3), (None,) * 3
        if self.in_proj_bias is not None:
            biases = self.in_proj_bias.chunk(3)
        query, key, value = (
            # (N, B, C) to (B, heads, N, C / heads)
            F.linear(x.transpose(0, 1), weight, bias)
            .unflatten(-1, (self.num_heads, -1))
            .transpose(1, 2)
            for x, weight, bias in zip((query, key, value), weights, biases)
        )
        dropout = self.dropout if self.training else 0.0
        out = self.attention_hook(query, key, value, dropout_p=dropout)
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        return out.transpose(0, 1), None


def _reduce_keys(
    reader: Reader, module: nn.Module, x: Tensor, *args: Any, **kwargs: Any
) -> None:
    """Pool the shares of the keys where the module reduces its keys."""
    if module.sr_ratio > 1:
        reader.reduce_keys(functools.partial(F.avg_pool2d, kernel_size=module.sr_ratio))


@register_attention(SpatialReductionAttention)
def _attach_reduced(module: nn.Module, context: TraceContext) -> None:
    if type(module.attn) is not nn.MultiheadAttention:
        raise UnsupportedError(
            f'SpatialReductionAttention with a {type(module.attn).__name__} inside '
            'cannot be traced, only with nn.MultiheadAttention. See '
            'docs/add_a_backbone.md.'
        )
    context.before(module, _reduce_keys)
    context.swap_class(module.attn, TracedMultiheadAttention)


def _embed(reader: Reader, module: nn.Module, x: Tensor) -> None:
    layer = module.projection
    high, wide = layer.padding
    reader.embed(layer.kernel_size, layer.stride, (wide, wide, high, high))


@register_token_module(PatchEmbed)
def _attach_embedding(module: nn.Module, context: TraceContext) -> None:
    if module.adap_padding is not None or module.projection.dilation != (1, 1):
        raise UnsupportedError(
            "A patch embedding of mmdet with dilation or with padding='corner' or "
            "'same' (which pads nothing in mmdet) cannot be traced: give the padding "
            'in pixels, such as paddings=[0, 0, 0, 0].'
        )
    context.before(module, _embed)
