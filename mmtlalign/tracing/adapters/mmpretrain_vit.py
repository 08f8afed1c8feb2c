"""mmpretrain's plain transformers: VisionTransformer, distilled DeiT, BEiT, EVA-02.

The attention of the first two is called through an attribute and stays fused. BEiT adds
a bias to the logits and EVA-02 rotates queries and keys; both are contained in the
softmax of their forward, which moves the labels.
"""

import dataclasses

from mmpretrain.models.backbones import (
    BEiTViT,
    DistilledVisionTransformer,
    VisionTransformer,
    ViTEVA02,
)
from mmpretrain.models.backbones.vit_eva02 import AttentionWithRoPE
from mmpretrain.models.utils import BEiTAttention
from mmpretrain.models.utils.attention import (
    MultiheadAttention,
)
from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.tracing.adapters.mmcv_patches import patch_grid, patch_stride
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    check_last_output,
    register_attention,
    register_backbone,
)


def read_output(backbone: nn.Module, layers: int) -> str:
    """Return ``'class'`` or ``'mean'`` by the ``out_type`` of a plain transformer.

    Raises:
        InputError: The last layer is not an output, or no share can be read from it.
    """
    check_last_output(backbone.out_indices, layers - 1)
    kinds = {'cls_token': 'class', 'avg_featmap': 'mean', 'featmap': 'mean'}
    if backbone.out_type not in kinds:
        raise InputError(
            f'out_type={backbone.out_type!r}: no share can be read from it; choose '
            f'one of {sorted(kinds)}.'
        )
    return kinds[backbone.out_type]


VIT = BackboneSpec(
    patch=patch_stride,
    prefix=lambda backbone: backbone.num_extra_tokens,
    output=lambda backbone: read_output(backbone, backbone.num_layers),
    grid=patch_grid,
)
register_backbone(VisionTransformer, VIT)
register_backbone(BEiTViT, VIT)
register_backbone(ViTEVA02, VIT)
register_backbone(
    DistilledVisionTransformer,
    dataclasses.replace(VIT, note='class and distillation token, each its own'),
)


@register_attention(MultiheadAttention)
def attach_plain(module: nn.Module, context: TraceContext) -> None:
    """Attach to an attention of mmpretrain that calls fused attention directly."""
    function = module.scaled_dot_product_attention
    if getattr(function, 'func', None) is not None:
        # mmpretrain ignores the value and divides by the default scale instead
        # of multiplying: even passing the default changes the output.
        raise UnsupportedError(
            'MultiheadAttention(qk_scale=...) of mmpretrain ignores the value and '
            'inverts the scale; remove qk_scale (None) to train and trace it.'
        )
    context.replace_attention(module)


def _check_size(
    reader: Reader, module: nn.Module, x: Tensor, rel_pos_bias: Tensor | None = None
) -> None:
    """Raise an error with a clear message if the image has another size than fixed."""
    tokens = known = x.shape[1]
    if module.window_size is not None:
        known = module.window_size[0] * module.window_size[1] + 1
    elif rel_pos_bias is not None:
        known = rel_pos_bias.shape[-1]
    if tokens != known:
        raise InputError(
            f'The image has {tokens} tokens, but the relative position bias is for '
            f"{known}, class token included: give images of the backbone's img_size, "
            'or set img_size to theirs.'
        )


@register_attention(BEiTAttention)
def _attach_beit(module: nn.Module, context: TraceContext) -> None:
    context.before(module, _check_size)
    context.capture(module)


@register_attention(AttentionWithRoPE)
def _attach_eva(module: nn.Module, context: TraceContext) -> None:
    context.capture(module)
