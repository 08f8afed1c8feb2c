"""Names of Swin transformers of up to four stages: official code, timm, EsViT."""

import math

import torch
from torch import Tensor

from mmtlalign.checkpoint.key_maps.base import KeyMap, Pair, ValueMap
from mmtlalign.errors import InputError


def _to_unfold(value: Tensor) -> tuple[Tensor]:
    blocks = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return (blocks.transpose(-1, -2).flatten(-2),)


def _from_unfold(value: Tensor) -> tuple[Tensor]:
    blocks = value.unflatten(-1, (-1, 4)).transpose(-1, -2)
    return (blocks[..., [0, 2, 1, 3], :].flatten(-2),)


# The last axis of patch merging, 4C: the official Swin concatenates the four tokens
# (row 0, column 0), (1, 0), (0, 1), (1, 1), C channels each; `nn.Unfold`, which mmcv
# uses, puts the channels first and reads the four row by row.
MERGE_ORDER = ValueMap(_to_unfold, _from_unfold)


def _window_index(table: Tensor) -> Tensor:
    """Return (w², w²) rows of a ((2w-1)², heads) table, one for each pair of tokens."""
    side = math.isqrt(len(table))
    if side**2 != len(table) or side % 2 == 0:
        raise InputError(
            f'A relative position bias table has {len(table)} rows, but a square '
            'window of w x w tokens has (2w-1)². Models with other windows cannot be '
            'converted.'
        )
    window = (side + 1) // 2
    place = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    apart = place[:, None] - place[None] + window - 1
    return apart[..., 0] * side + apart[..., 1]


# mmpretrain saves the index beside the table. Others compute it, as is done here.
BIAS_WITH_INDEX = ValueMap(
    lambda table: (table, _window_index(table)), lambda table, index: (table,)
)

BLOCK, OURS = 'layers.{s}.blocks.{i}.', 'backbone.stages.{s}.blocks.{i}.'
TABLE, INDEX = 'relative_position_bias_table', 'relative_position_index'

BODY: tuple[Pair, ...] = (
    ('patch_embed.proj.{end}', 'backbone.patch_embed.projection.{end}'),
    ('patch_embed.norm.{end}', 'backbone.patch_embed.norm.{end}'),
    (BLOCK + 'norm{n}.{end}', OURS + 'norm{n}.{end}'),
    (BLOCK + 'attn.qkv.{end}', OURS + 'attn.w_msa.qkv.{end}'),
    (BLOCK + 'attn.proj.{end}', OURS + 'attn.w_msa.proj.{end}'),
    (
        BLOCK + f'attn.{TABLE}',
        (OURS + f'attn.w_msa.{TABLE}', OURS + f'attn.w_msa.{INDEX}'),
        BIAS_WITH_INDEX,
    ),
    (BLOCK + 'mlp.fc1.{end}', OURS + 'ffn.layers.0.0.{end}'),
    (BLOCK + 'mlp.fc2.{end}', OURS + 'ffn.layers.1.{end}'),
    ('norm.{end}', 'backbone.norm{last}.{end}'),
)


def _merging(shift: int) -> tuple[Pair, ...]:
    """Return pairs for patch merging, which timm has one stage later (``shift`` 1)."""
    return tuple(
        (
            f'layers.{stage + shift}.downsample.{{part}}.{{end}}',
            f'backbone.stages.{stage}.downsample.{{part}}.{{end}}',
            MERGE_ORDER,
        )
        for stage in range(3)
    )


# Computed buffers: the mask of shifted windows and the index of the bias table.
COMPUTED = (BLOCK + 'attn_mask', BLOCK + f'attn.{INDEX}')
# The name of our final norm has the number of the last stage.
STAGES = (
    'layers.{last}.blocks.0.norm1.weight',
    'backbone.stages.{last}.blocks.0.norm1.weight',
)
POSITIONS: Pair = ('absolute_pos_embed', 'backbone.absolute_pos_embed')

SWIN = KeyMap(
    'official Swin Transformer, also in timm before 0.9',
    (*BODY, *_merging(0), POSITIONS, ('head.{end}', 'head.fc.{end}')),
    left_out=COMPUTED,
    stages=STAGES,
)

TIMM = KeyMap(
    "timm's SwinTransformer, from 0.9 on",
    (*BODY, *_merging(1), ('head.fc.{end}', 'head.fc.{end}')),
    ('state_dict', 'model'),
    left_out=COMPUTED,
    stages=STAGES,
)

# The view head and the region head are used in pretraining alone.
ESVIT = KeyMap(
    'official EsViT with Swin (--key student for the student)',
    (*BODY, *_merging(0), POSITIONS),
    ('teacher',),
    left_out=(
        *COMPUTED,
        *(
            f'{head}.{part}'
            for head in ('head', 'head_dense')
            for part in ('mlp.{i}.{end}', 'last_layer.{end}')
        ),
        # Batch norm, and the only layer of a head without hidden layers.
        'head.mlp.{end}',
        'head_dense.mlp.{end}',
    ),
    stages=STAGES,
    wrappers=('module.', '_orig_mod.', 'backbone.'),
)
