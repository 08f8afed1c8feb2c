"""A sample that cannot be prepared names its file.

OpenCV answers an empty file with an assertion of its own C++ code and a broken
label image with ``None``; neither says which of a million files it was. The
pipeline of every dataset is wrapped where the data loader is built, so that
stock datasets of all hosts are covered.
"""

import os

import mmcv
from mmengine.fileio import get

from mmtlalign.engine.errors import InputError

__all__ = ['BrokenSampleError', 'name_broken_samples']

# The keys under which the hosts keep the files of a sample.
FILES = ('img_path', 'seg_map_path')


class BrokenSampleError(InputError):
    """A sample could not be prepared; the message names its files."""


class NamedPipeline:
    """A data pipeline whose errors name the files of the sample.

    Args:
        pipeline (Callable): The pipeline of a dataset.
    """

    def __init__(self, pipeline):
        self.pipeline = pipeline

    def __call__(self, results):
        """Run the pipeline; raise :class:`BrokenSampleError` for any error."""
        files = {key: results[key] for key in FILES if results.get(key)}
        try:
            return self.pipeline(results)
        except Exception as error:
            raise BrokenSampleError(explain(files, error)) from error

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
    for key, path in files.items():
        fault = why_unreadable(path)
        if fault:
            return (
                f"image '{path}' ({key}) cannot be read: {fault}; replace the file, "
                'or take it out of the data set'
            )
    names = ', '.join(f"{key} '{path}'" for key, path in files.items())
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
    for inner in [getattr(dataset, 'dataset', None), *getattr(dataset, 'datasets', [])]:
        if inner is not None:
            name_broken_samples(inner)
    pipeline = getattr(dataset, 'pipeline', None)
    if callable(pipeline) and not isinstance(pipeline, NamedPipeline):
        dataset.pipeline = NamedPipeline(pipeline)
