"""Check that train, val and test data, a checkpoint and a head have the same classes.

Names and their order are compared, not the number alone: with class folders
``cat, dog, fox`` for training and ``Dog, cat, fox`` for validation, the sorted order
differs, and scores would be computed with the wrong labels.
"""

from collections.abc import Iterator, Sequence
from logging import Logger
from typing import Any

from mmengine.evaluator import Evaluator
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
    """Iterate over (kind, names) of the classes of all data sets inside of one.

    Kinds are ``'classes'``, from ``metainfo``, and ``'class folders'``.
    """
    for one in walk_datasets(dataset):
        classes = (getattr(one, 'metainfo', None) or {}).get('classes')
        if isinstance(classes, (list, tuple)):
            yield 'classes', tuple(map(str, classes))
        folders = getattr(one, 'folder_to_idx', None)
        if folders and not getattr(one, 'ann_file', ''):
            yield 'class folders', tuple(sorted(folders, key=folders.get))


def check_class_names(datasets: dict[str, Dataset]) -> None:
    """Check that data sets that are used together have the same classes.

    Args:
        datasets: Setting, such as ``'train_dataloader'``, to data set; all others are
            compared with the first.

    Raises:
        InputError: Names or their order differ.
    """
    first: dict[str, tuple[str, tuple[str, ...]]] = {}
    for name, dataset in datasets.items():
        own = dict(class_lists(dataset))
        if 'classes' in own and 'class folders' in own:
            classes, folders = own['classes'], own['class folders']
            if set(classes) == set(folders):
                compare(folders, f'class folders of {name}', classes, 'its metainfo')
        for kind, names in class_lists(dataset):
            where = f'{kind} of {name}'
            if kind not in first:
                first[kind] = (where, names)
            compare(first[kind][1], first[kind][0], names, where)


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
        place = next(i for i, pair in enumerate(zip(left, right)) if pair[0] != pair[1])
        start = max(min(place - 1, len(left) - 5), 0)
        raise InputError(
            f'{left_name} and {right_name} have the same names in another order, so '
            f'labels would refer to other classes: from number {start} on '
            f'{list(left[start : start + 5])} and {list(right[start : start + 5])}; '
            'give both the same order'
        )
    lacking = [name for name in left if name not in set(right)]
    added = [name for name in right if name not in set(left)]
    raise InputError(
        f'{left_name} ({len(left)}) and {right_name} ({len(right)}) differ: only the '
        f'first has {some_of(lacking)}, only the second {some_of(added)}; names of '
        'folders, of metainfo=dict(classes=…) and of categories must be the same, also '
        'in upper and lower case'
    )


def check_single_class(heads: Heads) -> None:
    """Check that no head has a softmax over one class, whose loss is always 0.

    Raises:
        InputError: One has.
    """
    for path, head in heads:
        own = path.startswith(('head', 'decode_head', 'auxiliary_head'))
        sigmoid = any(
            getattr(module, 'use_sigmoid', False) for module in head.modules()
        )
        if own and head.num_classes == 1 and not sigmoid:
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


def check_mixed_labels(model: nn.Module, heads: Heads) -> None:
    """Check that images are not mixed for a head that needs one label per image.

    Raises:
        InputError: They are.
    """
    preprocessor = getattr(model, 'data_preprocessor', None)
    mixes = getattr(model, 'mixer', None) or getattr(
        preprocessor, 'batch_augments', None
    )
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
