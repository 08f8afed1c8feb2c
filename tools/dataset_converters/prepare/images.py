"""Checks of many image files: sizes on disk, decoding, class folders, and masks."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmtlalign.compat.image_files import is_hidden, read_header
from mmtlalign.validation.mask_files import LOSSY
from tools.dataset_converters.prepare.check_report import CheckReport
from tools.output import track

SUFFIXES = ('.jpg', '.jpeg', '.png')
# Number of files to decode of each set, evenly spread, unless all are asked for.
SAMPLE = 200
UNPUBLISHED = (
    'these are not the published masks (were they converted, or shifted by '
    'reduce_zero_label already?); unpack them again'
)


def list_files(folder: Path, suffixes: Iterable[str] = SUFFIXES) -> dict[str, int]:
    """Return the files below a folder: relative name to bytes, sorted.

    Args:
        folder: The folder, which need not exist.
        suffixes: Suffixes in lower case.
    """
    found, waiting = {}, [str(folder)] if Path(folder).is_dir() else []
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue  # tools/train.py leaves them out, too
                if entry.is_dir():
                    waiting.append(entry.path)
                elif entry.name.lower().endswith(tuple(suffixes)):
                    name = os.path.relpath(entry.path, folder)
                    there = os.path.exists(entry.path)  # not a broken link
                    found[name] = entry.stat().st_size if there else 0
    return dict(sorted(found.items()))


def check_files(
    report: CheckReport,
    what: str,
    files: dict[str, int],
    folder: Path,
    find_fault: Callable[[Path], str] | None = None,
) -> None:
    """Report empty files, and files that do not decode.

    Args:
        report: Gets the rows.
        what: Name of the files in the report.
        files: Name to bytes, from :func:`list_files`.
        folder: Their folder.
        find_fault: Returns why a file does not decode, or ''. Defaults to
            :func:`decode_fault`.
    """
    find_fault = find_fault or decode_fault
    empty = [
        name if (folder / name).exists() else f'{name} (a broken link)'
        for name, size in files.items()
        if not size
    ]
    report.faults(f'{what}: empty files', empty, len(files), report.again)
    names = sample([name for name, size in files.items() if size], report.full)
    faults = map_in_threads(lambda name: find_fault(folder / name), names, what)
    broken = [f'{name} ({fault})' for name, fault in zip(names, faults) if fault]
    report.faults(f'{what}: unreadable', broken, len(names), report.again)


def check_class_folders(
    report: CheckReport, split: str, images: int, classes: int
) -> set[str]:
    """Check classes, images and files of ``<root>/<split>/<class>/*``, and report.

    The hosts number the classes in sorted order.

    Args:
        report: Gets the rows.
        split: Folder; empty for the root itself.
        images: Published number.
        classes: Published number.

    Returns:
        The classes found.
    """
    if not report.exists(split):
        return set()
    folder, what = report.root / split, split or report.root.name
    names = {
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not is_hidden(entry.name)
    }
    report.count(
        f'{what}: classes',
        len(names),
        classes,
        f'a folder too many or too few shifts the labels; see {folder}'
        if len(names) > classes
        else '',
    )
    files = list_files(folder)
    report.count(f'{what}: images', len(files), images)
    counts = Counter(name.split('/')[0] for name in files)
    empty = sorted(name for name in names if not counts[name])
    report.faults(f'{what}: classes without an image', empty, len(names))
    stray = sorted(name for name in files if '/' not in name)
    report.faults(
        f'{what}: images in no class', stray, len(files), 'put them into class folders'
    )
    check_files(report, what, files, folder)
    return names


def check_mask_folders(
    report: CheckReport, split: str, images: str, masks: str, count: int, ids: range
) -> list[str]:
    """Check images of one folder, and masks of the same names in another.

    Args:
        report: Gets the rows.
        split: Name of the split in the report.
        images: Folder below the root.
        masks: Folder below the root.
        count: Published number of images.
        ids: Ids that a mask may have.

    Returns:
        The names of the images.
    """
    image_folder, mask_folder = report.root / images, report.root / masks
    found, labelled = list_files(image_folder), list_files(mask_folder, ['.png'])
    report.count(f'{split}: images', len(found), count)
    report.count(f'{split}: masks', len(labelled), count)
    if found:
        check_files(report, split, found, image_folder)
    if found and labelled:
        pairs = [
            {name.rsplit('.', 1)[0]: folder / name for name in names}
            for folder, names in ((image_folder, found), (mask_folder, labelled))
        ]
        check_masks(report, split, *pairs, ids)
    return list(found)


def check_masks(
    report: CheckReport,
    what: str,
    images: dict[str, Path],
    masks: dict[str, Path],
    ids: range,
    remedy: str = UNPUBLISHED,
    more: Collection[int] = (),
) -> None:
    """Report images without masks, masks of other sizes, and ids out of range.

    Args:
        report: Gets the rows.
        what: Name of the split in the report.
        images: Name without suffix to image.
        masks: Name without suffix to label image.
        ids: Ids of the classes.
        remedy: What to do about other ids.
        more: Other ids that a mask may have, such as the ignored one.
    """
    lonely = [f'{name} has no mask' for name in images if name not in masks]
    lonely += [f'{name} has no image' for name in masks if name not in images]
    report.faults(f'{what}: without partner', lonely, len(images), report.again)
    names = sample([name for name in images if name in masks], report.full)
    read = map_in_threads(
        lambda name: read_pair(images[name], masks[name]), names, f'{what} masks'
    )
    allowed = {*ids, *more}
    broken, sizes, wrong = [], [], []
    for name, (fault, image_size, mask_size, found) in zip(names, read):
        if fault:
            broken.append(f'{masks[name].name} ({fault})')
            continue
        if image_size != mask_size:
            both = '{}x{}, mask {}x{}'.format(*image_size, *mask_size)
            sizes.append(f'{name} ({both})')
        outside = sorted(found - allowed)
        if outside:
            wrong.append(f'{masks[name].name} (id {", ".join(map(str, outside[:3]))})')
    total = len(names)
    report.faults(f'{what}: unreadable masks', broken, total, report.again)
    report.faults(
        f'{what}: masks of another size', sizes, total, 'pair the right files'
    )
    report.faults(
        f'{what}: ids outside {ids[0]}…{ids[-1]}',
        wrong,
        total,
        remedy,
    )


def read_pair(
    image: Path, mask: Path
) -> tuple[str, tuple[int, int] | None, tuple[int, int] | None, set[int]]:
    """Return the fault of a mask, both sizes (width, height), and its ids."""
    header = read_header(str(image))
    size = header and header.read_size  # None: reported as an unreadable image
    try:
        with Image.open(mask) as opened:
            if opened.format in LOSSY:
                return f'{opened.format} changes ids; write PNG', None, None, set()
            values = np.asarray(opened)
    except Exception as error:
        return reason(error), None, None, set()
    if values.ndim != 2:
        return f'{values.ndim} axes, a colour image', None, None, set()
    height, width = values.shape
    return '', size or (width, height), (width, height), set(np.unique(values).tolist())


def decode_fault(path: Path) -> str:
    """Return why an image does not decode; '' if it does."""
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:
        return reason(error)
    return ''


def reason(error: Exception) -> str:
    """Return an error in a few words, without the path that Pillow puts into it."""
    text = str(error).split('\n')[0].split(" '")[0]
    return text or type(error).__name__


def map_in_threads(function: Callable[[str], Any], names: list[str], what: str) -> list:
    """Return the results of all names, computed on all cores, with a progress bar."""
    results = []
    with (
        track(f'reading {what}', len(names)) as advance,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        # In blocks, because a million tasks at once would take much memory.
        for start in range(0, len(names), 1000):
            results += pool.map(function, names[start : start + 1000])
            advance(len(results) - start)
    return results


def sample(names: list, full: bool) -> list:
    """Return all of the names, or an evenly spread sample."""
    if full or len(names) <= SAMPLE:
        return names
    return [names[int(i)] for i in np.linspace(0, len(names) - 1, SAMPLE)]
