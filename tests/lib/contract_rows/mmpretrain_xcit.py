"""mmpretrain's XCiT."""

import oracles
import torch
from mmpretrain.models.backbones.xcit import ClassAttntion, XCiT

from .row import Row


def blocks(backbone):
    return [*backbone.xca_layers, *backbone.ca_layers]


XCIT = dict(
    type='XCiT',
    img_size=64,
    patch_size=8,
    embed_dims=32,
    depth=2,
    cls_attn_layers=3,
    num_heads=2,
    mlp_ratio=2,
)

ROWS = {
    'XCiT': Row(XCIT, (64, 64), 8, 'class', blocks),
    'XCiT, any size': Row(XCIT, (44, 71), 8, 'class', blocks),
    'XCiT, attention dropout': Row(
        dict(XCIT, attn_drop_rate=0.3), (64, 64), 8, 'class', blocks, same_graph=True
    ),
    'XCiT, all tokens normed': Row(
        dict(XCIT, tokens_norm=True, patch_size=16),
        (96, 64),
        16,
        'class',
        blocks,
    ),
}


def hook_trunk(backbone, events):
    """The class token joins when the last layer over channels is done."""

    def hook(block, args, out):
        events.append(('merge', oracles.join_matrix(out.shape[1])))

    return [backbone.xca_layers[-1].register_forward_hook(hook)]


def hook_class(module, events):
    """Only the class token moves: the residual is in the matrix."""
    seen = {}

    def queries(linear, args, out):
        seen['query'] = out.double().reshape(len(out), module.num_heads, 1, -1)

    def keys(linear, args, out):
        batch, tokens, _ = out.shape
        key = out.double().reshape(batch, tokens, module.num_heads, -1)
        logits = seen['query'] @ key.permute(0, 2, 3, 1) / key.shape[-1] ** 0.5
        row = logits.softmax(-1).mean(1)[:, 0]
        matrix = torch.eye(tokens, dtype=torch.float64).repeat(batch, 1, 1)
        matrix[:, 0] = (matrix[:, 0] + row) / 2
        events.append(('layer', matrix))

    return [
        module.q.register_forward_hook(queries),
        module.k.register_forward_hook(keys),
    ]


HOOKS = {XCiT: hook_trunk, ClassAttntion: hook_class}
