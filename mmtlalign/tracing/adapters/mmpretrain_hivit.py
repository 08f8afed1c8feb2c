"""mmpretrain's HiViT (ICLR 2023).

Before the last stage all operations stay inside a patch, until the patch is one token,
whose share is that of its pixels. All attention comes after this.
"""

from mmpretrain.models.backbones import HiViT
from mmpretrain.models.backbones.hivit import Attention
from torch import nn

from mmtlalign.errors import InputError
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
)


def _output(backbone: nn.Module) -> str:
    cells = backbone.patch_embed.inner_patches
    if 2 ** (backbone.num_stages - 1) != cells:
        raise InputError(
            f'{backbone.num_stages} stages leave more than one of the {cells}x{cells} '
            'cells of a patch, of which HiViT keeps only the first; give '
            f'inner_patches={2 ** (backbone.num_stages - 1)}.'
        )
    return 'mean'


register_backbone(
    HiViT,
    BackboneSpec(
        patch=lambda backbone: tuple(backbone.patch_embed.patch_size),
        prefix=lambda backbone: 0,
        output=_output,
        note='mean of the tokens',
    ),
)


@register_attention(Attention)
def _attach(module: nn.Module, context: TraceContext) -> None:
    context.capture(module)
