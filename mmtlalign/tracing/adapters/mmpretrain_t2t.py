"""mmpretrain's T2T-ViT (ICCV 2021).

Overlapping windows become tokens three times: 7x7 pixels with stride 4, then twice 3x3
tokens with stride 2, each after an attention. A token starts with the share of its
4x4 pixels (the stride, without overlap); a merged token gets the mean of its tokens.
The class token joins after these steps.

The attentions in between have no residual but a shortcut from their values, which are
the tokens' own, so labels move as with a residual. The scale of the logits is
``qk_scale`` in mmpretrain, which its ``MultiheadAttention`` replaces by ``1 / sqrt(D)``
and then divides by: the logits of its T2T-ViT are queries times keys times ``sqrt(D)``,
for D channels of a head. Tracing does not change the network, so shares move with this
scale, too.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from mmpretrain.models.backbones import T2T_ViT
from mmpretrain.models.backbones.t2t_vit import T2TModule, T2TTransformerLayer
from mmpretrain.models.utils.attention import (
    scaled_dot_product_attention,
    scaled_dot_product_attention_pyimpl,
)
from torch import Tensor, nn

from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.adapters.mmpretrain_vit import attach_plain, read_output
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
    register_token_module,
)


def _grid(backbone: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    return T2TModule._get_unfold_size(backbone.tokens_to_token.soft_split0, size)


register_backbone(
    T2T_ViT,
    BackboneSpec(
        patch=lambda backbone: backbone.tokens_to_token.soft_split0.stride,
        grid=_grid,
        prefix=lambda backbone: 0,
        late_tokens=lambda backbone: backbone.num_extra_tokens,
        output=lambda backbone: read_output(backbone, len(backbone.encoder)),
    ),
)


def _merge(reader: Reader, module: nn.Unfold, x: Tensor) -> None:
    """Merge overlapping windows of tokens."""
    high, wide = module.padding
    reader.merge_tokens(module.kernel_size, module.stride, (wide, wide, high, high))


def _add_class_token(
    reader: Reader, module: nn.Module, output: object, count: int
) -> None:
    reader.add_special_tokens(count)


@register_token_module(T2TModule)
def _attach_splits(module: nn.Module, context: TraceContext) -> None:
    context.before(module.soft_split1, _merge)
    context.before(module.soft_split2, _merge)
    context.after(module, partial(_add_class_token, count=context.late_tokens))


@register_attention(T2TTransformerLayer)
def _attach(module: nn.Module, context: TraceContext) -> None:
    function: Any = getattr(module.attn, 'scaled_dot_product_attention', None)
    if function is scaled_dot_product_attention:
        attach_plain(module.attn, context)
        return
    if getattr(function, 'func', None) is not scaled_dot_product_attention_pyimpl:
        raise UnsupportedError(
            f"T2TTransformerLayer calls {function}, but only mmpretrain's attention "
            'written in Python, which divides by its scale, can be traced. Install the '
            'version that requirements/ pins.'
        )
    context.replace_attention(module.attn, scale=1 / function.keywords['scale'])
