"""mmpretrain's MLP-Mixer, whose learnt weights mix the tokens.

Labels follow them by :mod:`mmtlalign.tracing.learnt_weights`.
"""

from mmpretrain.models.backbones import MlpMixer
from mmpretrain.models.backbones.mlp_mixer import MixerBlock
from torch import nn

from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.adapters.learnt_layers import read_token_mlp
from mmtlalign.tracing.adapters.mmcv_patches import patch_grid, patch_stride
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.support import (
    BackboneSpec,
    check_last_output,
    register_attention,
    register_backbone,
)


def _output(backbone: nn.Module) -> str:
    check_last_output(backbone.out_indices, backbone.num_layers - 1)
    return 'mean'


register_backbone(
    MlpMixer,
    BackboneSpec(
        patch=patch_stride,
        prefix=lambda backbone: 0,
        output=_output,
        grid=patch_grid,
        has_learnt_weights=lambda backbone: True,
        note='mean of the tokens, with `learnt_weights`',
    ),
)


@register_attention(MixerBlock)
def _attach(block: nn.Module, context: TraceContext) -> None:
    layers = block.token_mix.layers
    if len(layers) != 3:  # first layer with activation, second layer, dropout
        raise UnsupportedError(
            f'MixerBlock with {len(layers) - 1} layers over its tokens cannot be '
            'traced: set num_fcs=2.'
        )
    first, activation = layers[0][:2]
    read_token_mlp(context, first, activation, layers[1])
