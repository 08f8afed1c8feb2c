"""Unwrap models, data sets and transforms of mmengine and the hosts."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

DataSet = TypeVar('DataSet')
# Steps of a pipeline that contain other steps.
HOLDERS = ('Compose', 'RandomApply', 'RandomChoice')
# Packages of steps that are known; a step of the user's own may change labels.
STOCK = ('mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg', 'mmtlalign')


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers for distribution and test-time augmentation.

    mmpretrain's ``get_ori_model`` removes only a single wrapper for distribution.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def unwrap_dataset(dataset: DataSet) -> DataSet:
    """Return the innermost data set of wrappers such as ``RepeatDataset``.

    A wrapper of several data sets, such as ``ConcatDataset``, is returned as it is.

    Args:
        dataset: A data set of any host, or the config of one.
    """
    while (inner := _get(dataset, 'dataset')) is not None:
        dataset = inner
    return dataset


def walk_datasets(dataset: DataSet) -> Iterator[DataSet]:
    """Iterate over a data set and all data sets inside it.

    Wrappers come before the data sets that they contain, because they may have a
    pipeline of their own.

    Args:
        dataset: A data set of any host, or the config of one.
    """
    yield dataset
    for inner in (_get(dataset, 'dataset'), *(_get(dataset, 'datasets') or ())):
        if inner is not None:
            yield from walk_datasets(inner)


def _get(dataset: DataSet, name: str) -> Any:
    """Return an attribute of a data set or a key of its config; None without it."""
    if isinstance(dataset, Mapping):
        return dataset.get(name)
    return getattr(dataset, name, None)


def flat_steps(pipeline: Callable | None) -> Iterator[Any]:
    """Iterate over the steps of a pipeline, with containers replaced by their steps."""
    for step in getattr(pipeline, 'transforms', []):
        for views in getattr(step, 'subroutines', ()):  # of TestTimeAug
            yield from flat_steps(views)
        if type(step).__name__ in HOLDERS:
            yield from flat_steps(step)
        else:
            yield step


def is_stock(pipeline: Callable | None) -> bool:
    """Return whether all steps are of the hosts or this package, none the user's."""
    steps = flat_steps(pipeline)
    return all(type(step).__module__.partition('.')[0] in STOCK for step in steps)


def is_a(step: Any, *kinds: str) -> bool:
    """Return whether the class of a step, or a base of it, has one of these names."""
    return any(kind.__name__ in kinds for kind in type(step).__mro__)
