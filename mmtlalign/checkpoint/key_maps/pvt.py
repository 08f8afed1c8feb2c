"""Names of PVT: official code, and mmdet, whose weights differ in shape as well."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mmtlalign.checkpoint.key_maps.base import KeyMap
from mmtlalign.errors import InputError

# Official stages count from 1, ours from 0.
_STAGE = (
    ('pos_embed#', 'positions.pos_embed'),
    ('patch_embed#.proj.{end}', 'patch_embed.projection.{end}'),
    ('patch_embed#.norm.{end}', 'patch_embed.norm.{end}'),
    ('block#.{k}.norm{n}.{end}', 'layers.{k}.norm{n}.{end}'),
    ('block#.{k}.attn.{part}.{end}', 'layers.{k}.attn.{part}.{end}'),
    ('block#.{k}.mlp.fc1.{end}', 'layers.{k}.ffn.layers.0.0.{end}'),
    ('block#.{k}.mlp.fc2.{end}', 'layers.{k}.ffn.layers.1.{end}'),
)

PVT = KeyMap(
    'official PVT (the first version)',
    (
        # The class token belongs to the last of the four stages.
        ('cls_token', 'backbone.stages.3.positions.cls_token'),
        *(
            (official.replace('#', str(i + 1)), f'backbone.stages.{i}.{ours}')
            for i in range(4)
            for official, ours in _STAGE
        ),
        ('norm.{end}', 'backbone.norm.{end}'),
        ('head.{end}', 'head.layers.head.{end}'),
    ),
)

# Modules of ours and of mmdet, whose stages are lists: 0 is the patch embedding, 1 the
# positions and layers, 2 a norm that mmdet's first version does not have.
_OURS = re.compile(r'stages\.(\d+)\.(?:layers\.(\d+)\.)?(.+)\.(\w+)')
_MMDET = re.compile(r'layers\.(\d+)\.(?:1\.([1-9]\d*)\.)?(.+)\.(\w+)')
_IN_STAGE = {
    'patch_embed.projection': '0.projection',
    'patch_embed.norm': '0.norm',
    'positions': '1.0',
}
_IN_LAYER = {
    'norm1': 'norm1',
    'norm2': 'norm2',
    'attn.sr': 'attn.sr',
    'attn.norm': 'attn.norm',
    'attn.proj': 'attn.attn.out_proj',
    'ffn.layers.0.0': 'ffn.layers.0',
    'ffn.layers.1': 'ffn.layers.3',
}


def to_mmdet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights for all of mmdet's ``PyramidVisionTransformer``.

    mmdet keeps queries, keys and values in one matrix and its feed-forward in 1x1
    convolutions. It exchanges the eps of two kinds of norms in comparison with the
    official code and this package (1e-6 in patch embeddings, 1e-5 in layers), so that
    feature maps agree only to about 1e-4.

    Args:
        state_dict: Tensors of :class:`mmtlalign.backbones.PVT`, by name without
            ``backbone.``. The class token, its position and the final norm, which
            mmdet does not have, are left out.

    Raises:
        InputError: A name is not one of PVT.
    """
    # Position embeddings whose first row belongs to a class token.
    with_token = {
        name.replace('cls_token', 'pos_embed')
        for name in state_dict
        if name.endswith('positions.cls_token')
    }
    out = {}
    for name, value in state_dict.items():
        if name.startswith('norm.') or name.endswith('positions.cls_token'):
            continue
        stage, layer, module, kind = _fields(_OURS, name)
        begin = f'layers.{stage}.' + (f'1.{int(layer) + 1}.' if layer else '')
        if module == 'attn.q':
            keys_and_values = state_dict[name.replace('.q.', '.kv.')]
            out[f'{begin}attn.attn.in_proj_{kind}'] = torch.cat(
                [value, keys_and_values]
            )
        elif module != 'attn.kv':
            if name in with_token:
                value = value[:, 1:]
            elif module.startswith('ffn') and kind == 'weight':
                value = value[:, :, None, None]
            table = _IN_LAYER if layer else _IN_STAGE
            out[f'{begin}{_renamed(table, module, name)}.{kind}'] = value
    return out


def from_mmdet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights of mmdet's ``PyramidVisionTransformer`` (first version) to ours.

    Args:
        state_dict: Tensors of mmdet's backbone, by name without ``backbone.``.

    Returns:
        All weights of a PVT with ``with_cls_token=False``.

    Raises:
        InputError: A name is not one of mmdet's first PVT with position
            embeddings and biases.
    """
    out = {}
    for name, value in state_dict.items():
        stage, layer, module, kind = _fields(_MMDET, name)
        begin = f'stages.{stage}.' + (f'layers.{int(layer) - 1}.' if layer else '')
        if kind.startswith('in_proj_'):
            kind = kind.removeprefix('in_proj_')
            query, keys_and_values = value.tensor_split([len(value) // 3])
            out[f'{begin}attn.q.{kind}'] = query
            out[f'{begin}attn.kv.{kind}'] = keys_and_values
        else:
            if module.startswith('ffn') and kind == 'weight':
                value = value.flatten(1)
            table = _IN_LAYER if layer else _IN_STAGE
            table = {theirs: ours for ours, theirs in table.items()}
            out[f'{begin}{_renamed(table, module, name)}.{kind}'] = value
    return out


def _fields(pattern: re.Pattern, name: str) -> tuple[str, str | None, str, str]:
    """Return stage, layer (or None), module and kind of a weight."""
    match = pattern.fullmatch(name)
    if match is None:
        raise _unknown(name)
    stage, layer, module, kind = match.groups()
    return stage, layer, module, kind


def _renamed(table: Mapping[str, str], module: str, name: str) -> str:
    if module not in table:
        raise _unknown(name)
    return table[module]


def _unknown(name: str) -> InputError:
    return InputError(
        f'{name} is not a parameter of PVT v1; give the state dict of the backbone '
        "alone, without the prefix 'backbone.' (mmdet's PVTv2 is a different network)."
    )
