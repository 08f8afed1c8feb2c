"""Check that COCO data fit the model and the metric, before the first step.

Errors are:

* a training set without a valid object, or with none left by ``filter_cfg``;
* objects without masks, or a pipeline that loads none, for a model with a mask head;
* a metric that evaluates other pictures than the loader reads.

The content of a file is checked where it is read
(:mod:`mmtlalign.datasets.coco_file`). mmdet itself raises an error of NumPy, a
``KeyError`` at the first sample, or nothing at all.
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
from mmtlalign.datasets.coco_entries import check_masks
from mmtlalign.datasets.coco_file import (
    OTHER_FILE,
    category_ids,
    number_annotations,
    read_json,
)
from mmtlalign.errors import InputError, some_of

# Number of pictures whose masks are checked, spread over the data set; takes at most a
# second.
CHECKED_PICTURES = 1000


def explain_coco_file(dataset: dict, empty: bool) -> str:
    """Explain what is wrong with the annotation file of a data set that did not build.

    Returns:
        The message for the user; '' if it is not a COCO data set, its file does not
        exist, or no fault is found.
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
        return f"'{path}' has no images: its list 'images' is empty; {OTHER_FILE}"
    if not objects:
        return (
            f"'{path}' has {len(pictures)} images and no annotation: its list "
            f"'annotations' is empty, so there is nothing to learn; {OTHER_FILE}"
        )
    if empty and dataset.get('filter_cfg'):
        return (
            f"'{path}' has {len(pictures)} images with {len(objects)} annotations, and "
            f'filter_cfg={dict(dataset["filter_cfg"])!r} removes all of them (min_size '
            'is in pixels of the shorter side, and annotations count if they are of '
            'one of the classes); loosen filter_cfg or correct the file'
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
                f"'{one.ann_file}' has {len(one)} images without a single object that "
                'counts (of one of the classes, inside the image, at least a pixel '
                f'wide, not a crowd), so there is nothing to learn; {OTHER_FILE}'
            )
        if mask_loaders(one):
            check_object_masks(one)
        elif needs_masks and not one.test_mode:
            raise InputError(
                'The model has a mask head, but the pipeline of the training set loads '
                'no masks: set with_mask=True of LoadAnnotations, or take a detector '
                'without a mask head (Faster or Cascade R-CNN)'
            )


def check_object_masks(dataset: Dataset) -> None:
    """Check that the objects of a file have masks that the pipeline reads.

    Raises:
        InputError: Some of those that are looked at have none, or are ignored because
            only polygons are read.
    """
    step = max(len(dataset) // CHECKED_PICTURES, 1)
    found = list(iterate_objects(dataset, range(0, len(dataset), step)))
    without = [path for path, instance in found if 'mask' not in instance]
    if without:
        raise InputError(
            f"'{dataset.ann_file}': {len(without)} of {len(found)} checked objects "
            f"have no mask, for example those of '{without[0]}': they have a box, and "
            "no or an empty 'segmentation'; but LoadAnnotations(with_mask=True) reads "
            'masks for a mask head. Give a file with masks, or train boxes alone: a '
            "detector without mask head, with_mask=False, and metric='bbox'"
        )
    if all(getattr(step, 'poly2mask', True) for step in mask_loaders(dataset)):
        return
    coded = [path for path, instance in found if isinstance(instance['mask'], dict)]
    if coded and not dataset.test_mode:
        raise InputError(
            f"'{dataset.ann_file}': the masks of {len(coded)} of {len(found)} checked "
            f"objects, for example those of '{coded[0]}', are in RLE, and "
            'LoadAnnotations(poly2mask=False) ignores such objects; remove '
            'poly2mask=False, or give polygons'
        )


def check_coco_metric(
    evaluator: Evaluator,
    dataset: Dataset,
    name: str,
    logger: Logger,
    model: nn.Module | None = None,
) -> None:
    """Check that COCO metrics evaluate the pictures and classes that the loader reads.

    Their annotations are numbered, as pycocotools requires.

    Raises:
        InputError: The file of a metric lists other pictures or objects, its results
            per class would be assigned to wrong classes, or masks are to be scored and
            there are none.
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
            # `file_name` may begin with '../'.
            end = image and osp.normpath(image['file_name']).split('../')[-1]
            if image is None or not path.endswith(end):
                place = image and f'is {image["file_name"]!r} there' or 'is not in it'
                raise InputError(
                    f'{setting}: its ann_file is not that of {name}: the image with id '
                    f'{info["img_id"]!r}, {path!r}, {place}. Set {setting}.ann_file to '
                    f'the annotation file of {name}.dataset'
                )
        extra = len(coco.imgs) - len(infos)
        if extra:
            logger.warning(
                f'{setting}: its ann_file has {extra} more images than {name} reads; '
                'all objects in them count as missed'
            )
        order_labels(metric, dataset.metainfo.get('classes') or (), setting)
        check_boxes(coco, infos, setting, name)
        check_mask_metric(metric, model, setting)
        number_annotations(coco)


def check_boxes(coco: Any, infos: Sequence[dict], setting: str, name: str) -> None:
    """Check that a metric's file has most boxes of the data set.

    Files of two splits may have the same image ids and file names.

    Raises:
        InputError: It lacks more than half of them.
    """
    known = set()
    for one in coco.anns.values():
        if 'bbox' not in one:  # a list, of panoptic segments
            return
        left, top, width, height = one['bbox']
        known.add((one['image_id'], left, top, left + width, top + height))
    own = [
        (info['img_id'], *instance['bbox'])
        for info in infos
        for instance in info.get('instances', ())
        if 'bbox' in instance
    ]
    found = sum(box in known for box in own)
    if 2 * found < len(own):
        raise InputError(
            f'{setting}: its ann_file is not that of {name}: it has only {found} of '
            f'its {len(own)} boxes, for the same image ids and file names. Set '
            f'{setting}.ann_file to the annotation file of {name}.dataset'
        )


def check_mask_metric(metric: Any, model: nn.Module | None, setting: str) -> None:
    """Check that there are masks for a metric that scores them.

    Raises:
        InputError: The model has no mask head, or an annotation has no valid mask.
    """
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
    check_masks(metric._coco_api.dataset, f'{setting}: its ann_file')


def order_labels(metric: Any, classes: Sequence[str], setting: str) -> None:
    """Make mmdet's metric number labels by the data set's classes, not by its file.

    Raises:
        InputError: The metric would still assign results to wrong classes.
    """
    coco = metric._coco_api
    ids = category_ids(coco.dataset['categories'], classes, f'ann_file of {setting}')
    if hasattr(metric, 'label_ids'):
        return  # mmtlalign.CocoMetric, which finds classes by name
    by_class = getattr(metric, 'classwise', False)
    if hasattr(metric, 'cat_ids') and not (by_class and ids != sorted(ids)):
        metric.cat_ids = ids
    elif by_class or ids != coco.get_cat_ids(cat_names=classes):
        raise InputError(
            f'{setting}: {type(metric).__name__} would mix up the classes, because the '
            f'categories of its file, with ids {some_of(ids)}, are in another order; '
            "set type='mmtlalign.CocoMetric', which matches classes by name"
        )


def iterate_objects(
    dataset: Dataset, numbers: Sequence[int] | None = None
) -> Iterator[tuple[str, dict]]:
    """Iterate over (path of the picture, instance) of all objects not ignored."""
    for number in range(len(dataset)) if numbers is None else numbers:
        info = dataset.get_data_info(number)
        for instance in info['instances']:
            if not instance['ignore_flag']:
                yield info['img_path'], instance


def mask_loaders(dataset: Dataset) -> list:
    """Return the steps of a data set's pipeline that load masks."""
    steps = getattr(dataset.pipeline, 'transforms', ())
    return [step for step in steps if getattr(step, 'with_mask', False)]


def has_mask_head(model: nn.Module | None) -> bool:
    """Return whether a detector of mmdet predicts masks."""
    model = unwrap_model(model)
    heads = (model, getattr(model, 'roi_head', None))
    return any(getattr(head, 'mask_head', None) is not None for head in heads)
