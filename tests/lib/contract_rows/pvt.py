"""This package's PVT."""

import oracles

from mmtlalign.backbones.pvt import PVT
from mmtlalign.backbones.pvt_layers import Positions, SpatialReductionAttention

from .row import Row


def blocks(backbone):
    return [layer for stage in backbone.stages for layer in stage.layers]


TINY = dict(
    type='mmtlalign.PVT',
    img_size=32,
    arch=dict(
        embed_dims=(16, 32, 32),
        num_layers=(1, 1, 2),
        num_heads=(1, 2, 4),
        mlp_ratios=(2, 2, 2),
        sr_ratios=(4, 2, 1),
        patch_sizes=(4, 2, 2),
    ),
)
FEATMAP = dict(TINY, out_type='featmap')
ROWS = {
    'PVT': Row(TINY, (32, 32), 4, 'class', blocks),
    'PVT, any size': Row(TINY, (39, 54), 4, 'class', blocks, cut=True),
    'PVT, attention dropout': Row(
        dict(TINY, attn_drop_rate=0.3), (32, 32), 4, 'class', blocks, same_graph=True
    ),
    'PVT, mean of tokens': Row(FEATMAP, (32, 32), 4, 'mean', blocks),
    'PVT, no class token': Row(
        dict(FEATMAP, with_cls_token=False), (39, 54), 4, 'mean', blocks, cut=True
    ),
}


def hook_attention(module, events):
    seen = {}

    def before(_, args):
        seen['grid'] = args[1]

    def queries(linear, args, out):
        seen['query'] = heads(out)

    def keys(linear, args, out):
        key = heads(out[..., : out.shape[-1] // 2])
        logits = seen['query'] @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
        weights = logits.softmax(-1).mean(1)
        side = module.sr_ratio
        if side > 1:
            size, square = [s // side for s in seen['grid']], (side, side)
            weights = weights @ oracles.pool_matrix(
                seen['grid'], square, square, (0, 0), size
            )
        events.append(('attention', weights))

    def heads(flat):
        split = flat.double().reshape(*flat.shape[:2], module.num_heads, -1)
        return split.transpose(1, 2)

    return [
        module.register_forward_pre_hook(before),
        module.q.register_forward_hook(queries),
        module.kv.register_forward_hook(keys),
    ]


def hook_embeddings(backbone, events):
    """Every patch embedding but the first merges tokens."""

    def hook(embedding, args, out):
        side = embedding.projection.kernel_size
        grid = args[0].shape[-2:]
        matrix = oracles.pool_matrix(grid, side, side, (0, 0), out[1])
        events.append(('merge', matrix))

    later = [stage.patch_embed for stage in backbone.stages][1:]
    return [embedding.register_forward_hook(hook) for embedding in later]


def hook_positions(positions, events):
    def hook(module, args):
        if hasattr(module, 'cls_token'):
            events.append(('merge', oracles.join_matrix(args[0].shape[1])))

    return [positions.register_forward_pre_hook(hook)]


HOOKS = {
    PVT: hook_embeddings,
    Positions: hook_positions,
    SpatialReductionAttention: hook_attention,
}
