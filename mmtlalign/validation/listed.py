"""Check the files and labels that data sets list, before the first step."""

import logging
import os.path as osp

import numpy as np
from mmengine.logging import print_log
from torch.utils.data import Dataset

from mmtlalign.compat.wrappers import flat_steps, is_a, is_stock, walk_datasets
from mmtlalign.errors import InputError, some_of
from mmtlalign.validation.samples import NamedPipeline

# Number of samples whose files must exist, spread over the data set; and the key of the
# file that a pipeline step reads.
CHECKED_FILES = 16
LOADERS = {'LoadImageFromFile': 'img_path', 'LoadAnnotations': 'seg_map_path'}
# Number of labels that are read, spread over the data set.
CHECKED_LABELS = 50_000


def check_files(dataset: Dataset, name: str) -> None:
    """Check for some samples that picture and mask exist, else raise InputError."""
    for one in walk_datasets(dataset):
        steps = list(flat_steps(getattr(one, 'pipeline', None)))
        loads = [
            step
            for step in steps
            if is_a(step, *LOADERS) and getattr(step, 'with_seg', True)
        ]
        remote = any(getattr(part, 'backend_args', None) for part in (one, *loads))
        if remote or not loads or not hasattr(one, 'get_data_info'):
            continue
        keys = [LOADERS[kind] for kind in LOADERS if any(is_a(s, kind) for s in loads)]
        for number in np.linspace(0, len(one) - 1, CHECKED_FILES).astype(int):
            info = one.get_data_info(int(number))
            for key in keys:
                path = info.get(key)
                if isinstance(path, str) and '://' not in path and not osp.exists(path):
                    raise InputError(
                        f"{name}: image '{path}' ({key}) cannot be read: it does not "
                        'exist; check data_root and data_prefix of the data set'
                        + quote_line(one, int(number))
                    )


def quote_line(dataset: Dataset, number: int) -> str:
    """Return the line of a text list that names a sample; '' without such a list."""
    path = getattr(dataset, 'ann_file', '')
    if not isinstance(path, str) or path.endswith('.json') or not osp.isfile(path):
        return ''
    with open(path, encoding='utf-8-sig') as file:
        lines = file.read().rstrip().splitlines()
    if len(lines) != len(dataset):
        return ''  # a part of the list, or not a list of images
    rule = ''
    if hasattr(dataset, 'img_suffix'):
        rule = (
            ', where a line is the name of one image without its suffix '
            f'(img_suffix={dataset.img_suffix!r})'
        )
    return f", and line {number + 1} of '{path}', {lines[number][:60]!r}{rule}"


def check_labels(dataset: Dataset, name: str) -> None:
    """Check the labels of a list of images, as its samples would be checked later.

    A warning names images that are listed with different labels.

    Raises:
        InputError: A label is one that training would refuse.
    """
    for one in walk_datasets(dataset):
        pipeline = getattr(one, 'pipeline', None)
        if (
            not getattr(one, 'ann_file', '')
            or not isinstance(pipeline, NamedPipeline)
            or not pipeline.labels.classes
            or not is_stock(pipeline)
        ):
            continue
        first: dict[str, object] = {}
        both = []
        numbers = np.linspace(0, len(one) - 1, CHECKED_LABELS).astype(int)
        for number in np.unique(numbers):
            info = one.get_data_info(int(number))
            if 'gt_label' not in info:
                break  # of segmentation, or not labelled
            labels = np.asarray(info['gt_label'])
            pipeline.check_labels(info, labels)
            label, path = labels.tolist(), str(info.get('img_path', number))
            if first.setdefault(path, label) != label:
                both.append(f'{path} ({first[path]} and {label})')
        if both:
            print_log(
                f'{name}: {len(both)} images are listed with different labels in '
                f"'{one.ann_file}': {some_of(both, 3)}",
                logger='current',
                level=logging.WARNING,
            )
