"""timm's ViT family, Swin and PVT v2, in our wrapper and in mmpretrain's."""

import oracles
import torch
from timm.layers import Attention
from timm.models.beit import Attention as BeitAttention
from timm.models.eva import EvaAttention
from timm.models.pvt_v2 import Attention as PVTAttention
from timm.models.pvt_v2 import OverlapPatchEmbed
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock
from timm.models.swin_transformer_v2 import PatchMerging as PatchMergingV2
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from timm.models.vision_transformer import ParallelScalingBlock

from .row import Row


def blocks(backbone):
    model = backbone.timm_model
    if hasattr(model, 'blocks'):
        return list(model.blocks)
    stages = model.layers if hasattr(model, 'layers') else model.stages
    return [block for stage in stages for block in stage.blocks]


def vit(name, **options):
    usual = dict(img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2)
    return dict(type='mmtlalign.TIMMBackbone', model_name=name, **{**usual, **options})


def swin(name, **options):
    usual = dict(
        img_size=32,
        embed_dim=16,
        depths=(2, 2),
        num_heads=(1, 2),
        window_size=4,
        drop_path_rate=0.0,
    )
    return dict(type='mmtlalign.TIMMBackbone', model_name=name, **{**usual, **options})


def pvt(name):
    return dict(
        type='mmtlalign.TIMMBackbone',
        model_name=name,
        depths=(2, 1),
        embed_dims=(16, 32),
        num_heads=(1, 2),
        sr_ratios=(3, 2),
        mlp_ratios=(2, 2),
    )


ANY = dict(dynamic_img_size=True, dynamic_img_pad=True)
VIT, SMALL = 'vit_tiny_patch16_224', (32, 32)
SWIN, SWINV2 = 'swin_tiny_patch4_window7_224', 'swinv2_tiny_window8_256'
ODD = dict(img_size=(36, 28))

ROWS = {
    'timm ViT': Row(vit(VIT), SMALL, 8, 'class', blocks),
    'timm ViT, any size': Row(vit(VIT, **ANY), (36, 52), 8, 'class', blocks),
    'timm ViT, pixels left out': Row(
        vit(VIT, img_size=(36, 52)),
        (36, 52),
        8,
        'class',
        blocks,
        cut=True,
        same_graph=True,
    ),
    'timm ViT, attention dropout': Row(
        vit(VIT, attn_drop_rate=0.3), SMALL, 8, 'class', blocks, same_graph=True
    ),
    'timm ViT, normed queries': Row(
        vit(VIT, qk_norm=True, pre_norm=True),
        SMALL,
        8,
        'class',
        blocks,
        same_graph=True,
    ),
    'timm ViT, mean of tokens': Row(
        vit(VIT, global_pool='avg'), SMALL, 8, 'mean', blocks, same_graph=True
    ),
    'timm ViT, registers': Row(
        vit('vit_small_patch14_reg4_dinov2'), SMALL, 8, 'class', blocks, same_graph=True
    ),
    'timm ViT, registers without class token': Row(
        vit('vit_medium_patch16_reg4_gap_256', **ANY),
        (36, 52),
        8,
        'mean',
        blocks,
        same_graph=True,
    ),
    'timm ViT, parallel blocks': Row(
        vit(VIT, block_fn=ParallelScalingBlock), SMALL, 8, 'class', blocks
    ),
    'timm ViT, maps': Row(vit(VIT, out_indices=(0, -1)), (36, 52), 8, 'mean', blocks),
    'timm ViT in mmpretrain': Row(
        dict(vit(VIT), type='TIMMBackbone'),
        SMALL,
        8,
        'class',
        blocks,
        same_graph=True,
    ),
    'timm DeiT, distilled': Row(
        vit('deit_tiny_distilled_patch16_224'),
        SMALL,
        8,
        'class',
        blocks,
        same_graph=True,
    ),
    'timm DeiT-III': Row(
        vit('deit3_small_patch16_224', **ANY),
        (36, 52),
        8,
        'class',
        blocks,
        same_graph=True,
    ),
    'timm EVA-02': Row(vit('eva02_tiny_patch14_224'), SMALL, 8, 'mean', blocks),
    'timm BEiT': Row(vit('beit_base_patch16_224'), SMALL, 8, 'mean', blocks),
    'timm Swin': Row(swin(SWIN), SMALL, 4, 'mean', blocks),
    'timm Swin, padded windows': Row(swin(SWIN, **ODD), (36, 28), 4, 'mean', blocks),
    'timm Swin, maps': Row(swin(SWIN, out_indices=(0, 1)), (33, 27), 4, 'mean', blocks),
    'timm Swin in mmpretrain': Row(
        dict(swin(SWIN), type='TIMMBackbone'),
        SMALL,
        4,
        'mean',
        blocks,
        same_graph=True,
    ),
    'timm Swin v2': Row(swin(SWINV2), SMALL, 4, 'mean', blocks, same_graph=True),
    'timm Swin v2, maps': Row(
        swin(SWINV2, out_indices=(0, 1)), (33, 27), 4, 'mean', blocks
    ),
    'timm PVT v2': Row(pvt('pvt_v2_b0'), (30, 25), 4, 'mean', blocks),
    'timm PVT v2, linear': Row(pvt('pvt_v2_b2_li'), (30, 25), 4, 'mean', blocks),
    'timm PVT v2 in mmpretrain': Row(
        dict(pvt('pvt_v2_b0'), type='TIMMBackbone'),
        (32, 32),
        4,
        'mean',
        blocks,
        same_graph=True,
    ),
}


def softmax_of(query, key, bias=0):
    """Weights (B, N, N), averaged over heads, of (B, H, N, D)."""
    query, key = query.double(), key.double()
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + bias
    return logits.softmax(-1).mean(1)


def hook_plain(module, events):
    """Queries and keys pass norms, which are identities where there are none."""
    seen = {}

    def queries(_, args, query):
        seen['query'] = query

    def keys(_, args, key):
        query = seen['query']
        if isinstance(module, ParallelScalingBlock):
            query, key = query.transpose(1, 2), key.transpose(1, 2)
        events.append(('attention', softmax_of(query, key)))

    return [
        module.q_norm.register_forward_hook(queries),
        module.k_norm.register_forward_hook(keys),
    ]


def hook_turned(module, events):
    """Patches are turned by an angle of their place, pair by pair of channels."""
    seen = {}

    def before(_, args, kwargs):
        seen['sin'], seen['cos'] = kwargs['rope'].double().chunk(2, -1)

    def queries(_, args, query):
        seen['query'] = turn(query)

    def keys(_, args, key):
        events.append(('attention', softmax_of(seen['query'], turn(key))))

    def turn(tokens):
        tokens = tokens.double().clone()
        patches = tokens[:, :, module.num_prefix_tokens :]
        even, odd = patches[..., ::2].clone(), patches[..., 1::2].clone()
        sin, cos = seen['sin'][:, ::2], seen['cos'][:, ::2]
        patches[..., ::2] = even * cos - odd * sin
        patches[..., 1::2] = odd * cos + even * sin
        return tokens

    return [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.q_norm.register_forward_hook(queries),
        module.k_norm.register_forward_hook(keys),
    ]


def hook_biased(module, events):
    """BEiT: a bias for every pair of tokens, looked up by their distance."""

    def before(_, args):
        x = args[0]
        qkv = x @ module.qkv.weight.T
        qkv = qkv + torch.cat([module.q_bias, module.k_bias, module.v_bias])
        query, key, _ = qkv.unflatten(-1, (3, module.num_heads, -1)).unbind(2)
        tokens = x.shape[1]
        table = module.relative_position_bias_table.double().T
        bias = table[:, module.relative_position_index.flatten()]
        bias = bias.reshape(-1, tokens, tokens)
        events.append(
            ('attention', softmax_of(query.transpose(1, 2), key.transpose(1, 2), bias))
        )

    return [module.register_forward_pre_hook(before)]


def hook_windows(module, events):
    """Scatter of what the softmax of the windows gives."""
    seen = {}

    def before(_, args):
        seen['grid'] = tuple(args[0].shape[1:3])

    def weights(_, args, softmax):
        matrix = oracles.window_matrix(
            softmax.double().mean(1),
            seen['grid'],
            module.window_size,
            module.shift_size,
            pad_first=False,
        )
        events.append(('attention', matrix))

    return [
        module.register_forward_pre_hook(before),
        module.attn.softmax.register_forward_hook(weights),
    ]


def hook_merging(module, events):
    def before(_, args):
        grid = tuple(args[0].shape[1:3])
        size = [-(-side // 2) for side in grid]
        matrix = oracles.pool_matrix(grid, (2, 2), (2, 2), (0, 0), size)
        events.append(('merge', matrix))

    return [module.register_forward_pre_hook(before)]


def hook_reduced(module, events):
    """Keys stand for squares of tokens, or (linear) for a map of 7 x 7."""
    seen = {}

    def before(_, args):
        seen['grid'] = tuple(args[1])

    def queries(_, args, query):
        seen['query'] = query

    def keys(_, args, out):
        query, key = seen['query'], out[..., : out.shape[-1] // 2]
        query, key = (
            t.unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
            for t in (query, key)
        )
        weights, grid = softmax_of(query, key), seen['grid']
        if module.pool is not None:
            weights = weights @ adaptive_matrix(grid, 7)
        elif module.sr is not None:
            side = module.sr.stride[0]
            size = [length // side for length in grid]
            pool = oracles.pool_matrix(grid, (side,) * 2, (side,) * 2, (0, 0), size)
            weights = weights @ pool
        events.append(('attention', weights))

    return [
        module.register_forward_pre_hook(before),
        module.q.register_forward_hook(queries),
        module.kv.register_forward_hook(keys),
    ]


def adaptive_matrix(grid, size):
    """(size * size, h * w): the mean of the tokens that each cell touches."""
    matrix = torch.zeros(size * size, grid[0] * grid[1], dtype=torch.float64)
    for cell in range(size * size):
        y, x = divmod(cell, size)
        for row in range(y * grid[0] // size, -(-(y + 1) * grid[0] // size)):
            for column in range(x * grid[1] // size, -(-(x + 1) * grid[1] // size)):
                matrix[cell, row * grid[1] + column] = 1
    return matrix / matrix.sum(-1, keepdim=True)


def hook_embed(module, events):
    """3 x 3 tokens to one, in steps of two, a row and a column of padding."""

    def before(_, args):
        grid = tuple(args[0].shape[2:])
        size = [-(-side // 2) for side in grid]
        matrix = oracles.pool_matrix(grid, (3, 3), (2, 2), (1, 1), size)
        events.append(('merge', matrix))

    if module.proj.in_channels == 3:  # pixels to tokens
        return []
    return [module.register_forward_pre_hook(before)]


HOOKS = {
    Attention: hook_plain,
    ParallelScalingBlock: hook_plain,
    EvaAttention: hook_turned,
    BeitAttention: hook_biased,
    SwinTransformerBlock: hook_windows,
    SwinTransformerV2Block: hook_windows,
    PatchMerging: hook_merging,
    PatchMergingV2: hook_merging,
    PVTAttention: hook_reduced,
    OverlapPatchEmbed: hook_embed,
}
