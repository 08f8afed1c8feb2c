"""Compare the normalisation of images with the one that weights were trained with."""

from collections.abc import Mapping
from typing import Any

import torch

from mmtlalign.checkpoint.config_text import read_config_text
from mmtlalign.checkpoint.io import read_checkpoint
from mmtlalign.errors import InputError

NAMES = ('mean', 'std')


def normalisation_of(preprocessor: Any) -> dict[str, Any]:
    """Return mean and std of a data preprocessor, None where it has none."""
    return {name: getattr(preprocessor, name, None) for name in NAMES}


def saved_normalisation(path: str) -> dict[str, Any]:
    """Return mean and std of the config in a checkpoint; {} without a config."""
    content = read_checkpoint(path, 'checkpoint', 'Name another file.')
    text = (content.get('meta') or {}).get('cfg')
    if not isinstance(text, str):
        return {}
    try:
        config = read_config_text(text, path)
    except InputError:
        return {}  # written by another program
    model = config.get('model') or {}
    pre = model.get('data_preprocessor') or config.get('data_preprocessor') or {}
    return {name: pre.get(name) for name in NAMES}


def other_normalisation(trained: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Describe how two normalisations differ; '' if they are equal or not known.

    Args:
        trained: ``mean`` and ``std`` of training, of pixels from 0 to 255.
        given: Those of :func:`normalisation_of`.
    """
    for name, one in trained.items():
        other = given.get(name)
        if one is None or other is None or getattr(other, 'is_meta', False):
            continue
        one = torch.tensor(one, dtype=torch.float32).flatten()
        other = torch.as_tensor(other).detach().cpu().float().flatten()
        if one.shape != other.shape or not torch.allclose(one, other, atol=0.01):
            return (
                f'trained on images with {name}={_rounded(one)}, and '
                f'data_preprocessor has {name}={_rounded(other)}'
            )
    return ''


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 3) for value in values.tolist()]
