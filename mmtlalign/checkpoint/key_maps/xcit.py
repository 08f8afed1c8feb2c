"""Names of XCiT: official code and timm."""

import torch
from torch import Tensor

from mmtlalign.checkpoint.key_maps.base import KeyMap, Pair, ValueMap


def _split(value: Tensor) -> tuple[Tensor, ...]:
    # Copies, because a file would hold the storage of a view as a whole, three times.
    return tuple(part.clone() for part in value.chunk(3))


# Separate matrices for queries, keys and values.
SPLIT_QKV = ValueMap(_split, lambda *parts: (torch.cat(parts),))

XCA, CA = 'backbone.xca_layers.{i}.', 'backbone.ca_layers.{i}.'

NAMES: tuple[Pair, ...] = (
    ('cls_token', 'backbone.cls_token'),
    # Official indices also count the activation after each convolution and norm.
    *(
        (
            f'patch_embed.proj.{2 * k}.{n}.{{end}}',
            f'backbone.patch_embed.proj.{k}.{part}.{{end}}',
        )
        for k in range(4)
        for n, part in enumerate(('conv', 'bn'))
    ),
    ('blocks.{i}.gamma{n}', XCA + 'gamma{n}'),
    ('blocks.{i}.norm{n}.{end}', XCA + 'norm{n}.{end}'),
    ('blocks.{i}.attn.temperature', XCA + 'attn.temperature'),
    ('blocks.{i}.attn.qkv.{end}', XCA + 'attn.qkv.{end}'),
    ('blocks.{i}.attn.proj.{end}', XCA + 'attn.proj.{end}'),
    ('blocks.{i}.local_mp.conv{n}.{end}', XCA + 'local_mp.conv{n}.conv.{end}'),
    ('blocks.{i}.local_mp.bn.{end}', XCA + 'local_mp.conv1.bn.{end}'),
    ('blocks.{i}.mlp.fc1.{end}', XCA + 'ffn.layers.0.0.{end}'),
    ('blocks.{i}.mlp.fc2.{end}', XCA + 'ffn.layers.1.{end}'),
    ('cls_attn_blocks.{i}.gamma{n}', CA + 'gamma{n}'),
    ('cls_attn_blocks.{i}.norm{n}.{end}', CA + 'norm{n}.{end}'),
    ('cls_attn_blocks.{i}.attn.proj.{end}', CA + 'attn.proj.{end}'),
    ('cls_attn_blocks.{i}.mlp.fc1.{end}', CA + 'ffn.layers.0.0.{end}'),
    ('cls_attn_blocks.{i}.mlp.fc2.{end}', CA + 'ffn.layers.1.{end}'),
    ('norm.{end}', 'backbone.norm.{end}'),
    ('head.{end}', 'head.fc.{end}'),
)
POSITIONS = 'backbone.pos_embed.token_projection.conv.{end}'

XCIT = KeyMap(
    'official XCiT',
    (
        *NAMES,
        ('pos_embeder.token_projection.{end}', POSITIONS),
        (
            'cls_attn_blocks.{i}.attn.qkv.{end}',
            tuple(CA + f'attn.{part}.{{end}}' for part in 'qkv'),
            SPLIT_QKV,
        ),
    ),
)

TIMM = KeyMap(
    "timm's Xcit",
    (
        *NAMES,
        ('pos_embed.token_projection.{end}', POSITIONS),
        *(
            (f'cls_attn_blocks.{{i}}.attn.{p}.{{end}}', CA + f'attn.{p}.{{end}}')
            for p in 'qkv'
        ),
    ),
    ('state_dict', 'model'),
)
