"""Compare the normalisation of images with the one that weights were trained with."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from logging import Logger
from typing import Any

import torch
from torch import nn

from mmtlalign.checkpoint.config_text import read_config_text
from mmtlalign.checkpoint.io import read_checkpoint
from mmtlalign.compat.wrappers import unwrap_model, walk_datasets
from mmtlalign.errors import InputError

NAMES = ('mean', 'std')


def normalisation_of(preprocessor: Any) -> dict[str, Any]:
    """Return mean and std of a data preprocessor, None where it has none."""
    return {name: getattr(preprocessor, name, None) for name in NAMES}


def saved_normalisation(path: str) -> dict[str, Any]:
    """Return the normalisation of the config in a checkpoint; {} without a config."""
    content = read_checkpoint(path, 'checkpoint', 'Name another file.')
    return normalisation_in(content, path)


def normalisation_in(content: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the normalisation of the config in the content of a checkpoint."""
    text = (content.get('meta') or {}).get('cfg')
    if not isinstance(text, str):
        return {}
    try:
        config = read_config_text(text, path)
    except InputError:
        return {}  # written by another program
    pre = preprocessor_of(config)
    found = {name: pre.get(name) for name in NAMES}
    return found | dict(channel_order=channel_order(config))


def normalisation_of_run(model: nn.Module, config: Mapping) -> dict[str, Any]:
    """Return the normalisation of a model that a config has built."""
    pre = getattr(unwrap_model(model), 'data_preprocessor', None)
    return normalisation_of(pre) | dict(channel_order=channel_order(config))


def warn_other_normalisation(
    content: Mapping[str, Any],
    path: str,
    model: nn.Module,
    config: Mapping,
    logger: Logger,
) -> None:
    """Warn if a checkpoint was trained on images of another normalisation."""
    given = normalisation_of_run(model, config)
    fault = other_normalisation(normalisation_in(content, path), given)
    if fault:
        logger.warning(
            f"checkpoint '{path}' was {fault}; its weights need the same normalisation"
        )


def preprocessor_of(config: Mapping) -> Mapping:
    """Return the settings of the data preprocessor of a config; {} without one."""
    model = config.get('model') or {}
    found = model.get('data_preprocessor') or config.get('data_preprocessor') or {}
    # mmdet's for several branches has the preprocessor inside.
    return found.get('data_preprocessor') or found


def pipeline_of(config: Mapping, kind: str) -> list:
    """Return the transforms of a data loader, also of a data set inside wrappers."""
    loader = config.get(f'{kind}_dataloader')
    data = (loader.get('dataset') if isinstance(loader, Mapping) else None) or {}
    found = (inner['pipeline'] for inner in walk_datasets(data) if 'pipeline' in inner)
    return next(found, None) or []


def channel_order(config: Mapping) -> str | None:
    """Return the channel order of the network's input, 'RGB' or 'BGR'.

    Files are read as BGR; arrays of data sets are RGB. None: not known, because there
    is no pipeline, another step loads images, or no data preprocessor.
    """
    pixels = preprocessor_of(config)
    pipeline = pipeline_of(config, 'train') or pipeline_of(config, 'test')
    kinds = list(_kinds(pipeline))
    from_files = any('LoadImageFromFile' in kind for kind in kinds)
    unknown = not from_files and any('Load' in kind for kind in kinds)
    if not pipeline or not pixels or unknown:
        return None
    turned = bool(pixels.get('to_rgb', pixels.get('bgr_to_rgb')))
    return 'RGB' if turned == from_files else 'BGR'


def _kinds(pipeline: Iterable[Mapping]) -> Iterator[str]:
    """Yield the types of transforms, also of those inside others."""
    for step in pipeline:
        if isinstance(step, Mapping):
            yield str(step.get('type'))
            yield from _kinds(step.get('transforms') or ())
        elif isinstance(step, Sequence):  # TestTimeAug has lists of choices
            yield from _kinds(step)


def other_normalisation(trained: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Describe how two normalisations differ; '' if they are equal or not known.

    Args:
        trained: ``mean`` and ``std`` of training, of pixels from 0 to 255, and
            ``channel_order``.
        given: Those of the model, see :func:`normalisation_of_run`.
    """
    orders = [one.get('channel_order') for one in (trained, given)]
    if None not in orders and orders[0] != orders[1]:
        return (
            f'trained on {orders[0]} images, and data_preprocessor gives {orders[1]} '
            '(to_rgb or bgr_to_rgb)'
        )
    for name in NAMES:
        one, other = trained.get(name), given.get(name)
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
