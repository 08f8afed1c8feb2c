"""Find and read images with masks or boxes of their objects."""

from pathlib import Path
from typing import Any, NamedTuple

from mmtlalign.errors import InputError
from tools.evaluation.context import Context

COCO = 'coco/annotations/instances_val2017.json'
VOC = 'VOCdevkit/VOC2012'
PACK = dict(
    type='PackInputs', algorithm_keys=('gt_seg_map', 'object_mask', 'object_boxes')
)
PACK_BOXES = dict(type='PackInputs', algorithm_keys=('object_boxes',))
BOXES = 'mmtlalign.BoxedObjects'


def default_objects(data: Path) -> str | None:
    """Return VOC 2012 or COCO in the data folder, or None if there is neither."""
    found = (data / VOC, data / COCO)
    return next((str(path) for path in found if path.exists()), None)


class FoundObjects(NamedTuple):
    """A data set of images with objects.

    Attributes:
        settings: Its config; None if there is none.
        source: Its file or folder.
        remedy: What to do if there is none.
    """

    settings: dict[str, Any] | None
    source: str = ''
    remedy: str = ''


def find_objects(context: Context) -> FoundObjects:
    """Return the data set with objects, or what to do if there is none.

    Data with boxes only have the type :data:`BOXES`.

    Raises:
        InputError: ``--objects`` names no such data.
    """
    named = context.options.objects
    if named is not None:
        return FoundObjects(_config_of(context, Path(named)), named)
    remedy = (
        f'neither {context.data / VOC} nor {context.data / COCO} exists; name '
        'another with --objects'
    )
    return FoundObjects(None, remedy=remedy)


def masks_missing(context: Context) -> str | None:
    """Return why there are no masks of objects, or None if there are."""
    found = find_objects(context)
    if found.settings is None:
        return found.remedy
    only_boxes = found.settings['type'] == BOXES
    return f'{found.source} has boxes, no masks' if only_boxes else None


def _config_of(context: Context, path: Path) -> dict[str, Any]:
    masks = 'mmtlalign.SegmentedObjects'
    if path.suffix == '.json' and path.is_file():
        # instances_val2017.json lies beside the folder val2017.
        split = path.stem.rpartition('_')[2]
        folders = [path.parent.parent / split, path.parent / split, path.parent]
        images = next((folder for folder in folders if folder.is_dir()), path.parent)
        prefix = dict(img_path=str(images))
        return dict(type=masks, ann_file=str(path), data_prefix=prefix)
    if (path / 'SegmentationClass').is_dir():
        return dict(type=masks, data_root=str(path))
    listed = path.suffix == '.txt' and path.is_file()
    if listed or (path.is_dir() and next(path.rglob('*.xml'), None)):
        prefix = dict(img_path=str(context.data / 'imagenet'))
        return dict(type=BOXES, ann_file=str(path), data_prefix=prefix)
    raise InputError(
        f"--objects '{path}' is not a COCO instances file (.json), not a folder of "
        'Pascal VOC with SegmentationClass, and has no ImageNet boxes (a folder of '
        '.xml, or localization.txt). Name one of these.'
    )


def build_objects(context: Context, squash: bool) -> Any:
    """Build the images with objects at the size of the network.

    Args:
        context: Its options name the data.
        squash: Whether to resize images to the network's size whatever their aspect
            ratio, as measures of boxes need; else resize to 256 / 224 of the size and
            crop the centre.
    """
    settings, _, remedy = find_objects(context)
    if settings is None:
        raise InputError(remedy)
    height, width = context.image_size
    shape: dict[str, Any] = dict(resize=(height, width))
    if settings['type'] == BOXES:
        return context.build(dict(settings, pipeline=[PACK_BOXES], **shape))
    if not squash:
        short = round(min(height, width) * 256 / 224)
        shape = dict(resize=short, crop=(height, width))
    return context.build(dict(settings, pipeline=[PACK], **shape))
