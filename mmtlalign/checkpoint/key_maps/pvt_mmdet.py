"""Weights of :class:`mmtlalign.backbones.PVT` as mmdet's PVT has them, and back.

mmdet keeps queries, keys and values in one matrix and its feed-forward in 1x1
convolutions, and has no class token. It builds a stage as a list: 0 the patch
embedding, 1 the positions and layers, 2 a norm that its first version leaves out.

mmdet sets the eps of two kinds of norms the other way round than the official
code and this package (1e-6 in patch embeddings, 1e-5 in layers), so that feature
maps agree to about 1e-4, not to the last digit.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mmtlalign.errors import InputError

# Ours and mmdet's, inside a stage and inside a layer.
_IN_STAGE = (
    ('patch_embed.', '0.'),
    ('positions.pos_embed', '1.0.pos_embed'),
)
_IN_LAYER = (
    ('norm1.', 'norm1.'),
    ('norm2.', 'norm2.'),
    ('attn.sr.', 'attn.sr.'),
    ('attn.norm.', 'attn.norm.'),
    ('attn.proj.', 'attn.attn.out_proj.'),
    ('ffn.layers.0.0.', 'ffn.layers.0.'),
    ('ffn.layers.1.', 'ffn.layers.3.'),
)


def to_mmdet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights for mmdet's ``PyramidVisionTransformer``, which fill all of it.

    Args:
        state_dict: Of a PVT, names without ``backbone.``. The class token, its
            position and the final norm, which mmdet does not have, are left out.

    Raises:
        ValueError: A name is not one of PVT.
    """
    # A class token comes with a position, the first of the last stage's.
    joined = [n for n in state_dict if n.endswith('positions.cls_token')]
    places = [n.replace('cls_token', 'pos_embed') for n in joined]
    out = {}
    for name, value in state_dict.items():
        if name.startswith('norm.') or name in joined:
            continue
        if name in places:
            value = value[:, 1:]
        layer = re.fullmatch(r'stages\.(\d+)\.layers\.(\d+)\.(.+)', name)
        stage = re.fullmatch(r'stages\.(\d+)\.(.+)', name)
        if layer is None:
            end = _renamed(stage and stage[2], _IN_STAGE, name)
            out[f'layers.{stage[1]}.{end}'] = value
            continue
        begin = f'layers.{layer[1]}.1.{int(layer[2]) + 1}.'
        if layer[3].startswith('attn.q.'):
            keys = state_dict[name.replace('.attn.q.', '.attn.kv.')]
            kind = name.rpartition('.')[2]
            out[f'{begin}attn.attn.in_proj_{kind}'] = torch.cat([value, keys])
        elif not layer[3].startswith('attn.kv.'):
            end = _renamed(layer[3], _IN_LAYER, name)
            if end.startswith('ffn') and value.ndim == 2:
                value = value[:, :, None, None]
            out[begin + end] = value
    return out


def from_mmdet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of mmdet's ``PyramidVisionTransformer`` (the first version).

    Args:
        state_dict: Of mmdet's backbone, names without ``backbone.``.

    Returns:
        All weights of a PVT with ``with_cls_token=False``.

    Raises:
        ValueError: A name is not one of mmdet's first PVT with position
            embeddings and biases.
    """
    out = {}
    for name, value in state_dict.items():
        stage = re.fullmatch(r'layers\.(\d+)\.(.+)', name)
        layer = re.fullmatch(r'layers\.(\d+)\.1\.([1-9]\d*)\.(.+)', name)
        if layer is None:
            end = _renamed(stage and stage[2], _reversed(_IN_STAGE), name)
            out[f'stages.{stage[1]}.{end}'] = value
            continue
        begin = f'stages.{layer[1]}.layers.{int(layer[2]) - 1}.'
        if layer[3].startswith('attn.attn.in_proj_'):
            kind = name.rpartition('_')[2]
            width = len(value) // 3
            out[f'{begin}attn.q.{kind}'] = value[:width]
            out[f'{begin}attn.kv.{kind}'] = value[width:]
        else:
            end = _renamed(layer[3], _reversed(_IN_LAYER), name)
            out[begin + end] = (
                value.flatten(1)
                if end.startswith('ffn') and (value.ndim == 4)
                else value
            )
    return out


def _renamed(end: str | None, table, name: str) -> str:
    for source, target in table:
        if end is not None and end.startswith(source):
            return target + end[len(source) :]
    raise InputError(
        f'{name} is not a weight of this kind of PVT; give the state dict of the '
        "backbone alone, without 'backbone.' (mmdet's second version is another "
        'network).'
    )


def _reversed(table):
    return [pair[::-1] for pair in table]
