"""Checks of PVT alone: of the settings of its stages, and of state dicts."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmengine.logging import MMLogger
from torch import Tensor

from mmtlalign.backbones.checks import check_heads, read_arch
from mmtlalign.errors import InputError

KEYS = (
    'embed_dims',
    'num_layers',
    'num_heads',
    'mlp_ratios',
    'sr_ratios',
    'patch_sizes',
)


def read_settings(
    arch: str | Mapping[str, Any], zoo: Mapping[str, dict], with_cls_token: bool
) -> dict[str, tuple]:
    """Return the settings of an architecture, given by name or as a dict.

    Args:
        arch: A key of ``zoo``, or one sequence for each of :data:`KEYS`.
        zoo: Settings by name.
        with_cls_token: Whether the last stage has a class token.

    Returns:
        Tuples with one number per stage, by the names of :data:`KEYS`.

    Raises:
        InputError: The settings are incomplete or contradict one another.
    """
    arch = read_arch(arch, zoo, KEYS)
    arch = {key: tuple(arch[key]) for key in KEYS}
    stages = {key: len(values) for key, values in arch.items()}
    if len(set(stages.values())) > 1 or not stages['num_layers']:
        raise InputError(
            f'arch has {stages} stages: give one number per stage for every key.'
        )
    for width, heads in zip(arch['embed_dims'], arch['num_heads']):
        check_heads(width, heads)
    if with_cls_token and arch['sr_ratios'][-1] != 1:
        raise InputError(
            f'sr_ratios={arch["sr_ratios"]}: spatial reduction of the keys works on a '
            'feature map, which cannot hold a class token; set the last ratio to 1, or '
            'with_cls_token=False.'
        )
    return arch


def leave_out_class_token(
    state_dict: dict[str, Tensor], prefix: str, last: int
) -> None:
    """Remove what belongs to the class token of the last stage, in place.

    Args:
        state_dict: Tensors of a PVT with or without class token.
        prefix: What the names of the PVT begin with.
        last: Index of its last stage.
    """
    begin = f'{prefix}stages.{last}.positions.'
    if f'{begin}cls_token' not in state_dict:
        return
    left_out = [f'{begin}cls_token']
    left_out += [name for name in state_dict if name.startswith(f'{prefix}norm.')]
    for name in left_out:
        del state_dict[name]
    if f'{begin}pos_embed' in state_dict:
        state_dict[f'{begin}pos_embed'] = state_dict[f'{begin}pos_embed'][:, 1:]
    MMLogger.get_current_instance().info(
        'PVT, with_cls_token=False: not loaded from the state dict: '
        f'{", ".join(left_out)} and the first entry of the last position embedding'
    )


def variant_of(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, list[int]]:
    """Return properties of the variant of a state dict; {} if positions are missing."""
    tensors = {
        n[len(prefix) :]: v for n, v in state_dict.items() if n.startswith(prefix)
    }
    stages = sorted({n.split('.')[1] for n in tensors if n.startswith('stages.')})
    names = [f'stages.{stage}.positions.pos_embed' for stage in stages]
    if not stages or any(name not in tensors for name in names):
        return {}
    tables = [tensors[name] for name in names]
    layers = Counter(n.split('.')[1] for n in tensors if n.endswith('.norm1.weight'))
    return dict(
        layers=[layers[stage] for stage in stages],
        widths=[table.shape[2] for table in tables],
        positions=[table.shape[1] for table in tables],
    )
