"""Read a COCO file with labels by class name, and report what is left out.

mmdet's data sets and ``mmtlalign.CocoMetric`` read their files with this, so that
training and both backends of the evaluation see the same annotations.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from mmtlalign.datasets.coco_entries import (
    KEYS,
    find_fault,
    find_repeated_files,
    shorten,
)
from mmtlalign.errors import InputError, some_of

OTHER_FILE = 'set ann_file to a COCO file with images, annotations and categories'
# A reason to leave annotations out that may be intended.
UNUSED = 'of a category that is not a class of the data set'


def read_json(path: str) -> dict:
    """Read a COCO file, with or without a byte-order mark.

    Raises:
        InputError: It is not JSON, or not a COCO file.
    """
    try:
        with open(path, encoding='utf-8-sig') as stream:
            content = json.load(stream)
    except ValueError as error:
        raise InputError(
            f"'{path}' is not a JSON file, or is cut short ({error}); copy or download "
            'it again'
        ) from error
    if not isinstance(content, dict) or 'images' not in content:
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise InputError(f"'{path}' is not a COCO file: it holds {found}; {OTHER_FILE}")
    return content


def open_coco(api: type, path: str) -> Any:
    """Return ``api(path)`` with the content of the file checked and completed.

    Its ``get_cat_ids`` returns ids in the order of the names that are passed; mmdet's
    returns them in the order of the file. Its ``loadCats`` accepts an id of any type;
    pycocotools' takes text for a list of ids.

    Raises:
        InputError: The content of the file is wrong.
    """
    content = read_json(path)
    is_detection = has_objects(content)
    if is_detection:
        check_entries(content, path)
    coco = api()
    coco.notices = complete(content, path) if is_detection else []
    coco.dataset = content
    coco.createIndex()
    # mmdet uses both names.
    coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
    in_order = coco.get_cat_ids

    def get_cat_ids(
        cat_names: Sequence[str] = (), *args: Any, **kwargs: Any
    ) -> list[int]:
        if not cat_names:
            return in_order(cat_names, *args, **kwargs)
        return category_ids(content['categories'], cat_names, path)

    def load_categories(ids: Any = ()) -> list[dict]:
        listed = ids if isinstance(ids, (list, tuple)) else [ids]
        return [coco.cats[one] for one in listed]

    coco.get_cat_ids, coco.loadCats = get_cat_ids, load_categories
    coco.is_detection = is_detection
    return coco


def has_objects(content: dict) -> bool:
    """Return whether annotations are objects, not panoptic segments or captions."""
    first = (content.get('annotations') or [{}])[0]
    return not {'segments_info', 'caption'} & set(first)


def number_annotations(coco: Any) -> None:
    """Renumber the annotations of a metric from 1, as both backends need.

    pycocotools takes a match with annotation 0 for none, and faster-coco-eval needs
    integers, also where annotations refer to an image or a category. Call it after the
    checks, whose messages name the ids of the file.
    """
    if not has_objects(coco.dataset):
        return
    images, categories = ({key: key for key in ids} for ids in (coco.imgs, coco.cats))
    coco.anns = dict(enumerate(coco.dataset.get('annotations', ()), 1))
    for number, one in coco.anns.items():
        # A float becomes the equal integer.
        image, category = one['image_id'], one['category_id']
        one.update(
            id=number,
            image_id=images.get(image, image),
            category_id=categories.get(category, category),
        )


def check_entries(content: dict, path: str) -> None:
    """Check that the lists of a COCO file are consistent.

    Raises:
        InputError: Entries lack a key or have a value of a wrong type, ids or names are
            not unique, or an annotation is of a category that does not exist.
    """
    for kind in KEYS:
        for entry in content.setdefault(kind, []):
            fault = find_fault(kind, entry)
            if fault:
                raise InputError(f"'{path}': {fault}")
        check_unique(f"'{path}'", f"ids of '{kind}'", (e['id'] for e in content[kind]))
    names = [category['name'] for category in content['categories']]
    check_unique(f"'{path}'", 'names of categories', names)
    types = {type(image['id']).__name__ for image in content['images']}
    if len(types) > 1:
        raise InputError(
            f"'{path}': ids of images are of types {some_of(sorted(types))}; write "
            'all as numbers, here and in image_id'
        )
    check_links(content, path, 'image_id', 'images')
    check_links(content, path, 'category_id', 'categories')


def check_unique(path: str, what: str, values: Iterable) -> None:
    """Check that no value occurs twice.

    Raises:
        InputError: One does.
    """
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise InputError(
            f'{path}: {what} occur more than once, {some_of(twice, 3)}; each must be '
            'unique: renumber, or merge duplicates'
        )


def check_links(content: dict, path: str, key: str, kind: str) -> None:
    """Check that annotations refer to existing entries of the same type of id.

    Annotations of pictures that the file does not list are allowed, because pictures
    may have been removed from it; they are counted later.

    Raises:
        InputError: A category does not exist, or ids have different types.
    """
    ids = {entry['id'] for entry in content[kind]}
    lost = [one for one in content['annotations'] if one[key] not in ids]
    if not lost:
        return
    first, known = lost[0], sorted(ids, key=str)
    found = f'{len(lost)} of {len(content["annotations"])} annotations'
    if str(first[key]) in set(map(str, ids)):
        raise InputError(
            f"'{path}': {found} have {key}={first[key]!r} as "
            f"{type(first[key]).__name__}, but the ids of '{kind}' are of type "
            f'{type(known[0]).__name__}; write both with the same type'
        )
    if kind == 'categories':
        low, high = ids and min(known, key=str), ids and max(known, key=str)
        raise InputError(
            f"'{path}': {found} have a category_id that no category has, such as "
            f'{first[key]!r} of annotation {first["id"]}; the {len(ids)} categories '
            f'have ids {low!r} to {high!r}. If labels count from 0 and categories from '
            '1, all labels are shifted: write the file again with the ids of the '
            'categories'
        )


def complete(content: dict, path: str) -> list[str]:
    """Fill in ``iscrowd`` and ``area``, which both backends of the evaluation need.

    A missing ``iscrowd`` becomes 0, a missing ``area`` that of the box, as in the files
    that mmdet writes itself.

    Returns:
        Lines for the user about what was missing, and images that occur twice.
    """
    found: Counter[str] = Counter()
    for one in content['annotations']:
        if one.get('iscrowd') is None:
            one['iscrowd'] = 0
            found['iscrowd (taken as 0)'] += 1
        if one.get('area') is None:
            one['area'] = one['bbox'][2] * one['bbox'][3]
            found['area (taken as that of the box)'] += 1
    total = len(content['annotations'])
    lines = [
        f"'{path}': {count} of {total} annotations have no {key}"
        for key, count in found.items()
    ]
    repeated = find_repeated_files(content['images'])
    if repeated:
        lines.append(
            f"'{path}': {len(repeated)} images occur under several ids, "
            f'{some_of(repeated, 3)}; objects of one id are background for the others: '
            'give them one id'
        )
    return lines


def category_ids(
    categories: list[dict], classes: Sequence[str], path: str
) -> list[int]:
    """Return the id of the category of each class, in the order of the classes.

    Raises:
        InputError: A class has no category.
    """
    ids: dict[str, list[int]] = defaultdict(list)
    for category in categories:
        ids[category['name']].append(category['id'])
    classes = [classes] if isinstance(classes, str) else classes
    if any(name not in ids for name in classes):
        raise InputError(describe_categories(path, list(ids), classes))
    return [number for name in classes for number in ids[name]]


def describe_categories(path: str, names: Sequence[str], classes: Sequence[str]) -> str:
    """Return the error message for a file that has no category for some classes."""
    lacking = [name for name in classes if name not in names]
    return (
        f"'{path}' has no category for {len(lacking)} of the {len(classes)} classes of "
        f'the data set (such as {lacking[:3]}); its {len(names)} categories are called '
        f'{list(names[:5])}{" …" if len(names) > 5 else ""}. Set '
        'dataset.metainfo=dict(classes=(…)) to names of the file for training and '
        'validation, and num_classes of the heads to their number'
    )


def count_dropped(content: dict, path: str, classes: Sequence[str]) -> list[str]:
    """Count the annotations that mmdet's loader leaves out, by reason.

    Returns:
        Lines for the user, with an example for each reason.

    Raises:
        InputError: No annotation is left.
    """
    images = {image['id']: image for image in content['images']}
    names = {c['id']: c['name'] for c in content['categories']}
    wanted, reasons, corners = set(classes), defaultdict(list), []
    for one in content['annotations']:
        image = images.get(one['image_id'])
        x, y, width, height = one['bbox']
        if image is None:
            reasons['whose image is not in the file'].append(one)
            continue
        if names[one['category_id']] not in wanted:
            reasons[UNUSED].append(one)
        elif one.get('ignore'):
            reasons["marked by 'ignore'"].append(one)
        elif width < 1 or height < 1 or one['area'] <= 0:
            reasons['less than a pixel wide or high, or without area'].append(one)
        elif min(x + width, image['width']) <= max(x, 0) or (
            min(y + height, image['height']) <= max(y, 0)
        ):
            reasons['outside the image'].append(one)
        fits = width <= image['width'] + 1 and height <= image['height'] + 1
        beyond = x + width > image['width'] + 1 or y + height > image['height'] + 1
        corners.append(beyond if fits and width > x and height > y else None)
    total, dropped = len(content['annotations']), sum(map(len, reasons.values()))
    lines = [
        f"'{path}': {len(found)} of {total} annotations are left out, {reason}: such "
        f'as {shorten(found[0])}'
        for reason, found in reasons.items()
    ]
    if dropped and dropped == total and images:
        raise InputError(f'{"; ".join(lines)}. None is left: correct the file')
    if None not in corners and any(corners):
        lines.append(
            f"'{path}': boxes look like two corners (x1, y1, x2, y2): read as x, y, "
            f'width, height {corners.count(True)} of {total} extend beyond their '
            'images. If they are corners, replace the second corner by width and height'
        )
    return lines
