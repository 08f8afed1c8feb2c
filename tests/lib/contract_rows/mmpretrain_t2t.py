"""mmpretrain's T2T-ViT."""

import oracles
from mmpretrain.models.backbones import T2T_ViT

from .row import Row


def blocks(backbone):
    """Not those of the module before: re-entrant checkpointing loses the
    gradient of a block whose input, the image, has none."""
    return list(backbone.encoder)


# Few channels a head: logits are multiplied by the root of their number, and
# softer attention tells more.
T2T = dict(
    type='T2T_ViT',
    img_size=32,
    embed_dims=32,
    num_layers=2,
    t2t_cfg=dict(token_dims=4),
    layer_cfgs=dict(num_heads=8, feedforward_channels=48),
)
MEAN = dict(T2T, out_type='avg_featmap')

ROWS = {
    'T2T-ViT': Row(T2T, (32, 32), 4, 'class', blocks),
    'T2T-ViT, any size': Row(T2T, (38, 50), 4, 'class', blocks, cut=True),
    'T2T-ViT, mean of tokens': Row(MEAN, (36, 48), 4, 'mean', blocks),
    'T2T-ViT, no class token': Row(
        dict(MEAN, with_cls_token=False), (32, 44), 4, 'mean', blocks
    ),
    'T2T-ViT, attention dropout': Row(
        dict(T2T, layer_cfgs=dict(T2T['layer_cfgs'], attn_drop_rate=0.3)),
        (32, 32),
        4,
        'class',
        blocks,
        same_graph=True,
    ),
}


def hook_splits(backbone, events):
    """3x3 tokens, two apart, one of padding around; then the class token."""

    def merge(split, args):
        grid = tuple(args[0].shape[-2:])
        size = [(side + 1) // 2 for side in grid]
        matrix = oracles.pool_matrix(grid, (3, 3), (2, 2), (1, 1), size)
        events.append(('merge', matrix))

    def join(project, args, out):
        if backbone.num_extra_tokens:
            events.append(('merge', oracles.join_matrix(out.shape[1])))

    module = backbone.tokens_to_token
    return [
        module.soft_split1.register_forward_pre_hook(merge),
        module.soft_split2.register_forward_pre_hook(merge),
        module.project.register_forward_hook(join),
    ]


HOOKS = {T2T_ViT: hook_splits}
