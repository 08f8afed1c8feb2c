"""Labels that cannot be right: found in the data worker, told with their cause.

A class id that the model does not have fails much later, as an assertion of a GPU
kernel without file or id; a mask of another size than its image does not fail at
all, it trains on shifted labels.

A sample that cannot be prepared, or cannot be right, names its file.

OpenCV answers an empty file with an assertion of its own C++ code and a broken
label image with ``None``; neither says which of a million files it was. The
pipeline of every dataset is wrapped where the data loader is built, so that
stock datasets of all hosts are covered.
"""

import os

import mmcv
import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.fileio import get

from mmtlalign.errors import InputError

# So many masks without a single class, from the first on, are no accident.
VOID_MASKS = 32


class LabelError(Exception):
    """The labels of a sample cannot be right; whoever catches it knows the files."""


class LabelCheck:
    """The checks of one data set's labels.

    Args:
        reduce_zero_label (bool, optional): Of a segmentation data set; None where
            samples have no masks. Defaults to None.
    """

    def __init__(self, reduce_zero_label=None):
        self.reduce_zero_label = reduce_zero_label
        self.classes, self.ignored = 0, frozenset()
        self.void_masks = 0

    def limit(self, classes: int, ignored=()) -> None:
        """Say which labels the model takes.

        Args:
            classes (int): Labels are ``0 … classes - 1``; 0 for no limit.
            ignored (Iterable[int]): Ids of pixels that count for nothing.
        """
        self.classes, self.ignored = classes, frozenset(ignored)

    def loaded(self, results: dict) -> None:
        """Check a mask just after it was read.

        Args:
            results (dict): ``gt_seg_map`` (H, W), ``ori_shape`` of the image.

        Raises:
            LabelError: If it is a colour picture or has not the image's size.
        """
        shape = results['gt_seg_map'].shape
        if len(shape) != 2:
            raise LabelError(
                f'the mask has shape {shape}, a colour picture, but a mask is one '
                'channel of class ids; write it anew as an 8-bit PNG of ids'
            )
        image = tuple(results.get('ori_shape', shape)[:2])
        if shape != image:
            hint = ''
            if shape == image[::-1]:
                hint = '; sides swapped: does the image carry an EXIF rotation?'
            raise LabelError(
                f'the image is {image[1]}x{image[0]} pixels but its mask '
                f'{shape[1]}x{shape[0]}{hint}; pair the right files, or write the mask '
                'anew in the size of the image'
            )

    def packed(self, results) -> None:
        """Check the labels of a sample as the model gets it.

        Args:
            results (dict): Of mmpretrain or mmseg, with ``data_samples``; others are
                let through.

        Raises:
            LabelError: If a label is none of the model's.
        """
        sample = results.get('data_samples') if isinstance(results, dict) else None
        # Test-time augmentation packs one for each view of the image.
        sample = sample[0] if isinstance(sample, list) and sample else sample
        if not self.classes or not hasattr(sample, 'get'):
            return
        if self.reduce_zero_label is not None:
            if 'gt_sem_seg' in sample:
                self._check_ids(sample.gt_sem_seg.data)
            return
        label = sample.get('gt_label')
        if torch.is_tensor(label) and label.numel():
            low, high = int(label.min()), int(label.max())
            if low < 0 or high >= self.classes:
                raise LabelError(
                    f'its label is {high if low >= 0 else low}, but the head has '
                    f'num_classes={self.classes}, labels 0…{self.classes - 1}; '
                    'correct the annotation, or num_classes'
                )

    def _check_ids(self, mask: torch.Tensor) -> None:
        """Check the ids of a mask, (1, H, W)."""
        # One pass over all pixels, more only over those that are no class; below
        # zero is far beyond as an unsigned number.
        values = mask.numpy().astype(np.int64, copy=False)
        beyond = values[values.view(np.uint64) >= self.classes]
        wrong = beyond
        for ignored in self.ignored:
            wrong = wrong[wrong != ignored]
        if wrong.size:
            raise LabelError(self._explain(np.unique(wrong).tolist()))
        if self.void_masks is None:
            return
        void = beyond.size == values.size
        self.void_masks = self.void_masks + 1 if void else None
        if self.void_masks == VOID_MASKS:
            raise LabelError(
                f'this and the {VOID_MASKS - 1} masks before it hold no class at all, '
                'every pixel is void; look at a mask, and at reduce_zero_label, which '
                f'is {self.reduce_zero_label} (True makes 0 void)'
            )

    def _explain(self, ids: list) -> str:
        """Say which ids are wrong and what usually makes them so."""
        shown = ', '.join(map(str, ids[:5])) + (' …' if len(ids) > 5 else '')
        void = ', '.join(map(str, sorted(self.ignored))) or 'none'
        causes = [
            'num_classes of the head is too small, or an id for void pixels is not '
            'ignored (map it to 255, or set ignore_index of the heads and the metric)'
        ]
        if ids == [self.classes] and not self.reduce_zero_label:
            causes.insert(
                0,
                'the ids count from 1 with 0 for void (as in ADE20K) and '
                'reduce_zero_label=True is missing in the data set and LoadAnnotations',
            )
        if self.reduce_zero_label:
            causes.insert(
                0,
                'the ids count from 0 already and reduce_zero_label=True '
                'shifts them once too often',
            )
        return (
            f'the mask holds id {shown}, but the model has {self.classes} classes, '
            f'0…{self.classes - 1}, and ignores {void} '
            f'(reduce_zero_label={self.reduce_zero_label}). Usual causes: '
            + '; or '.join(causes)
        )


# The keys under which the hosts keep the files of a sample.
FILES = ('img_path', 'seg_map_path')


class BrokenSampleError(InputError):
    """A sample could not be prepared; the message names its files."""


class NamedPipeline:
    """A data pipeline whose errors name the files of the sample.

    Args:
        pipeline (Callable): The pipeline of a dataset.
        labels (LabelCheck): The checks of the labels of that dataset.
    """

    def __init__(self, pipeline, labels: LabelCheck):
        self.pipeline = pipeline
        self.labels = labels

    def __call__(self, results):
        """Run the pipeline; raise :class:`BrokenSampleError` for any error."""
        files = {key: results[key] for key in FILES if results.get(key)}
        try:
            results = self.run(results)
            self.labels.packed(results)
        except Exception as error:
            raise BrokenSampleError(explain(files, error)) from error
        return results

    def run(self, results):
        """Run the pipeline; a mask is looked at as soon as it is read.

        Later its size is no longer that of the file.
        """
        masks = self.labels.reduce_zero_label is not None
        if not masks or type(self.pipeline) is not Compose:
            return self.pipeline(results)
        for transform in self.pipeline.transforms:
            read = 'gt_seg_map' in results
            results = transform(results)
            if results is None:
                return None
            if not read and 'gt_seg_map' in results:
                self.labels.loaded(results)
        return results

    def __getattr__(self, name):
        # Hosts look into `dataset.pipeline.transforms`. Copies and pickles
        # ask for attributes before there is a pipeline.
        if name == 'pipeline':
            raise AttributeError(name)
        return getattr(self.pipeline, name)


def explain(files: dict, error: Exception) -> str:
    """Say which file cannot be read, or that the pipeline fails on it.

    Args:
        files (dict): Key of the sample -> path.
        error (Exception): What the pipeline raised.

    Returns:
        str: The message for the user.
    """
    names = ', '.join(f"{key} '{path}'" for key, path in files.items())
    if isinstance(error, LabelError):
        return f'{names or "a sample"}: {error}'
    for key, path in files.items():
        fault = why_unreadable(path)
        if fault:
            return (
                f"image '{path}' ({key}) cannot be read: {fault}; replace the file, "
                'or take it out of the data set'
            )
    return (
        f'the data pipeline failed on the sample with {names or "no file name"}: '
        f'{type(error).__name__}: {error}; check its annotation and the pipeline of '
        'the config'
    )


def why_unreadable(path: str) -> str:
    """The fault of an image file in a few words; empty if there is none."""
    if '://' not in path and not os.path.exists(path):
        return 'it does not exist'
    try:
        content = get(path)
        if not content:
            return 'it is empty'
        image = mmcv.imfrombytes(content, flag='unchanged')
    except Exception as error:
        return f'{type(error).__name__}: {str(error).splitlines()[0]}'
    if image is None:
        return f'its {len(content)} bytes are not a complete image'
    return ''


def name_broken_samples(dataset) -> None:
    """Wrap the pipelines of a dataset and of the datasets inside it.

    Args:
        dataset (Dataset): A dataset of any host; wrappers such as
            ``RepeatDataset`` and ``ConcatDataset`` are followed.
    """
    for inner in inside(dataset):
        name_broken_samples(inner)
    pipeline = getattr(dataset, 'pipeline', None)
    if callable(pipeline) and not isinstance(pipeline, NamedPipeline):
        labels = LabelCheck(getattr(dataset, 'reduce_zero_label', None))
        dataset.pipeline = NamedPipeline(pipeline, labels)


def limit_labels(dataset, classes: int, ignored=()) -> None:
    """Say which labels the model takes that a dataset is for.

    Args:
        dataset (Dataset): As :func:`name_broken_samples` left it.
        classes (int): Labels are ``0 … classes - 1``; 0 for no limit.
        ignored (Iterable[int]): Ids of pixels that count for nothing.
    """
    for inner in inside(dataset):
        limit_labels(inner, classes, ignored)
    pipeline = getattr(dataset, 'pipeline', None)
    if isinstance(pipeline, NamedPipeline):
        pipeline.labels.limit(classes, ignored)


def inside(dataset) -> list:
    """The datasets in a wrapper of mmengine or of a host."""
    found = [getattr(dataset, 'dataset', None), *getattr(dataset, 'datasets', [])]
    return [inner for inner in found if inner is not None]
