"""Refuse COCO data that do not fit the model or the metric, before the first step.

* a training set without an object that counts, or with none left by ``filter_cfg``;
* objects without masks, or a pipeline that loads none, for a model with a mask head;
* a metric that evaluates other pictures than the loader reads.

What is wrong inside a file is refused where it is read
(:mod:`mmtlalign.validation.coco_file`). mmdet answers with an error of NumPy, a
``KeyError`` of the first sample, or with no word at all.
"""

import os.path as osp
from collections.abc import Iterator, Sequence
from logging import Logger
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS
from torch import nn
from torch.utils.data import Dataset

from mmtlalign.compat.wrappers import unwrap_dataset, unwrap_model, walk_datasets
from mmtlalign.errors import InputError, some_of
from mmtlalign.validation.coco_file import OTHER_FILE, category_ids, read_json

# Pictures whose masks are checked, spread over the data set: a second at most.
CHECKED_PICTURES = 1000


def explain_coco_file(dataset: dict, empty: bool) -> str:
    """Say what is wrong with the annotation file of a data set that was not built.

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
    pictures, objects = (content.get(k) or [] for k in ('images', 'annotations'))
    if not pictures:
        return f"'{path}' has no pictures: its list 'images' is empty; {OTHER_FILE}"
    if not objects:
        return (
            f"'{path}' has {len(pictures)} pictures and no annotation: its list "
            f"'annotations' is empty, so that nothing can be learnt; {OTHER_FILE}"
        )
    if empty and dataset.get('filter_cfg'):
        return (
            f"'{path}' has {len(pictures)} pictures with {len(objects)} annotations, "
            f'and filter_cfg={dict(dataset["filter_cfg"])!r} leaves none of them '
            '(min_size is in pixels of the shorter side, and annotations count if '
            'they are of one of the classes); loosen filter_cfg or correct the file'
        )
    return ''


def check_coco_data(dataset: Dataset, model: nn.Module | None = None) -> None:
    """Check every COCO data set in ``dataset`` before the first step.

    Raises:
        InputError: There is nothing to learn in a training set, or masks are needed
            and missing.
    """
    needs_masks = has_mask_head(model)
    for one in walk_datasets(dataset):
        if not hasattr(one, 'cat_ids') or not hasattr(one, 'cat2label'):
            continue
        if not one.test_mode and next(iterate_objects(one), None) is None:
            raise InputError(
                f"'{one.ann_file}' has {len(one)} pictures without a single object "
                'that counts (of one of the classes, inside the picture, at least a '
                f'pixel wide, not a crowd), so that nothing can be learnt; {OTHER_FILE}'
            )
        steps = getattr(one.pipeline, 'transforms', ())
        if any(getattr(step, 'with_mask', False) for step in steps):
            check_object_masks(one)
        elif needs_masks and not one.test_mode:
            raise InputError(
                'The model has a mask head, but the pipeline of the training set loads '
                'no masks: set with_mask=True of LoadAnnotations, or take a detector '
                'without a mask head (Faster or Cascade R-CNN)'
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


def check_coco_metric(
    evaluator: Evaluator,
    dataset: Dataset,
    name: str,
    logger: Logger,
    model: nn.Module | None = None,
) -> None:
    """Check that COCO metrics evaluate what the loader reads.

    Raises:
        InputError: The file of a metric lists other pictures, its figures by class
            would be mixed up, or masks are to be scored and there are none.
    """
    for metric in evaluator.metrics:
        coco = getattr(metric, '_coco_api', None)
        if coco is None or not hasattr(dataset, 'get_data_info'):
            continue
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        if not all('img_id' in info for info in infos):
            continue
        setting = name.replace('dataloader', 'evaluator')
        for info in infos:
            image = coco.imgs.get(info['img_id'])
            path = osp.normpath(info['img_path'])
            # A name may begin with steps up and down.
            end = image and osp.normpath(image['file_name']).split('../')[-1]
            if image is None or not path.endswith(end):
                there = image and f'is {image["file_name"]!r} in'
                raise InputError(
                    f'{setting}: its ann_file is of other pictures than {name} reads: '
                    f'{path!r}, id {info["img_id"]!r}, {there or "is not in"} it. '
                    f'Set {setting}.ann_file to the annotation file of {name}.dataset'
                )
        extra = len(coco.imgs) - len(infos)
        if extra:
            logger.warning(
                f'{setting}: its ann_file has {extra} more pictures than {name} '
                'reads; all objects in them count as missed'
            )
        order_labels(metric, dataset.metainfo.get('classes') or (), setting)
        check_mask_metric(metric, model, setting)


def check_mask_metric(metric: Any, model: nn.Module | None, setting: str) -> None:
    """Raise InputError if a metric is to score masks that are not there."""
    if 'segm' not in getattr(metric, 'metrics', ()):
        return
    roi_head = getattr(unwrap_model(model), 'roi_head', None)
    if roi_head is not None and not has_mask_head(model):
        raise InputError(
            f"{setting}: metric has 'segm', but the model has no mask head; set "
            "metric='bbox'"
        )
    objects = metric._coco_api.anns
    without = [k for k, one in objects.items() if not one.get('segmentation')]
    if without:
        raise InputError(
            f"{setting}: metric has 'segm', but {len(without)} of {len(objects)} "
            f'annotations of its file have no mask, such as number {without[0]}; give '
            "a file with masks, or set metric='bbox'"
        )


def order_labels(metric: Any, classes: Sequence[str], setting: str) -> None:
    """Let mmdet's own metric count labels along the classes, not along its file.

    Raises:
        InputError: It would then give figures of one class to another.
    """
    coco = metric._coco_api
    ids = category_ids(coco.dataset['categories'], classes, f'ann_file of {setting}')
    if hasattr(metric, 'label_ids'):
        return  # ours, by name
    by_class = getattr(metric, 'classwise', False)
    if hasattr(metric, 'cat_ids') and not (by_class and ids != sorted(ids)):
        metric.cat_ids = ids
    elif by_class or ids != coco.get_cat_ids(cat_names=classes):
        raise InputError(
            f'{setting}: {type(metric).__name__} would mix up the classes, as the '
            f'categories of its file, with ids {some_of(ids)}, are in another order; '
            "set type='mmtlalign.CocoMetric', which goes by names"
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
