"""Look at many picture files: sizes on disk, whether they decode, class ids."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from tools.dataset_converters.prepare.archives import Progress
from tools.dataset_converters.prepare.findings import Findings

IMAGES = ('.jpg', '.jpeg', '.png')
# Decoded of each set of files unless all are asked for, evenly spread.
SAMPLE = 200


def list_files(folder: Path, suffixes: Iterable[str] = IMAGES) -> dict[str, int]:
    """Files below a folder, name relative to it -> bytes, sorted.

    Args:
        folder (Path): Need not exist.
        suffixes (Iterable[str]): Endings in lower case.
    """
    found, waiting = {}, [str(folder)] if Path(folder).is_dir() else []
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                elif entry.name.lower().endswith(tuple(suffixes)):
                    name = os.path.relpath(entry.path, folder)
                    found[name] = entry.stat().st_size
    return dict(sorted(found.items()))


def check_files(look: Findings, what: str, files: dict[str, int], folder: Path) -> None:
    """Rows for empty files and for files that do not decode.

    Args:
        look (Findings): Where the rows go.
        what (str): What the files are called.
        files (dict[str, int]): Name -> bytes, of :func:`list_files`.
        folder (Path): Where they lie.
    """
    empty = [name for name, size in files.items() if not size]
    look.faults(f'{what}: empty files', empty, len(files), 'unpack them again')
    names = chosen([name for name, size in files.items() if size], look.full)
    faults = each(lambda name: fault_of(Path(folder) / name), names, what)
    broken = [f'{name} ({fault})' for name, fault in zip(names, faults) if fault]
    look.faults(f'{what}: unreadable', broken, len(names), 'unpack them again')


def check_pairs(
    look: Findings,
    what: str,
    images: dict[str, Path],
    masks: dict[str, Path],
    ids: range,
) -> None:
    """Rows for images without masks, other sizes, and ids out of range.

    Args:
        look (Findings): Where the rows go.
        what (str): What the split is called.
        images (dict[str, Path]): Name without suffix -> image.
        masks (dict[str, Path]): Name without suffix -> label image.
        ids (range): The ids that may stand in a mask.
    """
    lonely = [f'{name} has no mask' for name in images if name not in masks]
    lonely += [f'{name} has no image' for name in masks if name not in images]
    look.faults(f'{what}: without partner', lonely, len(images), 'unpack again')
    names = chosen([name for name in images if name in masks], look.full)
    looks = each(lambda n: look_at_pair(images[n], masks[n]), names, f'{what} masks')
    broken, sizes, wrong, seen = [], [], [], set()
    for name, (fault, image, mask, found) in zip(names, looks):
        if fault:
            broken.append(f'{masks[name].name} ({fault})')
            continue
        if image != mask:
            sizes.append(f'{name} ({image[0]}x{image[1]}, mask {mask[0]}x{mask[1]})')
        seen |= found
        outside = sorted(found - set(ids))
        if outside:
            wrong.append(f'{masks[name].name} (id {", ".join(map(str, outside[:3]))})')
    total = len(names)
    look.faults(f'{what}: unreadable masks', broken, total, 'unpack them again')
    look.faults(f'{what}: masks of another size', sizes, total, 'pair the right files')
    look.faults(
        f'{what}: ids outside {ids[0]}…{ids[-1]}',
        wrong,
        total,
        'these are not the published masks (were they converted, or shifted by '
        'reduce_zero_label already?); unpack them again',
    )


def look_at_pair(image: Path, mask: Path) -> tuple:
    """Fault of the mask, sizes (width, height) of both, ids of the mask."""
    try:
        with Image.open(image) as picture:
            size = picture.size  # of the header; nothing is decoded
    except Exception:
        size = None  # told as an unreadable image
    try:
        with Image.open(mask) as picture:
            values = np.asarray(picture)
    except Exception as error:
        return reason(error), None, None, set()
    if values.ndim != 2:
        return f'{values.ndim} axes, a colour picture', None, None, set()
    height, width = values.shape
    return '', size or (width, height), (width, height), set(np.unique(values).tolist())


def fault_of(path: Path) -> str:
    """Why a picture does not decode; empty if it does."""
    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception as error:
        return reason(error)
    return ''


def reason(error: Exception) -> str:
    """An error in a few words, without the path that Pillow puts into it."""
    text = str(error).split('\n')[0].split(" '")[0]
    return text or type(error).__name__


def each(function: Callable, names: list, what: str) -> list:
    """The function of every name, on all cores, with progress where it is long."""
    results, progress = [], Progress(f'reading {what}', len(names), unit='files')
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # A million at once would be a million waiting objects.
        for start in range(0, len(names), 1000):
            results += pool.map(function, names[start : start + 1000])
            progress.add(len(results) - start)
    if progress.live and len(names) > SAMPLE:
        progress.draw('\n')
    return results


def chosen(names: list, full: bool) -> list:
    """All of the names, or an evenly spread sample."""
    if full or len(names) <= SAMPLE:
        return names
    return [names[int(i)] for i in np.linspace(0, len(names) - 1, SAMPLE)]
