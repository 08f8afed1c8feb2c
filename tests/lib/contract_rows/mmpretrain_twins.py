"""mmpretrain's Twins."""

import oracles
import torch
from mmpretrain.models.backbones import PCPVT, SVT
from mmpretrain.models.backbones.twins import (
    GlobalSubsampledAttention,
    LocallyGroupedSelfAttention,
)

from .row import Row


def blocks(backbone):
    return [block for stage in backbone.stages for block in stage]


ARCH = dict(
    embed_dims=[16, 32],
    depths=[2, 2],
    num_heads=[1, 2],
    patch_sizes=[4, 2],
    strides=[4, 2],
    mlp_ratios=[2, 2],
    sr_ratios=[2, 1],
)
SR = dict(ARCH, sr_ratios=[4, 2])
TWINS = dict(type='PCPVT', arch=ARCH, out_indices=(1,))
SVT_4 = dict(TWINS, type='SVT', arch=dict(ARCH, window_sizes=[4, 4]))
SVT_3 = dict(TWINS, type='SVT', arch=dict(SR, window_sizes=[3, 2]))

ROWS = {
    'PCPVT': Row(TWINS, (32, 32), 4, 'mean', blocks),
    'PCPVT, keys that do not divide': Row(
        dict(TWINS, arch=SR), (36, 51), 4, 'mean', blocks
    ),
    'PCPVT, attention dropout': Row(
        dict(TWINS, attn_drop_rate=0.3), (32, 32), 4, 'mean', blocks, same_graph=True
    ),
    'SVT': Row(SVT_4, (32, 32), 4, 'mean', blocks),
    'SVT, padded windows': Row(SVT_3, (36, 51), 4, 'mean', blocks),
    'SVT, padded on one side': Row(SVT_3, (36, 40), 4, 'mean', blocks, same_graph=True),
}


def hook_global(module, events):
    """Keys from a convolution without overlap: each stands for a square."""
    seen = {}

    def before(_, args):
        seen['grid'] = args[1]

    def queries(linear, args, out):
        seen['query'] = heads(out)

    def keys(linear, args, out):
        key = heads(out[..., : out.shape[-1] // 2])
        logits = seen['query'] @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
        weights = logits.softmax(-1).mean(1)
        side = int(module.sr_ratio)
        if side > 1:
            size = [s // side for s in seen['grid']]
            pool = oracles.pool_matrix(
                seen['grid'], (side, side), (side, side), (0, 0), size
            )
            weights = weights @ pool
        events.append(('attention', weights))

    def heads(flat):
        split = flat.double().reshape(*flat.shape[:2], module.num_heads, -1)
        return split.transpose(1, 2)

    return [
        module.register_forward_pre_hook(before),
        module.q.register_forward_hook(queries),
        module.kv.register_forward_hook(keys),
    ]


def hook_local(module, events):
    """Windows without shift; the mask is the stock one, for good and bad."""
    seen = {}

    def before(_, args):
        seen['grid'] = args[1]

    def weights(linear, args, qkv):
        side = module.window_size
        height, width = seen['grid']
        below, right = -height % side, -width % side
        rows, columns = (height + below) // side, (width + right) // side
        # (B, rows, columns, side, side, 3C), in the stock order.
        flat = qkv.double().reshape(-1, rows * columns, side * side, qkv.shape[-1])
        split = flat.unflatten(-1, (3, module.num_heads, -1))
        query, key = (split[:, :, :, i].transpose(2, 3) for i in (0, 1))
        logits = query @ key.transpose(-1, -2) * module.scale
        pad = torch.zeros(rows * side, columns * side)
        # The stock code fills everything where nothing is padded (-0: is all).
        pad[-below:] = 1
        pad[:, -right:] = 1
        for cell in range(rows * columns):
            top, left = cell // columns * side, cell % columns * side
            local = pad[top : top + side, left : left + side].flatten()
            logits[:, cell] += (local[:, None] != local[None]) * -1000.0
        mean = logits.softmax(-1).mean(2).flatten(0, 1)
        matrix = oracles.window_matrix(mean, seen['grid'], (side, side), (0, 0))
        events.append(('attention', matrix))

    return [
        module.register_forward_pre_hook(before),
        module.qkv.register_forward_hook(weights),
    ]


def hook_embeddings(backbone, events):
    """Every patch embedding but the first merges tokens, padded at the corner."""

    def hook(embedding, args):
        grid = tuple(args[0].shape[-2:])
        kernel = embedding.projection.kernel_size
        size = [-(-side // k) for side, k in zip(grid, kernel)]
        matrix = oracles.pool_matrix(grid, kernel, kernel, (0, 0), size)
        events.append(('merge', matrix))

    later = list(backbone.patch_embeds)[1:]
    return [embedding.register_forward_pre_hook(hook) for embedding in later]


HOOKS = {
    PCPVT: hook_embeddings,
    SVT: hook_embeddings,
    GlobalSubsampledAttention: hook_global,
    LocallyGroupedSelfAttention: hook_local,
}
