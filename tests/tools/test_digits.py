"""The quickstart's pictures: same bytes, right labels, and no leak."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from repository import ROOT

from tools.demo.digits import load_digits, paint_canvas, paint_digit
from tools.demo.quickstart_data import (
    CLASSES,
    SEG_CLASSES,
    label_map,
    run_lengths,
    write_quickstart,
)

SPLITS = {'train': 'training', 'val': 'validation'}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('pictures') / 'quickstart'
    assert write_quickstart(root, train=12, val=6)
    return root


def files(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob('*') if p.is_file()}


def read_coco(root, split):
    return json.loads(
        (root / f'coco/annotations/instances_{split}2017.json').read_text()
    )


def decode(segmentation):
    height, width = segmentation['size']
    runs = segmentation['counts']
    assert sum(runs) == height * width
    values = np.arange(len(runs)) % 2
    return np.repeat(values, runs).reshape(width, height).T.astype(bool)


def test_the_same_bytes_every_time(root, tmp_path):
    write_quickstart(tmp_path / 'again', train=12, val=6)
    assert files(root) == files(tmp_path / 'again')


def test_written_once(root):
    times = {p: p.stat().st_mtime_ns for p in root.rglob('*.png')}
    assert not write_quickstart(root, train=12, val=6)
    assert times == {p: p.stat().st_mtime_ns for p in root.rglob('*.png')}


def test_other_sizes_replace_it_and_leave_nothing_behind(tmp_path):
    write_quickstart(tmp_path / 'data', train=3, val=2, digit_size=12)
    assert write_quickstart(tmp_path / 'data', train=2, val=2, digit_size=12)
    assert len(list((tmp_path / 'data/coco/train2017').iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ['data']


def test_images_of_other_code_are_made_anew(tmp_path):
    sizes = dict(train=2, val=2, digit_size=12)
    write_quickstart(tmp_path / 'data', **sizes)
    stamp = tmp_path / 'data' / 'stamp.json'
    content = json.loads(stamp.read_text())
    stamp.write_text(json.dumps({**content, 'code': 'of another version'}))
    assert write_quickstart(tmp_path / 'data', **sizes)
    assert json.loads(stamp.read_text()) == content


def test_a_stop_half_way_leaves_nothing(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr('tools.demo.quickstart_data._write_canvases', stop)
    with pytest.raises(KeyboardInterrupt):
        write_quickstart(tmp_path / 'data')
    assert not list(tmp_path.iterdir())


def test_a_signal_leaves_nothing(tmp_path):
    script = ROOT / 'tools/demo/quickstart_data.py'
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / 'data', '--train', '100000'],
        cwd=ROOT,
    )
    while not list(tmp_path.glob('*/data/digits/train/*/*.png')):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert not list(tmp_path.iterdir())


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / 'photo.jpg').write_bytes(b'mine')
    with pytest.raises(FileExistsError, match='move them or name another folder'):
        write_quickstart(tmp_path)
    assert (tmp_path / 'photo.jpg').read_bytes() == b'mine'


def test_every_digit_is_in_one_split():
    train, val = load_digits('train'), load_digits('val')
    assert not set(train.ids) & set(val.ids)
    assert sorted([*train.ids, *val.ids]) == list(range(1797))
    for digits in (train, val):
        assert set(digits.labels) == set(range(10))
        assert digits.strokes.min() == 0 and digits.strokes.max() == 1
    with pytest.raises(ValueError, match="'test'"):
        load_digits('test')


@pytest.mark.parametrize('split', SPLITS)
def test_pictures_hold_digits_of_their_split_only(root, split):
    digits = load_digits(split)
    allowed = dict(zip(digits.ids.tolist(), digits.labels.tolist()))
    paths = list(root.glob(f'digits/{split}/*/*'))
    names = {int(p.stem.split('_')[0]): int(p.parent.name) for p in paths}
    if split == 'val':
        assert names == allowed and len(paths) == 2 * len(names)
    else:
        assert names.items() <= allowed.items() and len(paths) == len(names)
        assert [list(names.values()).count(digit) for digit in range(10)] == [60] * 10
    for record in read_coco(root, split)['annotations']:
        assert allowed[record['digit_row']] == record['category_id'] - 1


@pytest.mark.parametrize('split, places', [('train', 1), ('val', 2)])
def test_digits_anywhere_are_of_their_split_and_whole(root, split, places):
    digits = load_digits(split)
    allowed = dict(zip(digits.ids.tolist(), digits.labels.tolist()))
    paths = list(root.glob(f'anywhere/{split}/*/*'))
    assert len(paths) == places * len(allowed)
    assert {int(p.stem.split('_')[0]): int(p.parent.name) for p in paths} == allowed
    corners = set()
    for path in paths[:100]:
        ink = np.asarray(Image.open(path))
        assert ink.shape == (32, 32, 3) and ink.max() > 200
        rows, columns = (np.flatnonzero(ink.any(axis=(a, 2))) for a in (1, 0))
        assert np.ptp(rows) < 18 and np.ptp(columns) < 18
        corners.add((rows[0], columns[0]))
    assert len(corners) > 50


def test_a_single_digit_is_small_and_anywhere():
    digits, centres = load_digits('train'), []
    for index in range(60):
        image = paint_digit(digits, index, 64, np.random.default_rng(index))
        rows, columns = np.nonzero(image.min(axis=2) > 150)
        assert np.ptp(rows) < 0.6 * 64 and np.ptp(columns) < 0.6 * 64
        centres.append((rows.mean(), columns.mean()))
    assert (np.ptp(centres, axis=0) > 20).all()


@pytest.mark.parametrize('split', SPLITS)
def test_label_maps_and_instances_agree(root, split):
    content = read_coco(root, split)
    assert [c['name'] for c in content['categories']] == list(CLASSES)
    for image in content['images']:
        stem = image['file_name'].split('.')[0]
        photo = root / f'coco/{split}2017/{stem}.jpg'
        same = root / f'ade/images/{SPLITS[split]}/{stem}.jpg'
        assert photo.read_bytes() == same.read_bytes()
        labels = Image.open(root / f'ade/annotations/{SPLITS[split]}/{stem}.png')
        labels = np.asarray(labels)
        assert labels.shape == (image['height'], image['width'])
        found = np.zeros_like(labels)
        records = [r for r in content['annotations'] if r['image_id'] == image['id']]
        assert records
        for record in records:
            mask = decode(record['segmentation'])
            assert mask.any() and not found[mask].any()
            found[mask] = record['category_id'] + 1
            assert mask.sum() == record['area']
            x, y, w, h = record['bbox']
            assert mask[y : y + h, x : x + w].sum() == mask.sum()
            assert mask[y : y + h, [x, x + w - 1]].any(axis=0).all()
            assert mask[[y, y + h - 1], x : x + w].any(axis=1).all()
        digits = labels > 1
        assert (found[digits] == labels[digits]).all() and not found[~digits].any()
    ids = [record['id'] for record in content['annotations']]
    assert ids == list(range(1, len(ids) + 1))


def test_ink_is_where_the_picture_is_bright():
    canvas = paint_canvas(load_digits('val'), 128, np.random.default_rng(3))
    labels = label_map(canvas)
    light = canvas.image.mean(axis=2)
    assert light[labels > 1].mean() > light[labels == 1].mean() + 50
    assert set(labels[labels > 1] - 2) == set(canvas.labels)


@pytest.mark.parametrize(
    'name, classes', [('upernet', SEG_CLASSES), ('cascade', CLASSES)]
)
def test_configs_name_the_classes_that_are_written(name, classes):
    (path,) = (ROOT / 'configs/quickstart').glob(f'*{name}*.py')
    cfg = Config.fromfile(path)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == classes


@pytest.mark.parametrize('first', [False, True])
def test_run_lengths_match_the_coco_tools(first):
    coco = pytest.importorskip('pycocotools.mask')
    mask = np.random.default_rng(0).random((7, 5)) > 0.5
    mask[0, 0] = first
    runs = run_lengths(mask)
    assert runs['counts'][0] == 0 or not first
    packed = coco.frPyObjects(runs, *runs['size'])
    assert (coco.decode(packed) == mask).all()
    assert (decode(runs) == mask).all()
