"""Networks that mix tokens by learnt weights: Mixer, gMixer, ResMLP, convolutions.

The oracle knows nothing of the rule. With its gates frozen a token MLP is linear: its
Jacobian, channel by channel, is what moves the tokens.
"""

import oracles
import torch
from mmpretrain.models.backbones import ConvNeXt
from mmpretrain.models.backbones.convmixer import Residual
from mmpretrain.models.backbones.mlp_mixer import MixerBlock
from timm.layers import GluMlp
from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock
from timm.models.mlp_mixer import MixerBlock as TIMMMixerBlock
from torch import nn

from .row import Row


class Mixer(MlpMixer):
    """timm's, whose sizes its own names fix, as a backbone."""

    def forward(self, x):
        return (super().forward(x),)


def timm(**options):
    usual = dict(img_size=32, patch_size=8, num_blocks=3, embed_dim=16, num_classes=0)
    return dict(type=Mixer, **{**usual, **options})


def blocks(backbone):
    if isinstance(backbone, Mixer):
        return list(backbone.blocks)
    if hasattr(backbone, 'layers'):
        return list(backbone.layers)
    if isinstance(backbone, ConvNeXt):
        return [block for stage in backbone.stages for block in stage]
    return list(backbone.stages)


MIXER = dict(
    type='MlpMixer',
    arch=dict(embed_dims=16, num_layers=3, tokens_mlp_dims=24, channels_mlp_dims=32),
    img_size=32,
    patch_size=8,
)
GATED = dict(mlp_layer=GluMlp, act_layer=nn.SiLU, mlp_ratio=(2.0, 2.0))
LINEAR = dict(block_layer=ResBlock, norm_layer=Affine, mlp_ratio=2)
NEXT = dict(type='ConvNeXt', arch=dict(depths=[1, 2, 1, 1], channels=[4, 6, 8, 8]))
PLAIN = dict(
    type='ConvMixer', arch=dict(embed_dims=8, depth=3, patch_size=4, kernel_size=5)
)

_EXACT = dict(output='mean', blocks=blocks, learnt_weights='exact')
ROWS = {
    'MLP-Mixer': Row(MIXER, (32, 32), 8, **_EXACT),
    'timm Mixer': Row(timm(), (32, 32), 8, **_EXACT),
    'timm gMixer': Row(timm(**GATED), (32, 32), 8, **_EXACT),
    'timm ResMLP': Row(timm(**LINEAR), (32, 32), 8, **_EXACT),
    'ConvMixer': Row(PLAIN, (29, 34), 4, cut=True, **_EXACT),
    'ConvNeXt': Row(NEXT, (68, 49), 4, cut=True, **_EXACT),
}


def jacobian_matrix(layers, tokens):
    """(B, N', N): what each token takes from each, by its share, mean over channels.

    Args:
        layers: Linear in the tokens of a channel; maps (B, C, N) to (B, C, N').
        tokens: (B, C, N), float64.
    """
    jacobian = torch.autograd.functional.jacobian
    matrix = jacobian(lambda t: layers(t).sum((0, 1)), tokens).abs()  # (N', B, C, N)
    return (matrix / matrix.sum(-1, keepdim=True)).mean(2).transpose(0, 1)


def bare(layer):
    """A linear layer in float64 without its bias."""
    return lambda x: x @ layer.weight.detach().double().T


def matrix_of(first, activation, last, gated, tokens):
    """The Jacobian of a token MLP with its gates frozen."""
    tokens = tokens.detach().double()
    if last is None:
        return jacobian_matrix(bare(first), tokens)
    bias = first.bias.detach().double()
    hidden = bare(first)(tokens) + bias
    if gated:
        gate, slope = activation(hidden.chunk(2, -1)[1]), lambda x: x.chunk(2, -1)[0]
        whole = bare(last)(gate * slope(hidden))
    else:
        gate, slope = activation(hidden) / hidden, lambda x: x
        whole = bare(last)(activation(hidden))
    gate = gate.detach()

    def layers(t):
        return bare(last)(gate * slope(bare(first)(t)))

    # The frozen form is the layer itself, but for what no token gave.
    constant = bare(last)(gate * slope(bias.expand_as(hidden)))
    torch.testing.assert_close(layers(tokens) + constant, whole, rtol=1e-9, atol=1e-9)
    return jacobian_matrix(layers, tokens)


def hook_tokens(parts):
    """Hook a block whose layers over the tokens ``parts`` finds."""

    def hook(block, events):
        first, *rest = parts(block)

        def before(_, args):
            with torch.enable_grad():
                events.append(('attention', matrix_of(first, *rest, args[0])))

        return [first.register_forward_pre_hook(before)]

    return hook


def host_parts(block):
    (first, activation, _), last = block.token_mix.layers[0], block.token_mix.layers[1]
    return first, activation, last, False


def timm_parts(block):
    mlp = block.mlp_tokens
    return mlp.fc1, mlp.act, mlp.fc2, isinstance(mlp, GluMlp)


def linear_parts(block):
    return block.linear_tokens, None, None, False


def impulses(layer, grid):
    """(1, N, N): what a depth-wise convolution without bias makes of unit impulses."""
    eye = torch.eye(grid[0] * grid[1], dtype=torch.float64).unflatten(1, grid)
    eye = eye[:, None].expand(-1, layer.in_channels, -1, -1)
    out = layer._conv_forward(eye, layer.weight.detach().double(), None)
    matrix = out.flatten(2).abs().permute(1, 2, 0)  # (C, N', N)
    return (matrix / matrix.sum(-1, keepdim=True)).mean(0, keepdim=True)


def hook_kernel(layer, events):
    def before(_, args):
        events.append(('attention', impulses(layer, tuple(args[0].shape[-2:]))))

    return layer.register_forward_pre_hook(before)


def hook_next(backbone, events):
    """Kernels of all blocks, and 2x2 tokens merged between stages."""

    def merge(_, args):
        grid = tuple(args[0].shape[-2:])
        size = [side // 2 for side in grid]
        matrix = oracles.pool_matrix(grid, (2, 2), (2, 2), (0, 0), size)
        events.append(('merge', matrix))

    between = [layer[1] for layer in backbone.downsample_layers[1:]]
    kernels = [block.depthwise_conv for stage in backbone.stages for block in stage]
    return [layer.register_forward_pre_hook(merge) for layer in between] + [
        hook_kernel(layer, events) for layer in kernels
    ]


HOOKS = {
    MixerBlock: hook_tokens(host_parts),
    TIMMMixerBlock: hook_tokens(timm_parts),
    ResBlock: hook_tokens(linear_parts),
    Residual: lambda block, events: [hook_kernel(block.fn[0], events)],
    ConvNeXt: hook_next,
}
