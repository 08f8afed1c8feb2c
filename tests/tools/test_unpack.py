"""Unpacking an archive of real images: once, whole or not at all."""

import os
import tarfile

import pytest
from conftest import unpack_once


def pack(folder, name, text):
    source = folder / name
    source.mkdir(exist_ok=True)
    (source / 'image.txt').write_text(text)
    archive = folder / f'{name}.tar.xz'
    with tarfile.open(archive, 'w:xz') as tar:
        tar.add(source, arcname=name)
    return archive


def test_unpacked_once_and_kept(tmp_path):
    archive = pack(tmp_path, 'birds', 'a wren')
    folder = unpack_once(archive, tmp_path / 'cache')
    assert (folder.name, (folder / 'image.txt').read_text()) == ('birds', 'a wren')
    (folder / 'mine.txt').touch()
    assert unpack_once(archive, tmp_path / 'cache') == folder
    assert (folder / 'mine.txt').exists()


def test_two_processes_may_unpack_at_once(tmp_path, monkeypatch):
    archive = pack(tmp_path, 'birds', 'a wren')
    cache, rename = tmp_path / 'cache', os.rename

    def another_is_faster(part, target):
        monkeypatch.setattr(os, 'rename', rename)
        unpack_once(archive, cache)
        rename(part, target)

    monkeypatch.setattr(os, 'rename', another_is_faster)
    folder = unpack_once(archive, cache)
    assert (folder / 'image.txt').read_text() == 'a wren'
    assert list(cache.iterdir()) == [folder.parent]


def test_a_new_version_of_an_archive_is_unpacked_anew(tmp_path):
    unpack_once(pack(tmp_path, 'birds', 'a wren'), tmp_path / 'cache')
    other = pack(tmp_path, 'birds', ' '.join(map(str, range(1000))))
    folder = unpack_once(other, tmp_path / 'cache')
    assert (folder / 'image.txt').read_text().endswith('999')


def test_a_broken_archive_leaves_nothing(tmp_path):
    archive = pack(tmp_path, 'birds', ' '.join(map(str, range(100000))))
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises((tarfile.TarError, EOFError)):
        unpack_once(archive, tmp_path / 'cache')
    assert list((tmp_path / 'cache').iterdir()) == []
