"""A COCO file must hold what the config asks of it.

mmdet answers an empty file with an error of NumPy, a file without masks with a
``KeyError`` of the first sample, and a file of other categories with other labels, or
with no word at all.
"""

import functools
import json
import os.path as osp
from collections.abc import Callable, Iterator, Sequence

from mmengine.model import is_model_wrapper
from mmengine.registry import DATASETS

from mmtlalign.errors import InputError
from mmtlalign.validation.samples import inside

# Pictures whose masks are looked at, spread over the data set: a second at most.
LOOKED_AT = 1000


def explains_coco_files(build: Callable) -> Callable:
    """Decorator of ``build_dataloader``: a COCO file it fails on is explained."""

    @functools.wraps(build)
    def wrapped(dataloader, *args, **kwargs):
        try:
            return build(dataloader, *args, **kwargs)
        except Exception as error:
            # Of NumPy, maybe put into other words on its way here.
            empty = 'at least one array' in f'{error} {error.__cause__}'
            fault = explain_coco_file(dataloader['dataset'], empty)
            if fault:
                raise InputError(fault) from error
            raise

    return wrapped


def explain_coco_file(dataset: dict, empty: bool) -> str:
    """Say what is wrong with the annotation file of a data set that was not built.

    Args:
        dataset: Its config; wrappers with one data set inside are followed.
        empty: Whether the error was that it had no sample.

    Returns:
        The message for the user; empty if it is no COCO data set, its file is not
        there, or nothing is wrong with it.
    """
    while isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
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
        return describe_other_names(path, names, classes)
    if empty and dataset.get('filter_cfg'):
        return (
            f"'{path}' has {len(pictures)} pictures with {len(objects)} annotations, "
            f'and filter_cfg={dict(dataset["filter_cfg"])!r} leaves none of them '
            '(min_size is in pixels of the shorter side, and annotations count if '
            'they are of one of the classes); loosen filter_cfg or correct the file'
        )
    return ''


OTHER_FILE = 'set ann_file to a COCO file with images, annotations and categories'


def read_json(path: str) -> dict | str:
    """The content of a COCO file, or what is wrong with it."""
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


def describe_other_names(path: str, names: Sequence[str], classes: Sequence[str]):
    """The message for categories that are not the classes."""
    lacking = [name for name in classes if name not in names]
    return (
        f"'{path}' has no category for {len(lacking)} of the {len(classes)} classes of "
        f'the data set (such as {lacking[:3]}); its {len(names)} categories are called '
        f'{list(names[:5])}{" …" if len(names) > 5 else ""}. Labels are counted along '
        'the categories that are found, so all classes have to be; set '
        'dataset.metainfo=dict(classes=(…)) to the names of the file, in its order, '
        'for training and validation, and num_classes of the heads to their number'
    )


def check_coco_data(dataset, model=None) -> None:
    """Check every COCO data set in ``dataset`` before the first step.

    Args:
        dataset (Dataset): Of any host; wrappers are followed, and whatever is not
            mmdet's ``CocoDataset`` is left alone.
        model (nn.Module, optional): The detector; one with a mask head needs masks.

    Raises:
        InputError: The categories of the file are not the classes, there is nothing
            to learn in a training set, or masks are needed and missing.
    """
    for leaf in leaves(dataset):
        if hasattr(leaf, 'cat_ids') and hasattr(leaf, 'cat2label'):
            check_one(leaf, needs_masks=has_mask_head(model))


def check_one(dataset, needs_masks: bool) -> None:
    """As :func:`check_coco_data` for one ``CocoDataset``.

    Args:
        dataset (CocoDataset): Built.
        needs_masks: Whether the model has a mask head.
    """
    classes = dataset.metainfo['classes']
    if len(dataset.cat_ids) != len(classes):
        content = read_json(dataset.ann_file)
        names = [category['name'] for category in content['categories']]
        raise InputError(describe_other_names(dataset.ann_file, names, classes))
    if not dataset.test_mode and next(objects(dataset), None) is None:
        raise InputError(
            f"'{dataset.ann_file}' has {len(dataset)} pictures without a single object "
            'that counts (of one of the classes, inside the picture, at least a pixel '
            f'wide, not a crowd), so that nothing can be learnt; {OTHER_FILE}'
        )
    loads = loads_masks(dataset)
    if needs_masks and not loads and not dataset.test_mode:
        raise InputError(
            'The model has a mask head, but the pipeline of the training set loads no '
            'masks: set with_mask=True of LoadAnnotations, or take a detector without '
            'a mask head (Faster or Cascade R-CNN)'
        )
    if loads:
        check_masks(dataset)


def check_masks(dataset) -> None:
    """Raise if objects of the file have no mask."""
    step = max(len(dataset) // LOOKED_AT, 1)
    found = list(objects(dataset, range(0, len(dataset), step)))
    without = [path for path, instance in found if 'mask' not in instance]
    if without:
        raise InputError(
            f"'{dataset.ann_file}': {len(without)} of {len(found)} objects looked at "
            f"have no mask, those of '{without[0]}' for one: a box, and no or an empty "
            "'segmentation'; but LoadAnnotations(with_mask=True) reads masks for a "
            'mask head. Give a file with masks, or train boxes alone: a detector '
            "without mask head, with_mask=False, and metric='bbox'"
        )


def objects(dataset, numbers: Sequence[int] | None = None) -> Iterator[tuple]:
    """(path of the picture, instance) of every object that counts."""
    for number in range(len(dataset)) if numbers is None else numbers:
        info = dataset.get_data_info(number)
        for instance in info['instances']:
            if not instance['ignore_flag']:
                yield info['img_path'], instance


def loads_masks(dataset) -> bool:
    """Whether a transform of the pipeline reads masks."""
    transforms = getattr(dataset.pipeline, 'transforms', ())
    return any(getattr(transform, 'with_mask', False) for transform in transforms)


def has_mask_head(model) -> bool:
    """Whether a detector of mmdet predicts masks."""
    while is_model_wrapper(model) or type(model).__name__.endswith('TTAModel'):
        model = model.module
    heads = (model, getattr(model, 'roi_head', None))
    return any(getattr(head, 'mask_head', None) is not None for head in heads)


def leaves(dataset) -> Iterator:
    """The data sets inside wrappers such as ``RepeatDataset``, ``ConcatDataset``."""
    inner = inside(dataset)
    if not inner:
        yield dataset
    for one in inner:
        yield from leaves(one)
