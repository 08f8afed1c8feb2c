"""mmdet's Pyramid Vision Transformers."""

import oracles
from mmdet.models.backbones import PyramidVisionTransformer, PyramidVisionTransformerV2
from mmdet.models.backbones.pvt import PVTEncoderLayer, SpatialReductionAttention

from .row import Row


def blocks(backbone):
    return [m for m in backbone.modules() if isinstance(m, PVTEncoderLayer)]


V2 = dict(
    type='PyramidVisionTransformerV2',
    embed_dims=16,
    num_stages=4,
    num_layers=[1, 1, 1, 1],
    num_heads=[1, 2, 2, 2],
    sr_ratios=[4, 2, 1, 1],
    mlp_ratios=[2, 2, 2, 2],
    out_indices=(3,),
    drop_path_rate=0.0,
)
# The first version has no norm after a stage, so that gradients of weights far
# from zero grow with depth: three stages, as many as float32 can hold.
V1 = dict(
    type='PyramidVisionTransformer',
    pretrain_img_size=32,
    embed_dims=16,
    num_stages=3,
    num_layers=[1, 1, 1],
    num_heads=[1, 2, 2],
    patch_sizes=[4, 2, 2],
    strides=[4, 2, 2],
    paddings=[0, 0, 0],
    sr_ratios=[4, 2, 1],
    mlp_ratios=[2, 2, 2],
    out_indices=(2,),
    drop_path_rate=0.0,
)

ROWS = {
    'PVT of mmdet': Row(V1, (32, 32), 4, 'mean', blocks, 'mmdet'),
    'PVT of mmdet, any size': Row(V1, (39, 54), 4, 'mean', blocks, 'mmdet', cut=True),
    'PVT of mmdet, attention dropout': Row(
        dict(V1, attn_drop_rate=0.3),
        (32, 32),
        4,
        'mean',
        blocks,
        'mmdet',
        same_graph=True,
    ),
    'PVT of mmdet, no bias': Row(
        dict(V1, qkv_bias=False), (32, 32), 4, 'mean', blocks, 'mmdet'
    ),
    'PVT v2 of mmdet': Row(V2, (32, 32), 4, 'mean', blocks, 'mmdet'),
    'PVT v2 of mmdet, any size': Row(V2, (39, 54), 4, 'mean', blocks, 'mmdet'),
}


def hook_attention(module, events):
    seen = {}

    def outer(_, args):
        seen['grid'] = args[1]

    def inner(attention, args, kwargs):
        query, key = (kwargs[n].double().transpose(0, 1) for n in ('query', 'key'))
        width = query.shape[-1]
        weight = attention.in_proj_weight.double()
        bias = attention.in_proj_bias
        bias = 0 * weight[:, 0] if bias is None else bias.double()
        query = query @ weight[:width].T + bias[:width]
        key = key @ weight[width : 2 * width].T + bias[width : 2 * width]
        query, key = (
            x.reshape(*x.shape[:2], attention.num_heads, -1).transpose(1, 2)
            for x in (query, key)
        )
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        weights = logits.softmax(-1).mean(1)
        side = module.sr_ratio
        if side > 1:
            size = [s // side for s in seen['grid']]
            square = (side, side)
            weights = weights @ oracles.pool_matrix(
                seen['grid'], square, square, (0, 0), size
            )
        events.append(('attention', weights))

    return [
        module.register_forward_pre_hook(outer),
        module.attn.register_forward_pre_hook(inner, with_kwargs=True),
    ]


def hook_embeddings(backbone, events):
    """Every patch embedding but the first merges tokens."""

    def hook(embedding, args, out):
        layer = embedding.projection
        matrix = oracles.pool_matrix(
            args[0].shape[-2:], layer.kernel_size, layer.stride, layer.padding, out[1]
        )
        events.append(('merge', matrix))

    return [stage[0].register_forward_hook(hook) for stage in backbone.layers[1:]]


HOOKS = {
    SpatialReductionAttention: hook_attention,
    PyramidVisionTransformer: hook_embeddings,
    PyramidVisionTransformerV2: hook_embeddings,
}
