"""Swin transformers of up to four stages: official, timm, EsViT."""

from mmtlalign.checkpoint.key_maps.base import (
    BIAS_WITH_INDEX,
    MERGE_ORDER,
    Family,
    Pair,
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


def merging(shift: int) -> tuple[Pair, ...]:
    """Patch merging, which timm counts to the stage after it (``shift`` 1)."""
    return tuple(
        (
            f'layers.{stage + shift}.downsample.{{part}}.{{end}}',
            f'backbone.stages.{stage}.downsample.{{part}}.{{end}}',
            MERGE_ORDER,
        )
        for stage in range(3)
    )


# The mask of shifted windows and the index of the bias table.
COMPUTED = (BLOCK + 'attn_mask', BLOCK + f'attn.{INDEX}')
# The final norm of ours has the number of the last stage.
STAGES = tuple(
    f'{name}.{{last}}.blocks.0.norm1.weight' for name in ('layers', 'backbone.stages')
)
POSITIONS: Pair = ('absolute_pos_embed', 'backbone.absolute_pos_embed')

SWIN = Family(
    'official Swin Transformer, also in timm before 0.9',
    (*BODY, *merging(0), POSITIONS, ('head.{end}', 'head.fc.{end}')),
    left_out=COMPUTED,
    stages=STAGES,
)

TIMM = Family(
    "timm's SwinTransformer, from 0.9 on",
    (*BODY, *merging(1), ('head.fc.{end}', 'head.fc.{end}')),
    ('state_dict', 'model'),
    left_out=COMPUTED,
    stages=STAGES,
)

# The view head and the region head are of pretraining alone.
ESVIT = Family(
    'official EsViT with Swin (--key student for the student)',
    (*BODY, *merging(0), POSITIONS),
    ('teacher',),
    left_out=(
        *COMPUTED,
        *(
            f'{head}.{part}'
            for head in ('head', 'head_dense')
            for part in ('mlp.{i}.{end}', 'last_layer.{end}')
        ),
        # Batch norm's, and the one layer of a head without hidden ones.
        'head.mlp.{end}',
        'head_dense.mlp.{end}',
    ),
    stages=STAGES,
    wrappers=('module.', '_orig_mod.', 'backbone.'),
)
