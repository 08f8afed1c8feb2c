"""Name the files of a sample that cannot be prepared, and say what is wrong."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import mmcv
from mmengine.fileio import get

from mmtlalign.errors import InputError
from mmtlalign.validation.pictures import AnnotationError

# The keys under which the hosts keep the files of a sample.
FILES = ('img_path', 'seg_map_path')


class BrokenSampleError(InputError):
    """A sample could not be prepared; the message names its files."""


@contextmanager
def named(info: dict) -> Iterator[None]:
    """Add the names of a sample's files to the errors of its annotation."""
    try:
        yield
    except AnnotationError as error:
        files = {key: info[key] for key in FILES if info.get(key)}
        raise BrokenSampleError(explain(files, error)) from error


def explain(files: dict[str, str], error: Exception) -> str:
    """Return a message about the file that cannot be read, or the step that fails."""
    names = ', '.join(f"{key} '{path}'" for key, path in files.items())
    if isinstance(error, AnnotationError):
        return f'{names or "a sample"}: {error}'
    for key, path in files.items():
        fault = why_unreadable(path)
        if fault:
            return (
                f"image '{path}' ({key}) cannot be read: {fault}; replace the file, or "
                'remove it from the data set'
            )
    return (
        f'the data pipeline failed on the sample with {names or "no file name"}: '
        f'{type(error).__name__}: {error}; check its annotation and the pipeline of '
        'the config'
    )


def why_unreadable(path: str) -> str:
    """Return the fault of an image file in a few words; '' if there is none."""
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
