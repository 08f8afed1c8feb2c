"""mmpretrain's MixMIM transformer: windows without shift, cut by the block."""

from mmpretrain.models.backbones import MixMIMTransformer
from mmpretrain.models.backbones.mixmim import MixMIMBlock

from mmtlalign.tracing.attach import Listening, TraceContext, adopt
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
)

register_backbone(
    MixMIMTransformer,
    BackboneSpec(
        patch=lambda backbone: backbone.patch_embed.projection.stride,
        prefix=lambda backbone: 0,
        output=lambda backbone: 'mean',
        note='mean of the tokens',
    ),
)


class TracedMixMIMBlock(Listening, MixMIMBlock):
    """Cuts the shares into the windows of the block."""

    def before(self, reader, x, attn_mask=None):
        reader.enter_windows(self.input_resolution, (self.window_size,) * 2)

    def after(self, reader):
        reader.leave_windows()


@register_attention(MixMIMBlock)
def _tap(module: MixMIMBlock, context: TraceContext) -> None:
    adopt(TracedMixMIMBlock, module, context)
