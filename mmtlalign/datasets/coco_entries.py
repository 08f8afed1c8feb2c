"""Check single entries of a COCO file: images, categories, annotations and masks.

Data sets, metrics and ``tools/dataset_converters/check_data.py`` share these checks.
They run over all annotations, so they decode no mask and read few coordinates.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from mmtlalign.errors import InputError, some_of

# Keys that mmdet and pycocotools need in every entry of a list.
KEYS = dict(
    images=('id', 'file_name', 'height', 'width'),
    annotations=('id', 'image_id', 'category_id', 'bbox'),
    categories=('id', 'name'),
)
SINGULAR = dict(images='image', annotations='annotation', categories='category')
NUMBERS = {int, float}
MASK_RULE = (
    'a mask is a list of polygons, each a flat list x1, y1, x2, y2, … of at least '
    'three points'
)


def is_size(value: Any) -> bool:
    """Return whether a value is a positive number."""
    return type(value) in NUMBERS and value > 0


def is_box(box: Any) -> bool:
    """Return whether a value is a list of four finite numbers."""
    if type(box) is not list or len(box) != 4 or not {*map(type, box)} <= NUMBERS:
        return False
    return math.isfinite(sum(box))


def is_area(value: Any) -> bool:
    """Return whether a value is a finite number, or missing."""
    return value is None or type(value) in NUMBERS and math.isfinite(value)


def is_flag(value: Any) -> bool:
    """Return whether a value is 0 or 1, or missing."""
    return value is None or value in (0, 1)


# List to key: what its value must be, and the rule for the user.
RULES: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = dict(
    images=dict(
        height=(is_size, 'it must be a positive number, in pixels'),
        width=(is_size, 'it must be a positive number, in pixels'),
    ),
    annotations=dict(
        bbox=(
            is_box,
            'a box is four numbers, x and y of its corner, width and height',
        ),
        area=(is_area, 'it must be a number, in square pixels'),
        iscrowd=(is_flag, 'it must be the number 0 or 1'),
    ),
    categories={},
)


def find_fault(kind: str, entry: Any) -> str:
    """Return what is wrong with an entry of a list; '' if nothing is.

    Args:
        kind: Name of the list: ``'images'``, ``'annotations'`` or ``'categories'``.
        entry: Entry of the list.
    """
    if not isinstance(entry, dict):
        return f"an entry of '{kind}' is {str(entry)[:60]}; every one must be a dict"
    lacking = [key for key in KEYS[kind] if key not in entry]
    if lacking:
        return (
            f"an entry of '{kind}' has no {some_of(lacking)}, {shorten(entry)}; every "
            f'one needs {", ".join(KEYS[kind])}'
        )
    for key, (is_valid, rule) in RULES[kind].items():
        if not is_valid(entry.get(key)):
            name = f'{SINGULAR[kind]} {entry["id"]!r}'
            return f'{name} has {key}={entry.get(key)!r}; {rule}'
    return ''


def find_mask_fault(one: dict, image: dict | None) -> str:
    """Return what is wrong with the mask of an annotation; '' if nothing is.

    mmdet would ignore the object, or read the mask in another shape, without a message.

    Args:
        one: Annotation; one without a mask has no fault.
        image: Entry of its image; None if the file does not list it.
    """
    mask = one.get('segmentation')
    if not mask:
        return ''
    if not isinstance(mask, dict):
        if isinstance(mask, list) and are_polygons(mask):
            return ''
        return (
            f'annotation {one["id"]!r} has segmentation={str(mask)[:60]}; {MASK_RULE}'
        )
    if not isinstance(mask.get('counts'), (list, str, bytes)):
        return f"annotation {one['id']!r} has a mask without 'counts': an RLE needs it"
    if image is None or mask.get('size') == [image['height'], image['width']]:
        return ''
    return (
        f'annotation {one["id"]!r} has a mask (RLE) of size={mask.get("size")!r}, but '
        f'its image has height {image["height"]} and width {image["width"]}; encode '
        'the mask in the size of the image, height first'
    )


def are_polygons(mask: list) -> bool:
    """Return whether a list holds flat lists of x and y, the first with three points.

    mmdet drops later polygons of fewer points, which have no area.
    """
    for polygon in mask:
        if not isinstance(polygon, list) or len(polygon) % 2:
            return False
        if polygon and type(polygon[0]) not in NUMBERS:
            return False
    return len(mask[0]) >= 6


def check_masks(content: dict, path: str) -> None:
    """Check the masks of a COCO file.

    Raises:
        InputError: A mask is of a wrong form or size.
    """
    images = {image['id']: image for image in content['images']}
    for one in content['annotations']:
        fault = find_mask_fault(one, images.get(one['image_id']))
        if fault:
            raise InputError(f'{path}: {fault}')


def find_masks_off_boxes(annotations: list[dict]) -> str:
    """Return a line if most polygons begin outside the boxes of their objects, or ''.

    Single ones are no fault: boxes may be of visible parts, or clipped to the image.

    Args:
        annotations: Valid annotations with valid masks.
    """
    away, total = [], 0
    for one in annotations:
        mask = one.get('segmentation')
        if not mask or isinstance(mask, dict):
            continue
        total += 1
        x, y, width, height = one['bbox']
        left, top = mask[0][:2]
        if not (x - 1 <= left <= x + width + 1 and y - 1 <= top <= y + height + 1):
            away.append(one)
    if len(away) <= total / 2:
        return ''
    first = away[0]
    return (
        f'the polygons of {len(away)} of {total} annotations begin outside their '
        f'boxes, such as that of annotation {first["id"]!r} at '
        f'{first["segmentation"][0][:2]}, with bbox={first["bbox"]}; both must be in '
        'pixels of the image'
    )


def find_repeated_files(images: list[dict]) -> list[str]:
    """Return the file names that several entries of ``images`` have."""
    counts = Counter(image['file_name'] for image in images)
    return [name for name, count in counts.items() if count > 1]


def shorten(entry: dict) -> str:
    """Return an entry of a COCO file in one short line."""
    return str({k: v for k, v in entry.items() if k != 'segmentation'})[:120]
