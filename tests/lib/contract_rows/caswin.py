"""This package's Swin with class attention."""

import oracles
import torch

from mmtlalign.backbones.caswin import ClassAttention

from .mmpretrain_swin import DROPOUT, PADDED, SWIN
from .row import Row


def blocks(backbone):
    stages = [block for stage in backbone.stages for block in stage.blocks]
    return [*stages, backbone.class_block]


CASWIN = dict(SWIN, type='mmtlalign.CASwin')
ROWS = {
    'CASwin': Row(CASWIN, (64, 64), 4, 'class', blocks),
    'CASwin, any size': Row(dict(CASWIN, **PADDED), (72, 100), 4, 'class', blocks),
    'CASwin, attention dropout': Row(
        dict(CASWIN, **DROPOUT), (64, 64), 4, 'class', blocks, same_graph=True
    ),
}


def hook_class_attention(module, events):
    """The class token joins, then only its row is not the identity."""
    seen = {}

    def before(_, args):
        events.append(('merge', oracles.join_matrix(args[0].shape[1] - 1)))

    def query(linear, args, out):
        seen['query'] = out.double()[:, 0]

    def row(linear, args, out):
        key = out.double()[..., : out.shape[-1] // 2]
        batch, tokens, width = key.shape
        side = width // module.num_heads
        mean = torch.zeros(batch, tokens, dtype=torch.float64)
        for head in range(module.num_heads):
            part = slice(head * side, head * side + side)
            logits = (key[..., part] * seen['query'][:, None, part]).sum(-1)
            mean += (logits / side**0.5).softmax(-1) / module.num_heads
        matrix = torch.eye(tokens, dtype=torch.float64).repeat(batch, 1, 1)
        matrix[:, 0] = (matrix[:, 0] + mean) / 2
        events.append(('layer', matrix))

    return [
        module.register_forward_pre_hook(before),
        module.q.register_forward_hook(query),
        module.kv.register_forward_hook(row),
    ]


HOOKS = {ClassAttention: hook_class_attention}
