"""Refuse COCO files that do not hold what a detection config asks of them.

Refused before the first step, with the name of the file:

* a file that is no JSON, cut short, no COCO file, or without pictures or annotations;
* a file whose categories are not the classes of the data set;
* a training set without an object that counts, or with none left by ``filter_cfg``;
* objects without masks, or a pipeline that loads none, for a model with a mask head.

mmdet answers an empty file with an error of NumPy, a file without masks with a
``KeyError`` of the first sample, and a file of other categories with other labels, or
with no word at all.
"""

import json
import os.path as osp
from collections.abc import Iterator, Sequence

from mmengine.registry import DATASETS
from torch import nn
from torch.utils.data import Dataset

from mmtlalign.compat.wrappers import unwrap_dataset, unwrap_model, walk_datasets
from mmtlalign.errors import InputError

# Pictures whose masks are checked, spread over the data set: a second at most.
CHECKED_PICTURES = 1000
OTHER_FILE = 'set ann_file to a COCO file with images, annotations and categories'


def explain_coco_file(dataset: dict, empty: bool) -> str:
    """Say what is wrong with the annotation file of a data set that was not built.

    Args:
        dataset: Its config; wrappers with one data set inside are opened.
        empty: Whether the error was that it had no sample.

    Returns:
        The message for the user; empty if it is no COCO data set, its file is not
        there, or nothing is wrong with it.
    """
    dataset = unwrap_dataset(dataset)
    path = osp.join(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    if not isinstance(dataset.get('type'), str) or not osp.isfile(path):
        return ''
    with DATASETS.switch_scope_and_registry(None) as registry:
        cls = registry.get(dataset['type'])
    if not hasattr(cls, 'COCOAPI'):
        return ''
    content = read_json(path)
    if isinstance(content, str):
        return content
    pictures, objects = (content.get(k) or [] for k in ('images', 'annotations'))
    if not pictures:
        return f"'{path}' has no pictures: its list 'images' is empty; {OTHER_FILE}"
    if not objects:
        return (
            f"'{path}' has {len(pictures)} pictures and no annotation: its list "
            f"'annotations' is empty, so that nothing can be learnt; {OTHER_FILE}"
        )
    classes = (dataset.get('metainfo') or {}).get('classes') or cls.METAINFO['classes']
    names = [category['name'] for category in content.get('categories') or []]
    if not set(names) & set(classes):
        return describe_categories(path, names, classes)
    if empty and dataset.get('filter_cfg'):
        return (
            f"'{path}' has {len(pictures)} pictures with {len(objects)} annotations, "
            f'and filter_cfg={dict(dataset["filter_cfg"])!r} leaves none of them '
            '(min_size is in pixels of the shorter side, and annotations count if '
            'they are of one of the classes); loosen filter_cfg or correct the file'
        )
    return ''


def read_json(path: str) -> dict | str:
    """Return the content of a COCO file, or what is wrong with it."""
    try:
        with open(path, encoding='utf-8') as stream:
            content = json.load(stream)
    except ValueError as error:
        return (
            f"'{path}' is no JSON file, or cut short ({error}); copy or download it "
            'again'
        )
    if not isinstance(content, dict) or 'images' not in content:
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        return f"'{path}' is no COCO file: it holds {found}; {OTHER_FILE}"
    return content


def describe_categories(path: str, names: Sequence[str], classes: Sequence[str]) -> str:
    """Return the message for a file whose categories are not the classes."""
    lacking = [name for name in classes if name not in names]
    return (
        f"'{path}' has no category for {len(lacking)} of the {len(classes)} classes of "
        f'the data set (such as {lacking[:3]}); its {len(names)} categories are called '
        f'{list(names[:5])}{" …" if len(names) > 5 else ""}. Labels are counted along '
        'the categories that are found, so all classes have to be; set '
        'dataset.metainfo=dict(classes=(…)) to the names of the file, in its order, '
        'for training and validation, and num_classes of the heads to their number'
    )


def check_coco_data(dataset: Dataset, model: nn.Module | None = None) -> None:
    """Check every COCO data set in ``dataset`` before the first step.

    Args:
        dataset: Of any host; wrappers are opened, and whatever is not mmdet's
            ``CocoDataset`` is left alone.
        model: The detector; one with a mask head needs masks.

    Raises:
        InputError: The categories of the file are not the classes, there is nothing
            to learn in a training set, or masks are needed and missing.
    """
    for one in walk_datasets(dataset):
        if hasattr(one, 'cat_ids') and hasattr(one, 'cat2label'):
            check_coco_dataset(one, needs_masks=has_mask_head(model))


def check_coco_dataset(dataset: Dataset, needs_masks: bool) -> None:
    """Check one ``CocoDataset``.

    Args:
        dataset: Built.
        needs_masks: Whether the model has a mask head.

    Raises:
        InputError: As for :func:`check_coco_data`.
    """
    classes = dataset.metainfo['classes']
    if len(dataset.cat_ids) != len(classes):
        with open(dataset.ann_file, encoding='utf-8') as stream:
            categories = json.load(stream)['categories']
        names = [category['name'] for category in categories]
        raise InputError(describe_categories(dataset.ann_file, names, classes))
    if not dataset.test_mode and next(iterate_objects(dataset), None) is None:
        raise InputError(
            f"'{dataset.ann_file}' has {len(dataset)} pictures without a single object "
            'that counts (of one of the classes, inside the picture, at least a pixel '
            f'wide, not a crowd), so that nothing can be learnt; {OTHER_FILE}'
        )
    steps = getattr(dataset.pipeline, 'transforms', ())
    if any(getattr(step, 'with_mask', False) for step in steps):
        check_object_masks(dataset)
    elif needs_masks and not dataset.test_mode:
        raise InputError(
            'The model has a mask head, but the pipeline of the training set loads no '
            'masks: set with_mask=True of LoadAnnotations, or take a detector without '
            'a mask head (Faster or Cascade R-CNN)'
        )


def check_object_masks(dataset: Dataset) -> None:
    """Raise InputError if objects of the file have no mask."""
    step = max(len(dataset) // CHECKED_PICTURES, 1)
    found = list(iterate_objects(dataset, range(0, len(dataset), step)))
    without = [path for path, instance in found if 'mask' not in instance]
    if without:
        raise InputError(
            f"'{dataset.ann_file}': {len(without)} of {len(found)} objects looked at "
            f"have no mask, those of '{without[0]}' for one: a box, and no or an empty "
            "'segmentation'; but LoadAnnotations(with_mask=True) reads masks for a "
            'mask head. Give a file with masks, or train boxes alone: a detector '
            "without mask head, with_mask=False, and metric='bbox'"
        )


def iterate_objects(
    dataset: Dataset, numbers: Sequence[int] | None = None
) -> Iterator[tuple[str, dict]]:
    """Iterate over (path of the picture, instance) of every object that counts."""
    for number in range(len(dataset)) if numbers is None else numbers:
        info = dataset.get_data_info(number)
        for instance in info['instances']:
            if not instance['ignore_flag']:
                yield info['img_path'], instance


def has_mask_head(model: nn.Module | None) -> bool:
    """Return whether a detector of mmdet predicts masks."""
    model = unwrap_model(model)
    heads = (model, getattr(model, 'roi_head', None))
    return any(getattr(head, 'mask_head', None) is not None for head in heads)
