"""Check segmentation masks before training: ids beyond 8 bits, classes in no mask."""

import time
from logging import Logger

import numpy as np
from torch.utils.data import Dataset

from mmtlalign.compat.wrappers import flat_steps, is_a, is_stock, walk_datasets
from mmtlalign.errors import InputError, some_of
from mmtlalign.validation.mask_files import depth_fault, read_mask
from mmtlalign.validation.samples import NamedPipeline

# Number of masks to read, spread over the data set, and the limit in seconds.
MASKS = 400
SECONDS = 3.0


def check_masks(dataset: Dataset, name: str, logger: Logger) -> None:
    """Check masks of segmentation data sets as they are in the files.

    mmseg reads ids as 8 bits, and shifts them with ``reduce_zero_label``; afterwards
    some mistakes can no longer be seen.

    Raises:
        InputError: Ids need more than 8 bits, masks of the ids 0 and 255 are used for
            two classes (a warning if time ran out before), or a mask is one that
            training would refuse later.
    """
    for one in walk_datasets(dataset):
        steps = list(flat_steps(getattr(one, 'pipeline', None)))
        reads = any(is_a(step, 'LoadAnnotations') for step in steps)
        if reads and hasattr(one, 'reduce_zero_label'):
            void = {i for step in steps for i in getattr(step, 'labels', ())}
            check_mask_ids(one, void, name, logger)


def check_mask_ids(dataset: Dataset, void: set[int], name: str, logger: Logger) -> None:
    """Check the masks of one data set, whose pipeline ignores the ids ``void``."""
    classes = tuple(dataset.metainfo.get('classes') or ())
    raw, looked = read_ids(dataset, void, name)
    if dataset.reduce_zero_label and 255 in raw:
        logger.warning(
            f"{name}: reduce_zero_label=True makes id 0 void, but mask '{raw[255]}' "
            'has void pixels (255) already. If 0 is a class there, the labels are '
            'shifted twice: set reduce_zero_label=False in the data set and in '
            'LoadAnnotations'
        )
    used = {number: class_of(number, dataset, void) for number in raw}
    named = [f'{one} (id {number})' for number, one in enumerate(classes)]
    absent = [one for number, one in enumerate(named) if number not in used.values()]
    whole = looked == len(dataset)
    binary = set(raw) == {0, 255} and len(classes) == 2 and used[0] == 0
    # As if every id were reduced by 1, and 0 had been a class.
    shifted = dataset.reduce_zero_label and 0 in raw and absent == named[-1:]
    telling = whole or binary or shifted or 2 * len(absent) > len(classes)
    if not absent or not looked or not telling:
        return
    fault = (
        f'{name}: {len(absent)} of {len(classes)} classes are in none of the {looked} '
        f'masks{"" if whole else " checked"}: {some_of(absent)}; the files hold ids '
        f'{some_of(sorted(raw), 12)}'
    )
    ignored = sorted(number for number in raw if used[number] == 255)
    if ignored:
        fault += f', of which {some_of(ignored)} are ignored'
    if binary:
        fault += (
            f'. A model that always predicts {classes[0]!r} would always be '
            'right; write the masks again with 1 in place of 255'
        )
        if looked >= min(len(dataset), MASKS):
            raise InputError(fault)
    elif shifted:
        fault += (
            '. If id 0 is a class: set reduce_zero_label=False in the data set and in '
            'LoadAnnotations'
        )
    logger.warning(fault)


def read_ids(dataset: Dataset, void: set[int], name: str) -> tuple[dict[int, str], int]:
    """Read masks spread evenly over the data set, or all if there are few.

    Args:
        dataset: Its pipeline checks the masks, as it does when it prepares a sample.
        void: Ids that the pipeline ignores.
        name: Setting of the data set.

    Returns:
        A dict from each id in the files to the first mask that has it, and the number
        of masks that were read.

    Raises:
        InputError: Ids need more than 8 bits, or a mask is wrong otherwise.
    """
    pipeline = dataset.pipeline
    checks = isinstance(pipeline, NamedPipeline) and is_stock(pipeline)
    raw: dict[int, str] = {}
    looked, end = 0, time.monotonic() + SECONDS
    numbers = np.unique(np.linspace(0, len(dataset) - 1, MASKS).astype(int))
    # In random order, so that the masks are spread even if time runs out.
    for number in np.random.default_rng(0).permutation(numbers):
        info = dataset.get_data_info(int(number))
        path = info.get('seg_map_path')
        mask = read_mask(path) if path else None
        if mask is None:
            continue  # reported when the sample is loaded
        if checks:
            pipeline.check_files(info, mask)
        if mask.ndim != 2:
            continue  # a step of the user's own may make ids of colours
        fault = depth_fault(mask)
        if fault:
            raise InputError(f"{name}: mask '{path}' {fault}")
        present = np.flatnonzero(np.bincount(mask.ravel().astype(np.uint8))).tolist()
        if checks:
            pipeline.check_ids(info, {class_of(one, dataset, void) for one in present})
        for found in present:
            raw.setdefault(found, path)
        looked += 1
        if time.monotonic() > end:
            break
    return raw, looked


def class_of(number: int, dataset: Dataset, void: set[int]) -> int:
    """Return the class that mmseg makes of an id in a file; 255 if it is ignored."""
    if dataset.reduce_zero_label:
        number = 255 if number in (0, 255) else number - 1
    number = (dataset.label_map or {}).get(number, number)
    return 255 if number in void else number
