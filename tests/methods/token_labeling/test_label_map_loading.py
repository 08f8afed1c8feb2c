"""Official files and stores alike, attached to the images of a pipeline."""

import numpy as np
import pytest
import torch
from imagenette import IMAGENETTE
from label_map_files import (
    CLASSES,
    NAMES,
    draw_map,
    fill,
    load_step,
    metadata_of,
    write_official,
)

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.official import OfficialLabelMaps
from mmtlalign.methods.token_labeling.store import CorruptShardError, MissingMapError


@pytest.mark.parametrize('layout', ['store', 'official'])
def test_map_is_attached(tmp_path, layout):
    (fill if layout == 'store' else write_official)(tmp_path)
    step = load_step(tmp_path)
    results = step(dict(img_path=f'data/./pictures/{NAMES[4]}'))
    expected = draw_map(NAMES[4], metadata_of())
    np.testing.assert_array_equal(results['label_map_values'], expected.values)
    np.testing.assert_array_equal(results['label_map_indices'], expected.indices)
    assert results['label_map_indices'].dtype == np.int16
    np.testing.assert_array_equal(results['label_map_box'], [0, 0, 1, 1])


def test_stem_ends_at_the_first_dot(tmp_path):
    write_official(tmp_path, ['a/x.y.JPEG'])
    assert (tmp_path / 'a/x.pt').exists()
    assert 'a/x.y.JPEG' in OfficialLabelMaps(tmp_path, 12)


@pytest.mark.parametrize('layout', ['store', 'official'])
@pytest.mark.parametrize('policy', ['error', 'skip', 'hard label'])
@pytest.mark.parametrize('class_ids', [None, [7, 2]])
def test_missing_map(tmp_path, layout, policy, class_ids):
    (fill if layout == 'store' else write_official)(tmp_path)
    step = load_step(tmp_path, missing=policy, class_ids=class_ids)
    sample = dict(img_path='data/pictures/a/other.png', gt_label=1)
    if policy == 'error':
        with pytest.raises(MissingMapError, match=r'a/other\.png'):
            step(sample)
    elif policy == 'skip':
        assert step(sample) is None
    else:
        results, other = step(sample), step(dict(img_path=f'data/pictures/{NAMES[0]}'))
        for key in ('label_map_values', 'label_map_indices'):
            assert results[key].shape == other[key].shape == (4, 3, 5)
            assert results[key].dtype == other[key].dtype
        assert (results['label_map_indices'][0] == 1).all()


def test_corrupt_map_is_no_missing_map(tmp_path):
    store = fill(tmp_path)
    file = tmp_path / 'shard-00000.npy'
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptShardError):
        load_step(tmp_path, missing='skip')(dict(img_path=f'data/pictures/{NAMES[0]}'))
    assert store.shard_names(0)[0] == NAMES[0]


def test_classes_are_translated(tmp_path):
    fill(tmp_path)
    ids = [7, 2, 11]
    results = load_step(tmp_path, class_ids=ids)(
        dict(img_path=f'data/pictures/{NAMES[0]}')
    )
    found = draw_map(NAMES[0], metadata_of())
    ours = type(found)(results['label_map_values'], results['label_map_indices'])
    np.testing.assert_array_equal(ours.dense(3), found.dense(12)[ids])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(missing='ignore'), "missing='ignore'"),
        (dict(num_classes=10), '12 classes, but 10 are needed'),
        (dict(class_names=CLASSES[::-1]), 'other names'),
        (dict(class_ids=[1, 1]), 'class_ids'),
        (dict(class_ids=[12]), '0 to 11'),
    ],
)
def test_wrong_settings(tmp_path, options, message):
    fill(tmp_path)
    with pytest.raises(InputError, match=message):
        load_step(tmp_path, **options)


def test_image_of_another_folder(tmp_path):
    fill(tmp_path)
    with pytest.raises(InputError, match='not below image_root'):
        load_step(tmp_path)(dict(img_path='data/pictures2/a/picture 0.JPEG'))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'no tensor', 'corrupt'),
        (torch.zeros(2, 4, 3), 'not a label map'),
        (torch.zeros(2, 4, 3, 5), 'not a label map'),
        ([1, 2], 'holds list'),
        (torch.full((2, 4, 3, 5), 12, dtype=torch.float16), 'classes 12 to 12'),
    ],
)
def test_bad_official_file(tmp_path, content, message):
    write_official(tmp_path)
    file = tmp_path / 'a/picture 0.pt'
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(InputError, match=message) as caught:
        OfficialLabelMaps(tmp_path, 12)['a/picture 0.JPEG']
    assert str(file) in str(caught.value)


def test_official_limits(tmp_path):
    with pytest.raises(InputError, match='is not a folder'):
        OfficialLabelMaps(tmp_path / 'none', 12)
    with pytest.raises(InputError, match='exact for 1 to 2048'):
        OfficialLabelMaps(tmp_path, 2049)
    with pytest.raises(InputError, match='class_names'):
        load_step(tmp_path, class_names=CLASSES)


@pytest.mark.real_data
def test_shipped_maps_know_their_folders(unpack):
    root = unpack('imagenette224_labelmaps') / 'train'
    maps = OfficialLabelMaps(root, 1000)
    assert maps.shape == (5, 7, 7)
    hits = []
    for folder, index in IMAGENETTE.items():
        for file in sorted((root / folder).glob('*.pt'))[::4]:
            mean = maps[f'{folder}/{file.stem}.JPEG'].dense(1000).mean(axis=(1, 2))
            hits.append(mean.argmax() == index)
    print(f'top-1 of {len(hits)} pooled maps: {100 * np.mean(hits):.1f} %')
    # The annotator scores 72.4 % of the 500 validation images, of 1000 classes.
    assert len(hits) == 500 and np.mean(hits) > 0.7
