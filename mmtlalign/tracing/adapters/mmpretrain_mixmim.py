"""mmpretrain's MixMIM transformer, whose blocks cut windows without shift."""

from mmpretrain.models.backbones import MixMIMTransformer
from mmpretrain.models.backbones.mixmim import MixMIMBlock
from torch import Tensor, nn

from mmtlalign.tracing.adapters.mmcv_patches import patch_grid, patch_stride
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
)

register_backbone(
    MixMIMTransformer,
    BackboneSpec(
        patch=patch_stride,
        prefix=lambda backbone: 0,
        output=lambda backbone: 'mean',
        grid=patch_grid,
        note='mean of the tokens',
    ),
)


def _enter_windows(
    reader: Reader, module: nn.Module, x: Tensor, attn_mask: Tensor | None = None
) -> None:
    reader.enter_windows(module.input_resolution, (module.window_size,) * 2)


@register_attention(MixMIMBlock)
def _attach(module: nn.Module, context: TraceContext) -> None:
    context.in_windows(module, _enter_windows)
    context.capture(module.attn)
