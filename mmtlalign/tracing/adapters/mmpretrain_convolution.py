"""mmpretrain's ConvMixer and ConvNeXt, whose depth-wise convolutions mix the tokens.

Labels follow them by :mod:`mmtlalign.tracing.learnt_weights`. All other convolutions of
these networks act on single tokens, or merge tokens without overlap.
"""

from mmpretrain.models.backbones import ConvMixer, ConvNeXt
from mmpretrain.models.backbones.convmixer import Residual
from mmpretrain.models.backbones.convnext import ConvNeXtBlock
from torch import Tensor, nn

from mmtlalign.tracing.adapters.learnt_layers import read_depthwise
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    check_last_output,
    convolved,
    register_attention,
    register_backbone,
)


def _output(backbone: nn.Module) -> str:
    check_last_output(backbone.out_indices, len(backbone.stages) - 1)
    return 'mean'


register_backbone(
    ConvMixer,
    BackboneSpec(
        patch=lambda backbone: backbone.stem[0].stride,
        prefix=lambda backbone: 0,
        output=_output,
        grid=lambda backbone, size: convolved(size, backbone.stem[0]),
        has_learnt_weights=lambda backbone: True,
        note='mean of the tokens, with `learnt_weights`',
    ),
)
register_backbone(
    ConvNeXt,
    BackboneSpec(
        patch=lambda backbone: backbone.downsample_layers[0][0].stride,
        prefix=lambda backbone: 0,
        output=_output,
        grid=lambda backbone, size: convolved(size, backbone.downsample_layers[0][0]),
        has_learnt_weights=lambda backbone: True,
        note='mean of the tokens, with `learnt_weights`',
    ),
)


@register_attention(Residual)
def _attach_residual(block: nn.Module, context: TraceContext) -> None:
    read_depthwise(context, block.fn[0])


def _merge(reader: Reader, layer: nn.Conv2d, x: Tensor) -> None:
    """Merge 2x2 tokens if the map is smaller than before, at a new stage."""
    if tuple(x.shape[-2:]) != tuple(reader.grid):
        reader.merge_tokens((2, 2), (2, 2))


@register_attention(ConvNeXtBlock)
def _attach_block(block: nn.Module, context: TraceContext) -> None:
    context.before(block.depthwise_conv, _merge)
    read_depthwise(context, block.depthwise_conv)
