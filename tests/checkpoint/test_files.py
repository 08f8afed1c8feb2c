"""Files are written whole or not at all, and tensors have a hash."""

import hashlib
import os

import pytest
import torch

from mmtlalign.checkpoint.io import hash_tensors
from mmtlalign.compat.files import atomic_write


@pytest.mark.parametrize('sync', [False, True])
def test_a_file_appears_when_it_is_whole(sync, tmp_path):
    path = tmp_path / 'a.json'
    for text in ('first', 'second'):
        before = path.read_text() if path.exists() else None
        with atomic_write(path, sync=sync) as part:
            part.write_text(text)
            assert part.parent == tmp_path
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == text
    assert os.listdir(tmp_path) == ['a.json']


def test_an_error_leaves_the_file_of_before(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('before')
    with pytest.raises(OSError, match='No space'), atomic_write(str(path)) as part:
        part.write_text('half')
        raise OSError('No space left on device')
    assert path.read_text() == 'before' and os.listdir(tmp_path) == ['a.json']


def test_hash_is_that_of_the_documentation():
    """Files and label maps of before carry these numbers."""
    tensors = dict(b=torch.arange(6.0).reshape(2, 3).T, a=torch.tensor(3))
    values = [('a', tensors['a']), ('b', tensors['b'].contiguous())]
    total, bare = hashlib.sha256(), hashlib.sha256()
    for name, value in values:
        total.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        for digest in (total, bare):
            digest.update(name.encode() if digest is bare else b'')
            digest.update(value.numpy().tobytes())
    assert hash_tensors(tensors) == total.hexdigest()
    assert hash_tensors(tensors, types=False) == bare.hexdigest()
