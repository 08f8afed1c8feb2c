"""What can be wrong about a PVT before it runs, and the messages for it."""

from collections.abc import Sequence

from mmengine.logging import MMLogger
from torch import Tensor

from mmtlalign.errors import InputError

KEYS = (
    'embed_dims',
    'num_layers',
    'num_heads',
    'mlp_ratios',
    'sr_ratios',
    'patch_sizes',
)


def check_arch(arch: str | dict, zoo: dict[str, dict], with_cls_token: bool) -> dict:
    """The settings that ``arch`` names or is.

    Args:
        arch: A key of ``zoo``, or one sequence for each of :data:`KEYS`.
        zoo: Settings by name.
        with_cls_token: Whether the last stage has a class token.

    Returns:
        Tuples, one number a stage, by the names of :data:`KEYS`.

    Raises:
        ValueError: The settings are incomplete or contradict one another.
    """
    if isinstance(arch, str):
        if arch not in zoo:
            raise InputError(
                f'arch={arch!r} is not known; choose one of {sorted(zoo)}, or give a '
                f'dict with {list(KEYS)}.'
            )
        arch = zoo[arch]
    wrong = set(arch) ^ set(KEYS)
    if wrong:
        raise InputError(
            f'arch={dict(arch)}: it needs exactly the keys {list(KEYS)}; missing or '
            f'unknown: {sorted(wrong)}.'
        )
    arch = {key: tuple(arch[key]) for key in KEYS}
    stages = {key: len(values) for key, values in arch.items()}
    if len(set(stages.values())) > 1 or not stages['num_layers']:
        raise InputError(f'arch has {stages} stages: every key needs as many numbers.')
    for width, heads in zip(arch['embed_dims'], arch['num_heads']):
        if width % heads:
            raise InputError(
                f'num_heads={heads} does not divide embed_dims={width}: every head '
                'takes an equal part of the width; change one of the two.'
            )
    if with_cls_token and arch['sr_ratios'][-1] != 1:
        raise InputError(
            f'sr_ratios={arch["sr_ratios"]}: a class token has no place on a map '
            'whose keys are reduced; set the last ratio to 1, or '
            'with_cls_token=False.'
        )
    return arch


def stage_indices(out_indices: int | Sequence[int], stages: int) -> list[int]:
    """``out_indices`` as numbers from 0; a wrong one is a ValueError."""
    asked = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    if not asked or any(not -stages <= i < stages for i in asked):
        raise InputError(
            f'out_indices={out_indices}: there are stages 0 to {stages - 1} (negative '
            'numbers count from the end); name at least one.'
        )
    return [i % stages for i in asked]


def leave_out_class_token(state_dict: dict[str, Tensor], prefix: str, last: int):
    """Take what belongs to a class token out of a state dict, in place.

    Args:
        state_dict: Of a PVT with or without class token.
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
        f'PVT, with_cls_token=False: left out of the state dict {", ".join(left_out)} '
        'and the first of the last positions'
    )


def check_state_dict(
    state_dict: dict[str, Tensor], prefix: str, own: dict[str, Tensor]
) -> None:
    """Name the variants instead of every tensor whose shape differs.

    Args:
        state_dict: What is to be loaded.
        prefix: What the names of the PVT begin with.
        own: The state dict of the PVT.

    Raises:
        ValueError: It is that of another variant, or has the names of other code.
    """
    if f'{prefix}patch_embed1.proj.weight' in state_dict:
        raise InputError(
            'The state dict has the names of the official PVT code; convert the file '
            'first: python tools/model_converters/convert_weights.py pvt IN OUT'
        )
    if f'{prefix}layers.0.0.projection.weight' in state_dict:
        raise InputError(
            "The state dict has the names of mmdet's PyramidVisionTransformer; "
            'convert it first with mmtlalign.checkpoint.key_maps.pvt.from_mmdet.'
        )
    given, ours = _variant(state_dict, prefix), _variant(own, '')
    if any(given[key] != ours[key] for key in given):
        described = [
            ', '.join(f'{key} {value}' for key, value in variant.items())
            for variant in (given, ours)
        ]
        raise InputError(
            f'The state dict is that of a PVT with {described[0]}; this one has '
            f'{described[1]}. Change arch, img_size (which stays that of '
            'pretraining, whatever the images) or with_cls_token, or take another '
            'file.'
        )


def _variant(state_dict: dict[str, Tensor], prefix: str) -> dict[str, list | bool]:
    """What a state dict tells of the variant; less if it is a part."""
    names = [n[len(prefix) :] for n in state_dict if n.startswith(prefix)]
    stages = sorted({n.split('.')[1] for n in names if n.startswith('stages.')})
    found = {'layers': [], 'widths': [], 'positions': []}
    for stage in stages:
        begin = f'stages.{stage}.'
        layers = {n.split('.')[3] for n in names if n.startswith(f'{begin}layers.')}
        found['layers'].append(len(layers))
        if f'{begin}positions.pos_embed' in names:
            shape = state_dict[f'{prefix}{begin}positions.pos_embed'].shape
            found['positions'].append(shape[1])
            found['widths'].append(shape[2])
    return found if stages and len(found['widths']) == len(stages) else {}
