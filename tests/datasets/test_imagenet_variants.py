"""Test sets have the labels of their folders, and another folder is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from imagenet_files import fill, write_cifar_c, write_picture
from mmengine.registry import DATASETS, init_default_scope

from mmtlalign.datasets.corrupted import CIFARC, CORRUPTIONS, ImageNetC
from mmtlalign.datasets.imagenet_classes import (
    real_labels,
    subset_indices,
    subset_labels,
    wordnet_ids,
)
from mmtlalign.datasets.imagenet_variants import (
    ImageNetReaL,
    ImageNetSketch,
    ImageNetSubset,
    ImageNetV2,
)
from mmtlalign.errors import InputError
from mmtlalign.evaluation import corruptions

WNIDS = wordnet_ids()


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def picture(tmp_path):
    return write_picture(tmp_path / 'one.jpg')


def labels_of(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {info['img_path'].split('/')[-2]: info['gt_label'] for info in infos}


# ------------------------------------------------------------------------- lists


def test_lists_are_those_of_the_authors():
    sums = {which: sum(subset_indices(which)) for which in 'aro'}
    assert sums == dict(a=102178, r=86135, o=134542)
    sets = {which: set(subset_indices(which)) for which in 'aro'}
    assert {len(own) for own in sets.values()} == {200}
    assert len(sets['a'] & sets['r']) == 86 and len(sets['a'] & sets['o']) == 59
    assert list(WNIDS) == sorted(WNIDS) and len(WNIDS) == 1000
    counts = [len(own) for own in real_labels()]
    assert (len(counts), sum(map(bool, counts))) == (50000, 46837)
    assert (max(counts), sum(counts)) == (9, 57553)
    assert CORRUPTIONS == corruptions.CORRUPTIONS
    with pytest.raises(InputError, match="which='x' is not a subset.*'a', 'r', 'o'"):
        subset_indices('x')


# ---------------------------------------------------------------------- A, R, O


@pytest.mark.parametrize('which', 'ar')
def test_labels_are_those_of_all_1000_classes(tmp_path, picture, which):
    fill(tmp_path / 'set', subset_labels(which), picture)
    (tmp_path / 'set/README.txt').write_text('read')
    dataset = ImageNetSubset(which, data_root=str(tmp_path / 'set'))
    assert labels_of(dataset) == subset_labels(which)
    assert len(dataset.metainfo['classes']) == 1000


def test_pictures_of_o_have_no_label_and_those_of_its_classes_do(tmp_path, picture):
    fill(tmp_path / 'o', subset_labels('o'), picture)
    fill(tmp_path / 'val', WNIDS, picture)
    out = ImageNetSubset('o', data_root=str(tmp_path / 'o'))
    clean = ImageNetSubset('o', data_root=str(tmp_path / 'val'), clean=True)
    assert labels_of(clean) == subset_labels('o')
    assert set(map(len, labels_of(out).values())) == {0}
    both = dict(type='ConcatDataset', datasets=[out, clean])
    assert len(DATASETS.build(both)) == 400


WRONG_SETS = {
    'r': (subset_labels('r'), '200 class folders look like ImageNet-R; correct'),
    'v2': (map(str, range(1000)), 'look like ImageNetV2, whose folders are numbers'),
    'val': (WNIDS, 'look like ImageNet-1k with all 1000 classes'),
    '199': ([*subset_labels('a')][1:], 'of 200 classes 1 have no image: n01498041'),
    'other': ([*subset_labels('a'), 'n01440764'], 'n01440764 is not a class of it'),
    'cats': (['cat', 'dog'], 'cat, dog are not classes of it'),
}


@pytest.mark.parametrize('name', WRONG_SETS)
def test_another_folder_is_refused(tmp_path, picture, name):
    folders, message = WRONG_SETS[name]
    root = fill(tmp_path / 'imagenet-a', folders, picture)
    with pytest.raises(InputError, match=message) as error:
        ImageNetSubset('a', data_root=str(root))
    assert f"'{root}' is not ImageNet-A" in str(error.value)


def test_a_folder_without_pictures_counts_as_missing(tmp_path, picture):
    root = fill(tmp_path / 'a', subset_labels('a'), picture)
    (root / 'n01498041/a.JPEG').unlink()
    with pytest.raises(InputError, match='1 have no image: n01498041'):
        ImageNetSubset('a', data_root=str(root))
    assert len(ImageNetSubset('a', data_root=str(root), allow_missing=True)) == 199
    shutil.rmtree(root)
    with pytest.raises(InputError, match='does not exist; correct data_root.*prepare'):
        ImageNetSubset('a', data_root=str(root))


# ------------------------------------------------------------- Sketch, V2, ReaL


def test_another_number_of_pictures_is_only_warned_about(
    tmp_path, picture, monkeypatch
):
    lines = []
    target = 'mmtlalign.datasets.class_folders.print_log'
    monkeypatch.setattr(target, lambda text, **_: lines.append(text))
    root = fill(tmp_path / 'sketch', WNIDS, picture)
    dataset = ImageNetSketch(data_root=str(root))
    assert labels_of(dataset) == {name: label for label, name in enumerate(WNIDS)}
    (line,) = lines
    assert line.endswith('has 1,000 images, not 50,889 as published')


@pytest.mark.parametrize('ending', ['-format-val', ''])
def test_folders_of_v2_are_numbers(tmp_path, picture, ending):
    numbers = [str(n) for n in range(20)]
    names = tuple(f'class {n}' for n in numbers)
    folder = tmp_path / f'imagenetv2-top-images{ending}'
    fill(folder, numbers, picture)
    for root in (tmp_path, folder):
        given = dict(data_root=str(root), metainfo=dict(classes=names))
        dataset = ImageNetV2('top-images', **given)
        assert labels_of(dataset) == {str(n): n for n in range(20)}
        found = [dataset.get_data_info(i)['gt_label'] for i in range(20)]
        assert found == sorted(found)
    with pytest.raises(InputError, match='of 1000 classes 980 have no image: 20, 21'):
        ImageNetV2('top-images', data_root=str(tmp_path))
    with pytest.raises(
        InputError, match='choose one of matched-frequency, threshold0.7'
    ):
        ImageNetV2('matched', data_root=str(tmp_path))


def test_v2_refuses_folders_of_wordnet(tmp_path, picture):
    fill(tmp_path / 'imagenetv2-matched-frequency', WNIDS, picture)
    with pytest.raises(InputError, match='like ImageNet-1k with all 1000 classes'):
        ImageNetV2(data_root=str(tmp_path))


@pytest.mark.parametrize('folder', ['n01440764', ''])
def test_real_labels_go_by_the_name_of_the_file(tmp_path, picture, folder):
    (tmp_path / 'val' / folder).mkdir(parents=True)
    numbers = (1, 2, 3, 16, 50000)
    for number in numbers:
        name = f'ILSVRC2012_val_{number:08d}.JPEG'
        (tmp_path / 'val' / folder / name).hardlink_to(picture)
    dataset = ImageNetReaL(data_root=str(tmp_path / 'val'))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    found = {int(info['img_path'][-13:-5]): info['gt_label'] for info in infos}
    known = real_labels()
    assert found == {n: known[n - 1] for n in numbers if known[n - 1]}
    own = tmp_path / 'real.json'
    own.write_text(json.dumps([[1, 2], [], [3]] + [[]] * 49997))
    dataset = ImageNetReaL(str(tmp_path / 'val'), real_json=str(own))
    assert [dataset.get_data_info(i)['gt_label'] for i in range(2)] == [[1, 2], [3]]
    own.write_text('[[1000]]')
    with pytest.raises(InputError, match=r'must be a JSON list with a list of labels'):
        ImageNetReaL(str(tmp_path / 'val'), real_json=str(own))
    with pytest.raises(InputError, match=r'ValueError: a label is outside 0…999'):
        real_labels(str(own))
    (tmp_path / 'val/cat.JPEG').hardlink_to(picture)
    with pytest.raises(InputError, match="cat.JPEG' does not have the name of one of"):
        ImageNetReaL(data_root=str(tmp_path / 'val'))


# ------------------------------------------------------------------ ImageNet-C


@pytest.mark.parametrize('group', ['', 'weather/'])
def test_c_is_found_with_and_without_its_groups(tmp_path, picture, group):
    for level in (1, 5):
        fill(tmp_path / f'{group}fog/{level}', WNIDS, picture)
    dataset = ImageNetC(str(tmp_path), corruption='fog', severity=(1, 5))
    assert len(dataset) == 2000
    assert labels_of(dataset) == {name: label for label, name in enumerate(WNIDS)}
    last = dataset.get_data_info(1999)
    assert (last['corruption'], last['severity']) == ('fog', 5)
    assert last['img_path'].startswith(f'{tmp_path}/{group}fog/5/')
    with pytest.raises(InputError, match='has no snow/1, nor has one of the folders'):
        ImageNetC(str(tmp_path), corruption=['fog', 'snow'], severity=1)
    with pytest.raises(InputError, match='severities of 1 to 5'):
        ImageNetC(str(tmp_path), corruption='fog', severity=0)
    shutil.rmtree(tmp_path / f'{group}fog/1/{WNIDS[7]}')
    with pytest.raises(InputError, match=f'1 have no image: {WNIDS[7]}'):
        ImageNetC(str(tmp_path), corruption='fog', severity=1)


def test_c_is_never_cropped_twice(tmp_path, picture):
    fill(tmp_path / 'fog/1', WNIDS, picture)
    given = dict(data_root=str(tmp_path), corruption='fog', severity=1)
    resize, crop = (
        dict(type='ResizeEdge', scale=256),
        dict(type='CenterCrop', crop_size=224),
    )
    for pipeline in ([], [crop], [dict(type='Resize', scale=384)]):
        assert len(ImageNetC(**given, pipeline=pipeline)) == 1000
    with pytest.raises(
        InputError, match='has ResizeEdge and a crop.*already .* to 224'
    ):
        ImageNetC(**given, pipeline=[resize, crop])


def test_c_of_another_size_is_refused(tmp_path):
    fill(tmp_path / 'fog/1', WNIDS, write_picture(tmp_path / 'two.jpg', 256))
    with pytest.raises(
        InputError, match='is 256x256, but all images of ImageNet-C are 224'
    ):
        ImageNetC(str(tmp_path), corruption='fog', severity=1)


# --------------------------------------------------------------------- CIFAR-C


def test_cifar_c_has_a_block_for_each_severity(tmp_path):
    root = str(write_cifar_c(tmp_path / 'c'))
    dataset = CIFARC(root, corruption=('fog', 'contrast'), severity=(2, 5))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert len(infos) == 16
    for info in infos:
        assert info['img'].shape == (32, 32, 3) and info['img'].flags.writeable
        assert set(np.unique(info['img'])) == {info['severity']}
    assert [info['gt_label'] for info in infos] == [0, 1, 2, 3] * 4
    assert [info['corruption'] for info in infos] == ['fog'] * 8 + ['contrast'] * 8
    assert len(dataset.metainfo['classes']) == 10


def test_wrong_files_of_cifar_c(tmp_path):
    root = write_cifar_c(tmp_path / 'c')
    with pytest.raises(InputError, match="snow.npy' cannot be read.*CIFAR-10-C.tar"):
        CIFARC(str(root), corruption='snow')
    np.save(root / 'snow.npy', np.zeros((20, 3, 32, 32), np.uint8))
    with pytest.raises(InputError, match=r'is \(20, 3, 32, 32\) uint8, not \(20, 32'):
        CIFARC(str(root), corruption='snow')
    np.save(root / 'labels.npy', np.arange(20))
    with pytest.raises(InputError, match='labels up to 19, but num_classes=10'):
        CIFARC(str(root), corruption='fog')
    assert len(CIFARC(str(root), corruption='fog', num_classes=100)) == 20
    np.save(root / 'labels.npy', np.arange(19))
    with pytest.raises(InputError, match='one block of labels for each of 5'):
        CIFARC(str(root), corruption='fog')
    with pytest.raises(InputError, match='num_classes=7 of CIFARC: choose 10 or 100'):
        CIFARC(str(root), num_classes=7)


def test_packed_sample_without_a_label():
    from mmpretrain.datasets.transforms import PackInputs

    packed = PackInputs()(dict(img=np.zeros((4, 4, 3), np.uint8), gt_label=[]))
    label = packed['data_samples'].gt_label
    assert label.shape == (0,) and label.dtype == torch.long
