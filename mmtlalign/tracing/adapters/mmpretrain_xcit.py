"""mmpretrain's XCiT (NeurIPS 2021).

Its trunk attends over channels (XCA): every token is mapped by itself, with the same
matrix for all, so labels do not move. The 3x3 depth-wise convolutions (LPI) do not move
labels either, as the MLP does not. Labels are moved by the class-attention layers after
the trunk, where the class token joins and is the only token that changes.
"""

from mmpretrain.models.backbones import XCiT
from mmpretrain.models.backbones.xcit import XCA, ClassAttentionBlock, ClassAttntion
from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    check_last_output,
    register_attention,
    register_backbone,
    register_token_module,
)


def _output(backbone: nn.Module) -> str:
    check_last_output(backbone.out_indices, backbone.num_layers - 1)
    if backbone.out_type != 'cls_token':
        raise InputError(
            f'out_type={backbone.out_type!r}: no attention of XCiT moves a patch '
            "token, so there is nothing to trace to their mean; choose 'cls_token', "
            'or a stock head (plain CutMix).'
        )
    return 'class'


register_backbone(
    XCiT,
    BackboneSpec(
        patch=lambda backbone: (backbone.patch_embed.patch_size,) * 2,
        prefix=lambda backbone: 0,
        late_tokens=lambda backbone: 1,
        output=_output,
        note='class token of the class-attention layers',
    ),
)


def _add_class_token(reader: Reader, module: nn.Module, x: Tensor) -> None:
    if not reader.prefix:
        reader.add_special_tokens()


@register_attention(ClassAttentionBlock)
def _attach(module: nn.Module, context: TraceContext) -> None:
    if type(module.attn) is not ClassAttntion:
        raise UnsupportedError(
            f'ClassAttentionBlock with a {type(module.attn).__name__} inside cannot be '
            "traced, only with mmpretrain's ClassAttntion. See docs/add_a_backbone.md."
        )
    context.before(module.attn, _add_class_token)
    context.capture(module.attn)


@register_token_module(XCA)
def _ignore(module: nn.Module, context: TraceContext) -> None:
    """Attach nothing: attention over channels moves no token."""
