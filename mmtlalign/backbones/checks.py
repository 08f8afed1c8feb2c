"""Checks of arguments and of state dicts that the backbones share."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmtlalign.errors import InputError


def read_arch(
    arch: str | Mapping[str, Any],
    zoo: Mapping[str, dict[str, Any]],
    keys: Sequence[str],
) -> Mapping[str, Any]:
    """Return the settings of an architecture, given by name or as a dict.

    Args:
        arch: A key of ``zoo``, or the settings themselves.
        zoo: Settings by name.
        keys: Names of the settings.

    Raises:
        InputError: The name is not known, or a setting is missing or unknown.
    """
    if isinstance(arch, str):
        if arch not in zoo:
            raise InputError(
                f'arch={arch!r} is not known; choose one of {sorted(zoo)}, or give a '
                f'dict with {list(keys)}.'
            )
        return zoo[arch]
    wrong = set(arch) ^ set(keys)
    if wrong:
        raise InputError(
            f'arch={dict(arch)}: it needs exactly the keys {list(keys)}; missing or '
            f'unknown: {sorted(wrong)}.'
        )
    return arch


def check_heads(embed_dims: int, num_heads: int) -> None:
    """Check that the number of heads divides the width."""
    if embed_dims % num_heads:
        raise InputError(
            f'num_heads={num_heads} does not divide embed_dims={embed_dims}: every '
            'head takes an equal part of the width; change one of the two.'
        )


def check_out_type(out_type: str, known: Sequence[str]) -> None:
    """Check that ``out_type`` is one of the known ones."""
    if out_type not in known:
        raise InputError(f'out_type={out_type!r} is not known; choose one of {known}.')


def check_frozen_stages(frozen_stages: int, most: int) -> None:
    """Check that ``frozen_stages`` is -1 to ``most``."""
    if not -1 <= frozen_stages <= most:
        raise InputError(
            f'frozen_stages={frozen_stages}: give a number from -1 (freezes nothing) '
            f'to {most}.'
        )


def read_out_indices(
    out_indices: int | Sequence[int], count: int, kind: str = 'layers'
) -> list[int]:
    """Return the indices of outputs, counted from 0.

    Args:
        out_indices: One or several; negative ones count from the end.
        count: Number of layers or stages.
        kind: What they are called in the message. Defaults to ``'layers'``.

    Raises:
        InputError: No index is given, or one is out of range.
    """
    given = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    if not given or any(not -count <= i < count for i in given):
        raise InputError(
            f'out_indices={out_indices}: there are {kind} 0 to {count - 1} (negative '
            'numbers count from the end); name at least one.'
        )
    return [i % count for i in given]


def check_not_official(
    state_dict: Mapping[str, Tensor], name: str, network: str, family: str
) -> None:
    """Check that a state dict does not have the names of the official code.

    Args:
        state_dict: The state dict to load.
        name: A parameter name that only the official code has.
        network: Name of the network, for the message.
        family: Its name in ``convert_weights.py``.

    Raises:
        InputError: The state dict has that name.
    """
    if name in state_dict:
        raise InputError(
            f'The state dict has the names of the official {network} code; convert '
            'the file first: python tools/model_converters/convert_weights.py '
            f'{family} IN OUT'
        )


def check_variant(
    network: str, given: Mapping[str, Any], own: Mapping[str, Any], remedy: str
) -> None:
    """Check that a state dict is of this variant, before PyTorch lists every tensor.

    Args:
        network: Name of the network, for the message.
        given: Properties of the variant, read from the shapes in the state dict; fewer
            if it holds only a part of the network.
        own: The same properties of the network that is to load it.
        remedy: Arguments to change, for the message.

    Raises:
        InputError: A property differs.
    """
    if any(given[key] != own[key] for key in given):
        theirs, ours = (
            ', '.join(f'{key} {value}' for key, value in variant.items())
            for variant in (given, own)
        )
        raise InputError(
            f'The state dict is that of a {network} with {theirs}; this one has '
            f'{ours}. Change {remedy}, or take another file.'
        )
