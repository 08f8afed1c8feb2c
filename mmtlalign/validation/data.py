"""Refuse data that do not fit the model, before the first step.

Refused, whatever the host:

* a data set that is empty, or too small for one whole batch;
* a head, or the one-hot labels, that count other classes than the data set;
* class names given as one text;
* masks with ids of more than 8 bits (and, as a warning, ids that are shifted twice);
* label maps that do not fit (:mod:`mmtlalign.validation.label_maps`).

A head with too many classes trains, and is scored, without a word. The hosts' own
checks (mmpretrain's ``ClassNumCheckHook``, mmdet's ``NumClassCheckHook``) are
assertions on every module with a ``num_classes``: mmseg has none, heads that count
something else fail, and neither files nor masks are looked at.
"""

import io
from collections.abc import Iterator
from logging import Logger

import numpy as np
from mmengine.fileio import get
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmtlalign.compat.wrappers import unwrap_dataset, unwrap_model, walk_datasets
from mmtlalign.errors import InputError
from mmtlalign.validation.coco import explain_coco_file
from mmtlalign.validation.label_maps import Heads, check_label_maps
from mmtlalign.validation.samples import limit_labels

# Where the hosts keep heads that count the classes of the data set.
HEADS = (
    'head',
    'decode_head',
    'auxiliary_head',
    'bbox_head',
    'mask_head',
    'roi_head.bbox_head',
    'roi_head.mask_head',
)
# Heads whose `num_classes` is another number: object or not, boundary or not, depth.
OTHER_COUNTS = ('RPNHead', 'STDCHead', 'VPDDepthHead')
# Masks read before the start, spread over the data set.
MASKS = 4


def explain_build_error(error: Exception, dataset: object) -> str:
    """Say what is wrong with a data set that a host could not build.

    Args:
        error: What the host or mmengine raised.
        dataset: The config of the data set.

    Returns:
        The message for the user; empty if the data are not the cause.
    """
    if not isinstance(dataset, dict):
        return ''  # built before
    # An error of NumPy, maybe put into other words on its way here.
    text = f'{error} {error.__cause__}'
    empty = 'at least one array to concatenate' in text
    fault = explain_coco_file(dataset, empty)
    if fault:
        return fault
    dataset = unwrap_dataset(dataset)
    keys = ('data_root', 'data_prefix', 'ann_file')
    where = ', '.join(f'{key}={dataset[key]!r}' for key in keys if dataset.get(key))
    kind = dataset.get('type')
    if empty or text.startswith('Found 0 files'):
        return (
            f'data set {kind} ({where}) is empty: no image was found there, or '
            f'filter_cfg={dataset.get("filter_cfg")!r} took all; check the paths, the '
            'suffixes and the annotation file'
        )
    if text.startswith('The number of subfolders'):
        return (
            f'data set {kind} ({where}): {error} A class without a folder would shift '
            'the labels of all that follow'
        )
    return ''


def check_data(model: nn.Module, loader: DataLoader, name: str, logger: Logger) -> None:
    """Check that a data loader gives what the heads of a model expect.

    Args:
        model: Of any host, maybe wrapped.
        loader: Built, not started.
        name: Its setting, such as ``'train_dataloader'``, for the messages.
        logger: Warned of masks and label maps that look wrong but may be right.

    Raises:
        InputError: There are no samples or no whole batch, a head has another number
            of classes than the data, masks cannot be class ids, or label maps do not
            fit.
    """
    model, dataset = unwrap_model(model), loader.dataset
    check_length(loader, name)
    heads = list(class_heads(model))
    check_classes(model, heads, dataset, name)
    check_label_maps(model, heads, dataset, name, logger)
    limit_labels(dataset, *label_range(heads))
    for line in check_masks(dataset, name):
        logger.warning(line)


def check_length(loader: DataLoader, name: str) -> None:
    """Raise InputError for a loader without a sample or without a whole batch."""
    if not hasattr(loader.dataset, '__len__'):
        return  # a stream
    samples = len(loader.dataset)
    if not samples:
        raise InputError(
            f'{name}: the data set {type(loader.dataset).__name__} has no sample left; '
            'check data_root, data_prefix and ann_file, and filter_cfg, which may have '
            'taken all'
        )
    if not len(loader):
        raise InputError(
            f'{name}: {samples} samples make no batch of {loader.batch_size} with '
            f'drop_last=True; set {name}.batch_size to {samples} or less'
        )


def class_heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Iterate over name and module of the heads that count the data set's classes."""
    # Open-vocabulary detectors count words.
    if hasattr(model, 'language_model'):
        return
    for name in HEADS:
        head = model
        for part in name.split('.'):
            head = getattr(head, part, None)
        is_list = isinstance(head, nn.ModuleList)
        for number, one in enumerate(head if is_list else [head]):
            kinds = [kind.__name__ for kind in type(one).__mro__]
            if (
                isinstance(getattr(one, 'num_classes', None), int)
                and not any(kind.endswith(OTHER_COUNTS) for kind in kinds)
                and not getattr(one, 'class_agnostic', False)
            ):
                yield f'{name}[{number}]' if is_list else name, one


def check_classes(model: nn.Module, heads: Heads, dataset: Dataset, name: str) -> None:
    """Raise InputError if a head, or the one-hot labels, count other classes."""
    info = getattr(dataset, 'metainfo', None) or {}
    classes = info.get('classes')
    if classes is None:
        return
    if isinstance(classes, str):
        raise InputError(
            f'{name}: metainfo.classes is the text {classes!r}, of which each letter '
            f'would be a class; write a tuple, classes=({classes!r},)'
        )
    # Panoptic data: detection heads see only the things.
    right = {len(classes), len(info.get('thing_classes') or classes)}
    counts = {f'model.{path}': head.num_classes for path, head in heads}
    one_hot = getattr(getattr(model, 'data_preprocessor', None), 'num_classes', None)
    if one_hot and hasattr(model, 'head'):
        counts['data_preprocessor'] = one_hot
    binary = {f'model.{path}' for path, head in heads if is_binary(head)}
    for path, count in counts.items():
        if count in right or (path in binary and right <= {1, 2}):
            continue
        shown = ', '.join(map(str, classes[:3])) + (', …' if len(classes) > 3 else '')
        raise InputError(
            f'{path}.num_classes={count}, but the data set of {name} '
            f'({type(dataset).__name__}) has {len(classes)} classes ({shown}). '
            f'Set {path}.num_classes={len(classes)}, or metainfo=dict(classes=…) of '
            'the data set, if it holds other classes'
        )


def is_binary(head: nn.Module) -> bool:
    """Return whether a segmentation head has one output for two classes."""
    return getattr(head, 'out_channels', None) == 1


def label_range(heads: Heads) -> tuple[int, set[int]]:
    """Return the number of labels that heads take (0: no limit) and the ignored ids.

    Detection heads are left out: their labels are made by the host.
    """
    own = [head for path, head in heads if path.startswith(('head', 'decode_head'))]
    counts = [2 if is_binary(head) else head.num_classes for head in own]
    ids = (getattr(head, 'ignore_index', None) for head in own)
    ignored = {number for number in ids if number is not None}
    return max(counts, default=0), ignored or {255}


def check_masks(dataset: Dataset, name: str) -> list[str]:
    """Read a few masks of a segmentation data set as they are in the files.

    The host reads ids as 8 bits, and shifts them if ``reduce_zero_label`` says so;
    afterwards some mistakes cannot be told from other data.

    Args:
        dataset: Of any host; wrappers are followed to the first inside.
        name: The loader's setting.

    Returns:
        What looks wrong but may be right.

    Raises:
        InputError: Ids need more than 8 bits.
    """
    found = (d for d in walk_datasets(dataset) if hasattr(d, 'reduce_zero_label'))
    dataset = next(found, None)
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', [])
    if not any(type(step).__name__ == 'LoadAnnotations' for step in transforms):
        return []  # no masks, or a reader of the user's own
    void = []
    for number in np.unique(np.linspace(0, len(dataset) - 1, MASKS).astype(int)):
        path = dataset.get_data_info(int(number)).get('seg_map_path')
        mask = read_mask(path) if path else None
        if mask is None or mask.ndim != 2:
            continue  # a file that cannot be read is named when its sample is
        if mask.max() > 255:
            raise InputError(
                f"{name}: mask '{path}' holds id {mask.max()}, but ids are read as 8 "
                'bits (0…255), and larger ones would turn into other classes; write '
                'the masks anew as 8-bit PNG'
            )
        if 255 in mask:
            void.append(path)
    if not (dataset.reduce_zero_label and void):
        return []
    return [
        f"{name}: reduce_zero_label=True makes id 0 void, but mask '{void[0]}' has "
        'void pixels (255) already. If 0 is a class there, the labels are shifted '
        'twice: set reduce_zero_label=False in the data set and in LoadAnnotations'
    ]


def read_mask(path: str) -> np.ndarray | None:
    """Read a label image as it is in the file: (H, W) of ids; None if unreadable."""
    try:
        return np.asarray(Image.open(io.BytesIO(get(path))))
    except Exception:
        return None
