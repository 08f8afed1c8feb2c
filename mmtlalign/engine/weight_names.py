"""Names of weights in official code bases and in this package, one table a family.

A table is a list of pairs: an official name and ours, as a classifier of mmpretrain
saves it. ``{field}`` stands for one part of a name between dots, or a piece of it,
and returns under the same field on the other side. Tables read both ways; a new
family is one more entry of :data:`FAMILIES`.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from mmtlalign.engine.checkpoint_file import some_of
from mmtlalign.engine.errors import InputError

__all__ = ['FAMILIES', 'convert']

Value = TypeVar('Value')
Table = tuple[tuple[str, str], ...]

DHVT: Table = (
    ('cls_token', 'backbone.cls_token'),
    (
        'patch_embed.{side}_affine.{end}',
        'backbone.patch_embed.{side}_affine.{end}',
    ),
    (
        'patch_embed.proj.{unit}.0.{end}',
        'backbone.patch_embed.projection.{unit}.conv.{end}',
    ),
    (
        'patch_embed.proj.{unit}.1.{end}',
        'backbone.patch_embed.projection.{unit}.norm.{end}',
    ),
    ('blocks.{i}.norm{n}.{end}', 'backbone.layers.{i}.ln{n}.{end}'),
    ('blocks.{i}.attn.qkv.{end}', 'backbone.layers.{i}.attn.qkv.{end}'),
    ('blocks.{i}.attn.proj.{end}', 'backbone.layers.{i}.attn.proj.{end}'),
    ('blocks.{i}.attn.ht_{part}.{end}', 'backbone.layers.{i}.attn.head_{part}.{end}'),
    ('blocks.{i}.attn.pos_embed', 'backbone.layers.{i}.attn.head_embed'),
    ('blocks.{i}.mlp.conv1.{end}', 'backbone.layers.{i}.ffn.expand.{end}'),
    ('blocks.{i}.mlp.conv2.{end}', 'backbone.layers.{i}.ffn.depthwise.{end}'),
    ('blocks.{i}.mlp.conv3.{end}', 'backbone.layers.{i}.ffn.project.{end}'),
    ('blocks.{i}.mlp.bn{n}.{end}', 'backbone.layers.{i}.ffn.norm{n}.{end}'),
    ('blocks.{i}.mlp.compress.{end}', 'backbone.layers.{i}.ffn.squeeze.{end}'),
    ('blocks.{i}.mlp.excitation.{end}', 'backbone.layers.{i}.ffn.excite.{end}'),
    ('norm.{end}', 'backbone.ln1.{end}'),
    ('head.{end}', 'head.layers.head.{end}'),
)

# Official stages count from 1. The class token is of the last of the four.
PVT: Table = (
    ('cls_token', 'backbone.stages.3.positions.cls_token'),
    *(
        pair
        for i in range(4)
        for pair in (
            (f'pos_embed{i + 1}', f'backbone.stages.{i}.positions.pos_embed'),
            (
                f'patch_embed{i + 1}.proj.{{end}}',
                f'backbone.stages.{i}.patch_embed.projection.{{end}}',
            ),
            (
                f'patch_embed{i + 1}.norm.{{end}}',
                f'backbone.stages.{i}.patch_embed.norm.{{end}}',
            ),
            (
                f'block{i + 1}.{{k}}.norm{{n}}.{{end}}',
                f'backbone.stages.{i}.layers.{{k}}.norm{{n}}.{{end}}',
            ),
            (
                f'block{i + 1}.{{k}}.attn.{{part}}.{{end}}',
                f'backbone.stages.{i}.layers.{{k}}.attn.{{part}}.{{end}}',
            ),
            (
                f'block{i + 1}.{{k}}.mlp.fc1.{{end}}',
                f'backbone.stages.{i}.layers.{{k}}.ffn.layers.0.0.{{end}}',
            ),
            (
                f'block{i + 1}.{{k}}.mlp.fc2.{{end}}',
                f'backbone.stages.{i}.layers.{{k}}.ffn.layers.1.{{end}}',
            ),
        )
    ),
    ('norm.{end}', 'backbone.norm.{end}'),
    ('head.{end}', 'head.layers.head.{end}'),
)

FAMILIES: dict[str, Table] = {'dhvt': DHVT, 'pvt': PVT}


def convert(
    state_dict: Mapping[str, Value], family: str, reverse: bool = False
) -> dict[str, Value]:
    """Rename every weight; values are handed on as they are.

    Args:
        state_dict: Values by official name, or by ours if ``reverse``.
        family: A key of :data:`FAMILIES`.
        reverse: From our names to the official ones. Defaults to False.

    Returns:
        The same values in the same order under the other names.

    Raises:
        InputError: The family is not known, or a name is not in its table.
    """
    if family not in FAMILIES:
        raise InputError(
            f'There is no table of names for {family!r}; known are '
            f'{", ".join(sorted(FAMILIES))}. Add one to '
            'mmtlalign/engine/weight_names.py.'
        )
    pairs = [pair[::-1] if reverse else pair for pair in FAMILIES[family]]
    rules = [(_pattern(source), target) for source, target in pairs]
    renamed, unmatched = {}, []
    for name, value in state_dict.items():
        for pattern, target in rules:
            match = pattern.fullmatch(name)
            if match:
                renamed[target.format(**match.groupdict())] = value
                break
        else:
            unmatched.append(name)
    if unmatched:
        raise InputError(
            f'{len(unmatched)} names are not in the table of {family!r} '
            f'({some_of(unmatched)}); it knows names like '
            f'{some_of([source for source, _ in pairs], 3)}. Choose the family and '
            'the direction (--reverse) of the file.'
        )
    return renamed


def _pattern(template: str) -> re.Pattern:
    """'blocks.{i}.norm{n}' -> blocks\\.(?P<i>[^.]+)\\.norm(?P<n>[^.]+)"""
    return re.compile(re.sub(r'\\{(\w+)\\}', r'(?P<\1>[^.]+)', re.escape(template)))
