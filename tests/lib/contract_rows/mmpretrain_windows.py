"""mmpretrain's other transformers with windows: DaViT and MixMIM."""

import oracles
from mmpretrain.models.backbones.davit import DaViTDownSample
from mmpretrain.models.backbones.mixmim import MixMIMBlock

from .row import Row

DAVIT = dict(
    type='DaViT',
    arch=dict(embed_dims=16, depths=[1, 1, 1], num_heads=[1, 2, 4]),
    window_size=3,
    out_indices=(2,),
    pad_small_map=True,
)
DAVIT_ODD = dict(
    DAVIT,
    arch=dict(embed_dims=16, depths=[1, 2], num_heads=[1, 2]),
    out_indices=(1,),
)
MIXMIM = dict(
    type='MixMIMTransformer',
    arch=dict(embed_dims=16, depths=[2, 2], num_heads=[1, 2]),
    img_size=32,
    window_size=[4, 2],
)

ROWS = {
    'DaViT': Row(DAVIT, (48, 48), 4, 'mean'),
    'DaViT, odd maps': Row(DAVIT_ODD, (27, 40), 4, 'mean', same_graph=True),
    'MixMIM': Row(MIXMIM, (32, 32), 4, 'mean'),
    'MixMIM, any size': Row(
        dict(MIXMIM, img_size=(32, 64)), (32, 64), 4, 'mean', same_graph=True
    ),
}


def hook_down_sample(module, events):
    """2x2 tokens; the last row or column of an odd map is left out."""

    def hook(_, args):
        grid = args[1]
        size = [side // 2 for side in grid]
        matrix = oracles.pool_matrix(grid, (2, 2), (2, 2), (0, 0), size)
        events.append(('merge', matrix))

    return [module.register_forward_pre_hook(hook)]


def hook_block(module, events):
    def hook(softmax, args, weights):
        window = (module.window_size,) * 2
        mean = weights.double().mean(1)
        grid = module.input_resolution
        events.append(('attention', oracles.window_matrix(mean, grid, window, (0, 0))))

    return [module.attn.softmax.register_forward_hook(hook)]


HOOKS = {DaViTDownSample: hook_down_sample, MixMIMBlock: hook_block}
