"""Check that train, val and test data, a checkpoint and a head have the same classes.

Names and their order are compared, not the number alone: with class folders
``cat, dog, fox`` for training and ``Dog, cat, fox`` for validation, the sorted order
differs, and scores would be computed with the wrong labels.
"""

import logging
from collections.abc import Iterator, Sequence
from logging import Logger
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from torch import nn
from torch.utils.data import Dataset

from mmtlalign.compat.wrappers import walk_datasets
from mmtlalign.errors import InputError, some_of

Heads = list[tuple[str, nn.Module]]
# Attributes of the hosts' models with heads that predict the classes of the data set.
HEADS = (
    'head',
    'decode_head',
    'auxiliary_head',
    'bbox_head',
    'mask_head',
    'roi_head.bbox_head',
    'roi_head.mask_head',
)
# Heads whose `num_classes` does not count the classes of the data set.
OTHER_COUNTS = ('RPNHead', 'STDCHead', 'VPDDepthHead')


def class_heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Iterate over (name, module) of the heads that predict the data set's classes."""
    # `num_classes` of open-vocabulary detectors counts words.
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


def class_lists(dataset: Dataset) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Iterate over (kind, names) of the classes of all data sets inside of one."""
    for one in walk_datasets(dataset):
        yield from own_lists(one).items()


def own_lists(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Return the names of a data set's own classes.

    Keys are ``'classes'``, from ``metainfo``, and ``'class folders'``.
    """
    found = {}
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if isinstance(classes, (list, tuple)):
        found['classes'] = tuple(map(str, classes))
    folders = getattr(dataset, 'folder_to_idx', None)
    if folders and not getattr(dataset, 'ann_file', ''):
        found['class folders'] = tuple(sorted(folders, key=folders.get))
    return found


def check_class_names(datasets: dict[str, Dataset]) -> None:
    """Check that data sets that are used together have the same classes.

    Args:
        datasets: Setting, such as ``'train_dataloader'``, to data set; all others are
            compared with the first.

    Raises:
        InputError: Names or their order differ.
    """
    first: dict[str, tuple[str, tuple[str, ...]]] = {}
    told: set[tuple[str, ...]] = set()
    for name, dataset in datasets.items():
        for one in walk_datasets(dataset):
            check_folder_names(one, name, told)
        for kind, names in class_lists(dataset):
            where = f'{kind} of {name}'
            if kind not in first:
                first[kind] = (where, names)
            compare(first[kind][1], first[kind][0], names, where)


def check_folder_names(dataset: Dataset, name: str, told: set[tuple[str, ...]]) -> None:
    """Check that the classes of a data set have the names of its class folders.

    Warnings tell which folder gets which name, if the names are others, and that
    folders with numbers are sorted as text.

    Args:
        dataset: One data set, with or without class folders.
        name: Its setting.
        told: Folders that were checked, to which this adds.

    Raises:
        InputError: A folder has the name of another class.
    """
    own = own_lists(dataset)
    folders, classes = own.get('class folders', ()), own.get('classes', ())
    if not folders or folders in told:
        return
    plain = [[one.casefold() for one in names] for names in (folders, classes)]
    if any(f != c and f in plain[1] for f, c in zip(*plain)):
        raise other_order(folders, f'class folders of {name}', classes, 'its metainfo')
    told.add(folders)
    lines = []
    numbers = [int(folder) for folder in folders if folder.isdecimal()]
    if len(numbers) == len(folders) and numbers != sorted(numbers):
        lines.append(
            f'{name}: class folders are sorted as text, so that {some_of(folders)} '
            'have the labels 0, 1, 2 …. Lists of images with labels must count so, '
            'too; with leading zeros in the names the order is that of the numbers'
        )
    # A data set with classes of its own, such as ImageNet, knows its folders.
    known = (getattr(type(dataset), 'METAINFO', None) or {}).get('classes') or ()
    if plain[0] != plain[1] and classes != tuple(map(str, known)):
        pairs = [f'{folder} -> {one}' for folder, one in zip(folders, classes)]
        lines.append(
            f'{name}: metainfo.classes has other names than the class folders, which '
            f'are sorted: {some_of(pairs, 10)}. If a pair is wrong, correct the order'
        )
    for line in lines:
        print_log(line, logger='current', level=logging.WARNING)


def check_checkpoint_classes(
    content: Any,
    datasets: dict[str, Dataset],
    file: str,
    logger: Logger,
    resume: bool = False,
) -> None:
    """Compare the classes that a checkpoint was trained on with those of a run.

    Args:
        content: Content of the checkpoint.
        datasets: Setting of a loader to its data set; with ``'train_dataloader'`` the
            run trains the checkpoint further, without it the run evaluates it.
        file: File of the checkpoint, for the message.
        logger: Gets a warning if fine-tuning has other classes.
        resume: Whether a training run is resumed, which needs the same classes.

    Raises:
        InputError: The order differs, or, unless fine-tuning, the names.
    """
    meta = content.get('meta') if isinstance(content, dict) else None
    meta = (meta or {}).get('dataset_meta') or {}
    trained = meta.get('classes') if isinstance(meta, dict) else None
    if not isinstance(trained, (list, tuple)) or not datasets:
        return
    name, dataset = next(iter(datasets.items()))
    own = dict(class_lists(dataset)).get('classes')
    if own is None:
        return
    trained = tuple(map(str, trained))
    try:
        compare(trained, f"classes of checkpoint '{file}'", own, f'classes of {name}')
    except InputError as error:
        fine_tuning = 'train_dataloader' in datasets and not resume
        if not fine_tuning or set(trained) == set(own):
            raise
        logger.warning(f'Fine-tuning on other classes: {str(error).split(";")[0]}')


def compare(
    left: Sequence[str], left_name: str, right: Sequence[str], right_name: str
) -> None:
    """Check that two lists of classes have the same names in the same order.

    Raises:
        InputError: Names or order differ.
    """
    if tuple(left) == tuple(right):
        return
    if sorted(left) == sorted(right):
        raise other_order(left, left_name, right, right_name)
    lacking = [name for name in left if name not in set(right)]
    added = [name for name in right if name not in set(left)]
    raise InputError(
        f'{left_name} ({len(left)}) and {right_name} ({len(right)}) differ: only the '
        f'first has {some_of(lacking)}, only the second {some_of(added)}; names of '
        'folders, of metainfo=dict(classes=…) and of categories must be the same, also '
        'in upper and lower case'
    )


def other_order(
    left: Sequence[str], left_name: str, right: Sequence[str], right_name: str
) -> InputError:
    """Return the error of two lists with the same names in another order."""
    pairs = enumerate(zip(left, right))
    place = next((i for i, (a, b) in pairs if a.casefold() != b.casefold()), 0)
    start = max(min(place - 1, len(left) - 5), 0)
    return InputError(
        f'{left_name} and {right_name} have the same names in another order, so '
        f'labels would refer to other classes: from number {start} on '
        f'{list(left[start : start + 5])} and {list(right[start : start + 5])}; '
        'give both the same order'
    )


def has_sigmoid(head: nn.Module) -> bool:
    """Return whether a loss of a head takes each class on its own."""
    return any(
        getattr(module, 'use_sigmoid', False) or type(module).__name__ == 'FocalLoss'
        for module in head.modules()
    )


def check_single_class(heads: Heads) -> None:
    """Check that no head has a softmax over one class, whose loss is always 0.

    Raises:
        InputError: One has.
    """
    for path, head in heads:
        own = path.startswith(('head', 'decode_head', 'auxiliary_head'))
        if own and head.num_classes == 1 and not has_sigmoid(head):
            ways = 'or use MultiLabelLinearClsHead, which makes binary predictions'
            if not path.startswith('head'):
                ways = (
                    'or num_classes=2, out_channels=1 and loss_decode=dict('
                    "type='CrossEntropyLoss', use_sigmoid=True), which makes binary "
                    'predictions'
                )
            raise InputError(
                f'model.{path}.num_classes=1 with softmax: with one class the '
                'probability is always 1 and the loss 0. Add a second class for '
                f'everything else (num_classes=2 and two classes), {ways}'
            )


def mixes_images(model: nn.Module) -> bool:
    """Return whether a classifier of this package or of mmpretrain mixes images."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    return bool(
        getattr(model, 'mixer', None) or getattr(preprocessor, 'batch_augments', None)
    )


def check_mixed_labels(model: nn.Module, heads: Heads) -> None:
    """Check that images are not mixed for a head that needs one label per image.

    Raises:
        InputError: They are.
    """
    mixes = mixes_images(model)
    for path, head in heads:
        if mixes and any(k.__name__ == 'ArcFaceClsHead' for k in type(head).__mro__):
            raise InputError(
                f'model.{path}: {type(head).__name__} needs a single label per image '
                'for its margin, and this model mixes images. Take LinearClsHead, or '
                'leave the augments of model.train_cfg out'
            )


def check_topk(
    heads: Heads, evaluator: Evaluator | None, classes: int | None, name: str
) -> None:
    """Check ``topk`` of heads and metrics, and ``num_classes`` of metrics.

    Raises:
        InputError: ``topk`` is larger than the number of classes, or ``num_classes``
            differs from it.
    """
    counts = {f'model.{p}.topk': (h, h.num_classes) for p, h in heads}
    count = classes or next((h.num_classes for p, h in heads if p == 'head'), None)
    setting = name.replace('dataloader', 'evaluator')
    for metric in getattr(evaluator, 'metrics', ()):
        own = getattr(metric, 'num_classes', None)
        if count and isinstance(own, int) and own != count:
            raise InputError(
                f'num_classes={own} of {type(metric).__name__} in {setting}, but there '
                f'are {count} classes; set num_classes={count}'
            )
        counts[f'topk of {type(metric).__name__} in {setting}'] = (metric, count)
    for where, (owner, most) in counts.items():
        topk = getattr(owner, 'topk', None) or ()
        if isinstance(owner, nn.Module) and not getattr(owner, 'cal_acc', False):
            continue
        topk = (topk,) if isinstance(topk, int) else tuple(topk)
        if most and topk and max(topk) > most:
            right = tuple(k for k in topk if k <= most) or (1,)
            raise InputError(
                f'{where} is {topk}, but there are {most} classes; set topk={right}'
            )
