"""A sample that cannot be prepared, or cannot be right, names its file.

OpenCV answers an empty file with an assertion of its own C++ code and a broken
label image with ``None``; neither says which of a million files it was. The
pipeline of every dataset is wrapped where the data loader is built, so that
stock datasets of all hosts are covered.
"""

import os

import mmcv
from mmengine.dataset import Compose
from mmengine.fileio import get

from mmtlalign.engine.errors import InputError
from mmtlalign.engine.label_checks import LabelCheck, LabelError

__all__ = ['BrokenSampleError', 'limit_labels', 'name_broken_samples']

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
