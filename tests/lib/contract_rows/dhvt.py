"""DHVT: head tokens take part in attention and join the class token."""

import torch

from mmtlalign.backbones.dhvt_layers import HeadInteractedAttention

from .row import Row

DHVT = dict(
    type='mmtlalign.DHVT',
    arch=dict(embed_dims=32, num_layers=3, num_heads=4, feedforward_channels=48),
    patch_size=4,
)

ROWS = {
    'DHVT': Row(DHVT, (16, 16), 4, 'class'),
    'DHVT, any size': Row(dict(DHVT, patch_size=16), (50, 68), 16, 'class'),
    'DHVT, patches of 2': Row(dict(DHVT, patch_size=2), (8, 12), 2, 'class'),
    'DHVT, mean of tokens': Row(
        dict(DHVT, out_type='avg_featmap'), (16, 24), 4, 'mean', same_graph=True
    ),
    'DHVT, attention dropout': Row(
        dict(DHVT, attn_drop_rate=0.3), (16, 16), 4, 'class', same_graph=True
    ),
}


def hook_heads(module, events):
    def hook(linear, args, qkv):
        batch, length, _ = qkv.shape
        split = qkv.double().reshape(batch, length, 3, module.num_heads, -1)
        query, key = split[:, :, 0].transpose(1, 2), split[:, :, 1].transpose(1, 2)
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        weights = logits.softmax(-1).mean(1)
        tokens = length - module.num_heads
        # What a query takes from a head token, it takes from all tokens alike.
        matrix = torch.zeros(batch, tokens, tokens, dtype=torch.float64)
        for row in range(length):
            taken = weights[:, row, :tokens].clone()
            for head in range(tokens, length):
                taken += weights[:, row, head, None] / tokens
            if row == 0:
                matrix[:, 0] += taken / 2
            elif row < tokens:
                matrix[:, row] = taken
            else:
                matrix[:, 0] += taken / 2 / module.num_heads
            if row == 0:
                look = taken[:, None]
        events.extend([('attention', matrix), ('look', look)])

    return [module.qkv.register_forward_hook(hook)]


HOOKS = {HeadInteractedAttention: hook_heads}
