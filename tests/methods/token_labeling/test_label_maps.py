"""Stores of label maps: what is written is read, and what is wrong is named."""

import dataclasses
import pickle

import numpy as np
import pytest
from label_map_files import CLASSES, NAMES, draw_map, fill, metadata_of

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.geometry import LabelMap, hard_label_map
from mmtlalign.methods.token_labeling.store import (
    CorruptShardError,
    LabelMapStore,
    MissingMapError,
    create_store,
)


@pytest.mark.parametrize(
    ('num_classes', 'grid', 'index'),
    [(12, (3, 5), 'int16'), (32768, (1, 1), 'int16'), (40000, (2, 1), 'int32')],
)
def test_what_is_written_is_read(tmp_path, num_classes, grid, index):
    metadata = metadata_of(num_classes=num_classes, grid=grid)
    fill(tmp_path, metadata)
    store = LabelMapStore(tmp_path, num_classes=num_classes)
    assert len(store) == 9 and list(store) == NAMES and store.shape == (4, *grid)
    assert len(list(tmp_path.glob('shard-*.npy'))) == 3
    for name in reversed(NAMES):
        expected, ours = draw_map(name, metadata), store[name]
        assert ours.values.dtype == np.float16 and ours.indices.dtype == index
        np.testing.assert_array_equal(ours.values, expected.values)
        np.testing.assert_array_equal(ours.indices, expected.indices)


def test_missing_map_is_named(tmp_path):
    store = fill(tmp_path)
    assert NAMES[0] in store and 'd/other.JPEG' not in store
    with pytest.raises(MissingMapError, match=r"'d/other\.JPEG'.*hard label"):
        store['d/other.JPEG']


@pytest.mark.parametrize('damage', ['cut', 'bit', 'swapped'])
def test_corrupt_shard_is_named_and_made_again_alone(tmp_path, damage):
    store = fill(tmp_path)
    file = tmp_path / 'shard-00001.npy'
    whole, others = file.read_bytes(), sorted(tmp_path.glob('shard-0000[02].npy'))
    before = [f.stat().st_mtime_ns for f in others]
    name = store.shard_names(1)[2]
    if damage == 'cut':
        file.write_bytes(whole[:-100])
    elif damage == 'bit':
        flipped = bytearray(whole)
        flipped[-draw_bytes(store) + 7] ^= 1  # the last record of the file
        file.write_bytes(flipped)
        name = store.shard_names(1)[-1]
    else:  # the maps of other images of the same store
        file.write_bytes((tmp_path / 'shard-00000.npy').read_bytes())

    store = LabelMapStore(tmp_path)
    with pytest.raises(CorruptShardError, match=r'shard-00001\.npy is corrupt'):
        store[name]
    with pytest.raises(CorruptShardError, match=r'shard-00001\.npy is corrupt'):
        store.verify_shard(1)
    store.verify_shard(0)

    file.unlink()
    with pytest.raises(InputError, match=r'shard-00001\.npy is missing'):
        store = LabelMapStore(tmp_path)
        store[name]
    store = fill(tmp_path)
    assert file.read_bytes() == whole
    assert before == [f.stat().st_mtime_ns for f in others]
    store.verify_shard(1)


def draw_bytes(store):
    return store.shard(0).dtype.itemsize


def test_class_index_beyond_the_classes_is_found(tmp_path):
    store = create_store(tmp_path, metadata_of(), NAMES)
    maps = [draw_map(n, store.metadata) for n in store.shard_names(0)]
    maps[1].indices[0, 0, 0] = 12
    store.write(0, maps)
    with pytest.raises(CorruptShardError, match='1 of 4 maps'):
        store.verify_shard(0)


def test_other_classes_are_refused(tmp_path):
    fill(tmp_path)
    LabelMapStore(tmp_path, class_names=CLASSES)
    with pytest.raises(InputError, match='12 classes, but 10 are needed'):
        LabelMapStore(tmp_path, num_classes=10)
    with pytest.raises(InputError, match='same number, but other names'):
        LabelMapStore(tmp_path, class_names=CLASSES[::-1])


def test_other_image_set_is_refused(tmp_path):
    store = fill(tmp_path)
    store.check_images(reversed(NAMES))
    with pytest.raises(InputError, match=r'1 images have no map \(such as new\.png\)'):
        store.check_images([*NAMES, 'new.png'])
    with pytest.raises(InputError, match='1 maps have no image'):
        store.check_images(NAMES[1:])


@pytest.mark.parametrize(
    'change', [dict(topk=3), dict(annotator=dict(model='x')), dict(grid=(5, 3))]
)
def test_store_of_something_else_is_not_continued(tmp_path, change):
    fill(tmp_path)
    (key,) = change
    with pytest.raises(InputError, match=f'made with other settings.*{key}'):
        create_store(tmp_path, dataclasses.replace(metadata_of(), **change), NAMES)


def test_no_store(tmp_path):
    with pytest.raises(InputError, match=r'no store\.json'):
        LabelMapStore(tmp_path)
    (tmp_path / 'store.json').write_text('{')
    with pytest.raises(InputError, match='damaged'):
        LabelMapStore(tmp_path)
    (tmp_path / 'store.json').write_text('{"layout": 99}')
    with pytest.raises(InputError, match='layout 99'):
        LabelMapStore(tmp_path)


@pytest.mark.parametrize('change', [dict(topk=13), dict(images=0), dict(shard_size=0)])
def test_impossible_metadata(change):
    with pytest.raises(InputError):
        dataclasses.replace(metadata_of(), **change)


def test_pickle_holds_no_maps(tmp_path):
    metadata = metadata_of(grid=(40, 40))
    store = fill(tmp_path, metadata)
    first = store[NAMES[0]]
    data = pickle.dumps(store)
    assert len(data) < 2000
    np.testing.assert_array_equal(pickle.loads(data)[NAMES[0]].values, first.values)


def test_dense_form():
    label_map = LabelMap(
        np.array([[[3.0]], [[1.0]]], np.float16), np.array([[[2]], [[0]]], np.int16)
    )
    np.testing.assert_array_equal(label_map.dense(4)[:, 0, 0], [1, 0, 3, 0])


@pytest.mark.parametrize('label', [0, 3])
def test_hard_label_is_certain(label):
    label_map = hard_label_map(label, (2, 1, 2))
    logits = label_map.dense(5)[:, 0, 0]
    chance = np.exp(logits - logits.max())
    np.testing.assert_array_equal(chance / chance.sum(), np.eye(5)[label])
