"""Check that settings of segmentation which must agree do so, before training."""

from logging import Logger

from mmengine.evaluator import Evaluator
from torch import nn
from torch.utils.data import Dataset

from mmtlalign.compat.wrappers import unwrap_model, walk_datasets
from mmtlalign.errors import InputError
from mmtlalign.validation.classes import class_heads


def check_ignored_ids(
    model: nn.Module, evaluators: dict[str, Evaluator], trains: bool, logger: Logger
) -> None:
    """Check that heads, padding and metrics ignore the same id.

    Args:
        model: Model of any host, also in a wrapper.
        evaluators: Setting, such as ``'val_evaluator'``, to evaluator.
        trains: Whether the run trains, and masks may be padded.
        logger: Gets a warning if padded masks would stop the training.

    Raises:
        InputError: They ignore different ids.
    """
    model = unwrap_model(model)
    heads = {
        path: head
        for path, head in class_heads(model)
        if path.startswith(('decode_head', 'auxiliary_head'))
        and getattr(head, 'ignore_index', None) is not None
        and head.num_classes > 1  # others regress, such as depth
    }
    if not heads:
        return
    ids = {f'model.{path}.ignore_index': h.ignore_index for path, h in heads.items()}
    for setting, evaluator in evaluators.items():
        for metric in evaluator.metrics:
            if isinstance(getattr(metric, 'ignore_index', None), int):
                ids[f'{setting}.ignore_index'] = metric.ignore_index
    padding = getattr(getattr(model, 'data_preprocessor', None), 'seg_pad_val', None)
    setting = 'model.data_preprocessor.seg_pad_val'
    is_class = padding is not None and any(
        padding < head.num_classes and padding != head.ignore_index
        for head in heads.values()
    )
    if trains and is_class:
        ids[setting] = padding
    shown = ', '.join(f'{where}={number}' for where, number in ids.items())
    if len(set(ids.values())) > 1:
        raise InputError(
            f'{shown}: what one ignores another would take for a class. Set all to the '
            'id of void pixels, or leave all at 255 and map that id to 255 with '
            'mmtlalign.IgnoreLabels'
        )
    if trains and padding is not None and padding not in ids.values():
        logger.warning(
            f'{setting}={padding}, but {shown}: the first mask that is padded would '
            f'end the training. Set {setting.removeprefix("model.")} to the id that '
            'is ignored, unless all images have the size of the crop'
        )


def check_zero_labels(datasets: dict[str, Dataset], logger: Logger) -> None:
    """Check that the data sets of a run agree in ``reduce_zero_label``.

    Args:
        datasets: Setting, such as ``'train_dataloader'``, to data set.
        logger: Gets a warning if data of different folders differ.

    Raises:
        InputError: Data of the same folder differ.
    """
    first: dict[str, tuple[str, bool]] = {}
    flags: dict[bool, str] = {}
    for name, dataset in datasets.items():
        for one in walk_datasets(dataset):
            flag = getattr(one, 'reduce_zero_label', None)
            if flag is None:
                continue
            flags.setdefault(flag, name)
            root = str(getattr(one, 'data_root', None) or '')
            other, expected = first.setdefault(root, (name, flag))
            if flag != expected:
                raise InputError(
                    f'reduce_zero_label={flag} in {name}, but {expected} in {other}, '
                    f"which reads the same data_root '{root}': the labels of one would "
                    'be shifted by one class. Set the same in all data sets, and in '
                    'LoadAnnotations'
                )
    if len(flags) > 1:
        logger.warning(
            f'reduce_zero_label=True in {flags[True]} and False in {flags[False]}: '
            'unless ids of the first count from 1 and those of the second from 0, the '
            'labels of one are shifted by one class'
        )
