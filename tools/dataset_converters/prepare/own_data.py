"""Checks of the user's own data: class folders, pictures with masks, COCO files."""

import argparse
from collections import Counter
from collections.abc import Container
from pathlib import Path

import mmcv
import numpy as np
from PIL import Image

from mmtlalign.compat.image_files import PICTURES
from mmtlalign.datasets.coco_entries import (
    KEYS,
    find_fault,
    find_mask_fault,
    find_masks_off_boxes,
    find_repeated_files,
)
from mmtlalign.datasets.coco_file import check_entries, read_json
from mmtlalign.errors import InputError
from tools.dataset_converters.prepare.check_report import CheckReport
from tools.dataset_converters.prepare.coco import size_differs
from tools.dataset_converters.prepare.images import (
    SUFFIXES,
    check_files,
    check_masks,
    decode_fault,
    list_files,
    sample,
)

IGNORED = 255


def check_classes(
    report: CheckReport,
    splits: list[str],
    extensions: list[str],
    images: int | None = None,
) -> None:
    """Check that every split has the same classes, each with pictures that decode.

    Args:
        report: Gets the rows.
        splits: Folders of class folders.
        extensions: Suffixes of the pictures that the data set reads.
        images: Pictures that each class must have; None for at least one.
    """
    endings = tuple(extension.lower() for extension in extensions)
    first: list[str] = []
    for split in splits:
        if not report.exists(
            split, f'make {report.root / split}, with one folder per class'
        ):
            continue
        folder = report.root / split
        names = sorted(
            entry.name
            for entry in folder.iterdir()
            if entry.is_dir() and not entry.name.startswith('.')
        )
        found = list_files(folder, (*PICTURES, *endings))
        others = Counter(
            Path(name).suffix for name in found if not name.lower().endswith(endings)
        )
        report.faults(
            f'{split}: images left out',
            [f'{count} with {other}' for other, count in others.items()],
            len(found),
            'name all suffixes with --extensions, and set extensions=(…) of the data '
            'sets in the config, or convert the images',
        )
        found = {n: size for n, size in found.items() if n.lower().endswith(endings)}
        first = first or names
        counts = Counter(name.split('/')[0] for name in found)
        other = [f'{n} is only in {split}' for n in names if n not in first]
        other += [f'{n} is not in {split}' for n in first if n not in names]
        report.faults(
            f'{split}: other classes than {splits[0]}',
            other,
            len(names),
            'give the class folders of all splits exactly the same names',
        )
        empty = [name for name in names if not counts[name]]
        report.faults(f'{split}: classes without an image', empty, len(names))
        if images:
            report.faults(
                f'{split}: classes without exactly {images} images',
                [f'{n} {counts[n]}' for n in names if counts[n] != images],
                len(names),
                'use the part of the data that the comparison was made with',
            )
        stray = [name for name in found if '/' not in name]
        report.faults(
            f'{split}: images in no class',
            stray,
            len(found),
            'put them into class folders',
        )
        check_files(report, split, found, folder, reading_fault)
    if first:
        report.count('classes: num_classes of the head', len(first), len(first))


def reading_fault(path: Path) -> str:
    """Return why training could not read an image; '' if it can."""
    fault = decode_fault(path)
    if fault or path.suffix.lower() in SUFFIXES:
        return fault
    # OpenCV reads fewer of the other formats than Pillow.
    if mmcv.imfrombytes(path.read_bytes()) is None:
        return 'OpenCV, which training reads it with, cannot'
    return ''


def check_segmentation(report: CheckReport, args: argparse.Namespace) -> None:
    """Check pairs of pictures and masks, and that every class occurs."""
    low = 1 if args.reduce_zero_label else 0
    ids = range(low, args.classes + low)
    for pair in args.splits:
        images, _, masks = pair.partition(':')
        if not all([report.exists(images), report.exists(masks)]):
            continue
        stems: list[dict[str, Path]] = []
        for folder, suffix in (
            (images, args.img_suffix),
            (masks, args.seg_map_suffix),
        ):
            found = list_files(report.root / folder, [''])
            fitting = {n: size for n, size in found.items() if n.endswith(suffix)}
            others = Counter(Path(n).suffix for n in found if n not in fitting)
            report.faults(
                f'{folder}: files without {suffix}',
                [f'{count} with {other}' for other, count in others.items()],
                len(found),
                'name the suffix: --img-suffix or --seg-map-suffix, and the same in '
                'the config',
            )
            reader = reading_fault if folder == images else None
            check_files(report, folder, fitting, report.root / folder, reader)
            stems.append({n[: -len(suffix)]: report.root / folder / n for n in fitting})
        check_masks(
            report,
            images,
            *stems,
            ids,
            'correct the masks, or give the right --classes, --reduce-zero-label and '
            '--ignore',
            {IGNORED, *args.ignore, *range(low)},
        )
        check_occurring(report, images, list(stems[1].values()), ids)


def check_occurring(
    report: CheckReport, split: str, masks: list[Path], ids: range
) -> None:
    """Report the classes that occur in no mask, which reads all masks."""
    seen: set[int] = set()
    for path in masks:
        if seen >= set(ids):
            break
        try:
            with Image.open(path) as mask:
                seen |= set(np.unique(np.asarray(mask)).tolist())
        except OSError:
            continue  # reported as unreadable
    absent = [f'id {number}' for number in ids if number not in seen]
    report.faults(
        f'{split}: classes in no mask',
        absent,
        len(ids),
        'check the number of classes, and that ids are 0, 1, 2 … and not 0 and 255',
    )


def check_coco(report: CheckReport, splits: list[str]) -> None:
    """Check annotation files, and that they match their pictures and each other."""
    first: list[tuple[int, str]] = []
    for pair in splits:
        name, _, folder = pair.rpartition(':')
        if not all([report.exists(name), report.exists(folder)]):
            continue
        content = read_content(report, name)
        if content is None:
            continue
        images = {image['id']: image for image in content['images']}
        categories = [(kind['id'], kind['name']) for kind in content['categories']]
        first = first or categories
        other = [] if categories == first else [f'{categories} and not {first}']
        report.faults(
            f'{name}: other categories than before',
            other,
            1,
            'list the same ids and names in the same order in all files',
        )
        files = list_files(report.root / folder, PICTURES)
        check_files(report, folder, files, report.root / folder)
        lost = [i['file_name'] for i in images.values() if i['file_name'] not in files]
        report.faults(f'{name}: images not in {folder}', lost, len(images))
        there = [i for i in images.values() if files.get(i['file_name'])]
        there = sample(there, report.full)
        wrong = [i['file_name'] for i in there if size_differs(report.root / folder, i)]
        report.faults(
            f'{name}: another size than the image',
            wrong,
            len(there),
            'if the images were resized, resize boxes and masks too',
        )
        repeated = find_repeated_files(content['images'])
        report.faults(f'{name}: images under several ids', repeated, len(images))
        check_instances(report, name, content['annotations'], images, dict(categories))
        try:
            check_entries(content, name)
            faults = []
        except InputError as error:
            faults = [error]
        report.faults(f'{name}: refused by training', faults, 1)
    if first:
        names = tuple(name for _, name in first)
        report.count(f'classes={names!r}', len(names), len(names))


def read_content(report: CheckReport, name: str) -> dict | None:
    """Read a COCO file, and report entries of a wrong form; None if there are any."""
    try:
        content = read_json(str(report.root / name))
        lists = {kind: content.get(kind) for kind in KEYS}
        faults = [
            f"it has no list '{kind}'"
            for kind, entries in lists.items()
            if not isinstance(entries, list)
        ]
    except InputError as error:
        content, faults = {}, [str(error)]
    if not faults:
        found = (find_fault(kind, entry) for kind in KEYS for entry in content[kind])
        faults = [fault for fault in found if fault]
    report.faults(f'{name}: form', faults, 1, 'write it in COCO format')
    return None if faults else content


def check_instances(
    report: CheckReport, name: str, instances: list, images: dict, known: Container
) -> None:
    """Report annotations that a loader would drop or misread, by their ids."""
    faults: dict[str, list] = {
        'duplicate ids': [],
        'of no image': [],
        'of no category': [],
        'boxes of no size': [],
        'boxes beyond the image': [],
        'without a mask': [],
    }
    counts = Counter(one['id'] for one in instances)
    twice = [number for number, times in counts.items() if times > 1]
    faults['duplicate ids'] += twice
    masks = []
    for one in instances:
        number, image = one['id'], images.get(one['image_id'])
        x, y, w, h = one['bbox']
        if image is None:
            faults['of no image'].append(number)
        elif x + w > image['width'] + 1 or y + h > image['height'] + 1:
            faults['boxes beyond the image'].append(f'{number} {one["bbox"]}')
        if one['category_id'] not in known:
            faults['of no category'].append(f'{number} ({one["category_id"]})')
        if w <= 0 or h <= 0:
            faults['boxes of no size'].append(number)
        if not one.get('segmentation'):
            faults['without a mask'].append(number)
        fault = find_mask_fault(one, image)
        if fault:
            masks.append(fault)
    report.faults(f'{name}: wrong masks', masks, len(instances), 'correct the file')
    away = '' if masks else find_masks_off_boxes(instances)
    report.faults(f'{name}: masks outside their boxes', [away] if away else [], 1)
    remedies = {
        'of no category': 'check that ids count from the same number in categories',
        'boxes beyond the image': 'a box is x, y, width, height, not two corners',
        'without a mask': 'train without mask head, or add segmentation',
    }
    for what, found in faults.items():
        names = [f'annotation {one}' for one in found]
        remedy = remedies.get(what, 'correct the file')
        report.faults(f'{name}: {what}', names, len(instances), remedy)
