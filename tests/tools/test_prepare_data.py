"""prepare_data.py: what is wrong with a folder is said, and none is left half made."""

import functools
import io
import json
import os
import re
import shutil
import signal
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from fake_archives import FAKES, mask, picture, write_tar, write_zip
from PIL import Image
from repository import ROOT, tool

from mmtlalign.errors import InputError
from tools.dataset_converters.prepare import DATA_SETS, archives, images
from tools.dataset_converters.prepare.archives import check_free_space, unpack
from tools.dataset_converters.prepare.data_set import check_data_set as check
from tools.dataset_converters.prepare.data_set import make_data_set as make
from tools.dataset_converters.prepare.data_set import new_folder
from tools.output import open_console, track


@pytest.fixture(params=sorted(FAKES))
def name(request):
    return request.param


@pytest.fixture
def made(tmp_path):
    """Function: a data set made from its tiny archives, and its folder."""

    def make_one(name):
        folder = tmp_path / 'archives'
        folder.mkdir()
        data = FAKES[name](folder)
        make(data, tmp_path / 'data', folder)
        return data, tmp_path / 'data'

    return make_one


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob('*')}


def test_archives_become_a_folder_in_order(made, name, tmp_path, capsys):
    data, root = made(name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['archives', 'data']
    before = everything(tmp_path)
    assert check(data, root, full=True), capsys.readouterr().out
    assert everything(tmp_path) == before  # a check writes nothing
    assert 'All in order.' in capsys.readouterr().out
    # The real number of images is another one.
    assert not check(DATA_SETS[name], root)


def test_every_data_set_says_where_it_comes_from(tmp_path):
    assert set(DATA_SETS) == {*FAKES, 'cifar100', 'pascal-context', 'imagenet-real'}
    for data in DATA_SETS.values():
        assert 'http' in data.source and 'openmmlab' not in data.source.lower()


@pytest.mark.parametrize('name', sorted(set(DATA_SETS) - {'fashion-mnist'}))
def test_folders_are_where_the_recipes_look(name):
    """Fashion-MNIST has no recipe; DomainNet's name one of its sets."""
    files = (ROOT / 'configs').glob('*/_base_/*.py')
    files = [*files, *(ROOT / 'configs/_base_').glob('*/*.py')]
    roots = [re.search(r"^data_root = '([^']+)", f.read_text(), re.M) for f in files]
    roots = {found[1] for found in roots if found}
    root = DATA_SETS[name].root
    assert root in roots or f'{root}/clipart' in roots


@pytest.mark.parametrize(
    'name, kind, kwargs, count',
    [
        ('flowers102', 'Flowers102', dict(split='trainval'), 4),
        ('stanford-cars', 'StanfordCars', dict(split='test'), 2),
        ('fashion-mnist', 'FashionMNIST', dict(split='train', download=False), 3),
        ('imagenette', 'CustomDataset', dict(data_prefix='train'), 4),
    ],
)
def test_the_host_reads_what_was_made(made, name, kind, kwargs, count):
    from mmpretrain import datasets

    _, root = made(name)
    dataset = getattr(datasets, kind)(data_root=str(root), pipeline=[], **kwargs)
    assert len(dataset) == count


def test_validation_images_of_imagenet_go_to_their_class(made):
    _, root = made('imagenet')
    numbers = {
        path.name: sorted(int(p.stem[-1]) for p in path.iterdir())
        for path in (root / 'val').iterdir()
    }
    # The ground truth is 2 2 1 1, and class 1 of the devkit is n02102040.
    assert numbers == {'n01440764': [1, 2], 'n02102040': [3, 4]}


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


IMAGE, LABEL = 'images/training/ADE_a.jpg', 'annotations/training/ADE_a.png'
JSON = 'annotations/instances_val2017.json'
DAMAGE = {
    'image gone': ('ade20k', IMAGE, Path.unlink, 'ADE_a has no image'),
    'mask gone': ('ade20k', LABEL, Path.unlink, 'ADE_a has no mask'),
    'image cut': ('ade20k', IMAGE, cut, 'ADE_a.jpg (image file is truncated'),
    'image empty': ('ade20k', IMAGE, lambda p: p.write_bytes(b''), '1: ADE_a.jpg'),
    'mask cut': ('ade20k', LABEL, cut, 'ADE_a.png ('),
    'mask of colours': (
        'ade20k',
        LABEL,
        lambda p: p.write_bytes(picture('PNG')),
        'a colour image',
    ),
    'mask smaller': (
        'ade20k',
        LABEL,
        lambda p: p.write_bytes(mask(1, size=(8, 5))),
        'ADE_a (8x6, mask 8x5)',
    ),
    'id outside': (
        'ade20k',
        LABEL,
        lambda p: p.write_bytes(mask(1, 255)),
        'ADE_a.png (id 255)',
    ),
    'class empty': (
        'imagenette',
        'train/n01440764',
        lambda p: [file.unlink() for file in p.iterdir()],
        'n01440764',
    ),
    'class in one split': (
        'imagenette',
        'val/n01440764',
        lambda p: p.rename(p.with_name('n00')),
        '2: n00; n01440764',
    ),
    'class too many': (
        'domainnet',
        'real/train/new',
        Path.mkdir,
        'shifts the labels',
    ),
    'json cut': ('coco', JSON, cut, 'JSONDecodeError'),
    'no masks': (
        'coco',
        JSON,
        lambda p: edit_json(p, lambda c: c['annotations'][0].pop('segmentation')),
        'instance 0',
    ),
    'no category': (
        'coco',
        JSON,
        lambda p: edit_json(p, lambda c: c['annotations'][1].update(category_id=5)),
        'instance 1',
    ),
    'other size': (
        'coco',
        JSON,
        lambda p: edit_json(p, lambda c: c['images'][0].update(width=9)),
        '1: 000000000000.jpg',
    ),
    'listed, not there': (
        'coco',
        'val2017/000000000001.jpg',
        Path.unlink,
        '1: 000000000001.jpg',
    ),
    'batch changed': (
        'cifar10',
        'cifar-10-batches-py/test_batch',
        lambda p: p.write_bytes(b'x'),
        'md5 9dd4e461268c8034f5c8564e155c67a6, not',
    ),
    'batch gone': (
        'cifar10',
        'cifar-10-batches-py/test_batch',
        Path.unlink,
        'MISSING',
    ),
    'idx cut': (
        'fashion-mnist',
        'train-images-idx3-ubyte',
        cut,
        'not a complete IDX file',
    ),
    'label beyond': (
        'fashion-mnist',
        't10k-labels-idx1-ubyte',
        lambda p: p.write_bytes(p.read_bytes()[:-1] + b'\x0b'),
        '1: 11',
    ),
    'flower gone': (
        'flowers102',
        'jpg/image_00005.jpg',
        Path.unlink,
        '1: image_00005.jpg',
    ),
    'no mat': ('flowers102', 'setid.mat', cut, 'cannot be read'),
    'no labels': (
        'stanford-cars',
        'devkit/cars_test_annos_withlabels.mat',
        Path.unlink,
        'is next to car_devkit.tgz',
    ),
    'class of A gone': (
        'imagenet-a',
        'n01498041',
        shutil.rmtree,
        'n01498041',
    ),
    'class of R in A': (
        'imagenet-a',
        'n01498041',
        lambda p: p.rename(p.with_name('n01443537')),
        'n01443537',
    ),
    'V2 by WordNet': (
        'imagenetv2',
        'imagenetv2-top-images-format-val/7',
        lambda p: p.rename(p.with_name('n01443537')),
        'n01443537',
    ),
    'severity gone': ('imagenet-c', 'fog/3', shutil.rmtree, '3/n01440764'),
    'corruption gone': ('imagenet-c', 'fog', shutil.rmtree, 'MISSING'),
    'not cropped': (
        'imagenet-c',
        'fog/3/n01440764/a.JPEG',
        lambda p: p.write_bytes(picture(size=(256, 256))),
        '1: 3/n01440764/a.JPEG',
    ),
    'array cut': ('cifar10-c', 'fog.npy', cut, 'fog.npy'),
    'labels differ': (
        'cifar10-c',
        'labels.npy',
        lambda p: np.save(p, np.array([3, 9] * 4 + [9, 3], np.uint8)),
        '1: 5',
    ),
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_damage_is_reported(made, capsys, damage):
    name, path, spoil, said = DAMAGE[damage]
    data, root = made(name)
    spoil(root / path)
    assert not check(data, root)
    out = capsys.readouterr().out
    assert said in out
    assert 'WRONG' in out or 'MISSING' in out
    assert 'Where to get it: ' in out


def test_another_set_is_named(tmp_path, capsys):
    for wnid in DATA_SETS['imagenet-a'].published['folders']():
        (tmp_path / wnid).mkdir()
        (tmp_path / wnid / 'a.jpg').write_bytes(picture())
    assert check(DATA_SETS['imagenet-a'], tmp_path, subset=True)
    assert not check(DATA_SETS['imagenet-r'], tmp_path, subset=True)
    assert 'it looks like ImageNet-A' in capsys.readouterr().out


def test_labels_of_real_go_by_the_names_of_the_pictures(tmp_path, capsys):
    data = DATA_SETS['imagenet-real']
    (tmp_path / 'val/n01440764').mkdir(parents=True)
    assert not check(data, tmp_path)
    for number in (1, 2):
        name = f'val/n01440764/ILSVRC2012_val_{number:08d}.JPEG'
        (tmp_path / name).write_bytes(picture())
    assert check(data, tmp_path, subset=True)
    (tmp_path / 'val/n01440764/cat.JPEG').write_bytes(picture())
    capsys.readouterr()
    assert not check(data, tmp_path, subset=True)
    assert 'keep the official names' in capsys.readouterr().out
    with pytest.raises(InputError, match='prepare_data.py imagenet; the labels come'):
        make(data, tmp_path / 'none', tmp_path)


def test_pascal_context_names_what_its_lists_lack(tmp_path, capsys):
    for folder in ('ImageSets/SegmentationContext', 'JPEGImages'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'SegmentationClassContext').mkdir()
    for split, names in (('train', 'ab'), ('val', 'c')):
        lines = ''.join(f'{name}\n' for name in names)
        path = tmp_path / f'ImageSets/SegmentationContext/{split}.txt'
        path.write_text(lines)
        for name in names:
            (tmp_path / f'JPEGImages/{name}.jpg').write_bytes(picture())
            path = tmp_path / f'SegmentationClassContext/{name}.png'
            path.write_bytes(mask(0, 59))
    assert check(DATA_SETS['pascal-context'], tmp_path, subset=True)
    (tmp_path / 'SegmentationClassContext/b.png').unlink()
    assert not check(DATA_SETS['pascal-context'], tmp_path, subset=True)
    assert 'train: masks not there' in capsys.readouterr().out


def test_a_part_is_fine_only_where_it_is_wanted(made, capsys):
    data, root = made('ade20k')
    data.published.update(training=9)
    assert not check(data, root)
    assert 'if you want only a part: --subset' in capsys.readouterr().out
    assert check(data, root, subset=True)
    assert 'A part of the published data, in order.' in capsys.readouterr().out
    data.published.update(training=2)  # more than there are is no part
    assert not check(data, root, subset=True)


def test_pictures_of_cifar_are_told_from_its_batches(tmp_path, capsys):
    (tmp_path / 'train/cat').mkdir(parents=True)
    (tmp_path / 'train/cat/0.jpg').write_bytes(picture())
    assert not check(DATA_SETS['cifar10'], tmp_path)
    assert "type='CustomDataset'" in capsys.readouterr().out


def test_archives_that_are_missing_are_named(tmp_path):
    data = DATA_SETS['coco']
    (tmp_path / 'val2017.zip').touch()
    with pytest.raises(InputError) as error:
        make(data, tmp_path / 'data', tmp_path)
    assert 'lacks train2017.zip, annotations_trainval2017.zip' in str(error.value)
    assert 'https://cocodataset.org' in str(error.value)
    with pytest.raises(InputError, match='run this again with --archives DIR'):
        make(data, tmp_path / 'data')
    assert os.listdir(tmp_path) == ['val2017.zip']


@pytest.mark.parametrize('kind', ['zip', 'tar', 'tar.gz', 'tar.xz'])
def test_damaged_archive_leaves_nothing(tmp_path, kind):
    (tmp_path / 'in').mkdir()
    path = tmp_path / 'in' / f'a.{kind}'
    files = {f'd/{i}.jpg': os.urandom(3000) for i in range(9)}
    if kind == 'zip':
        write_zip(path, files)
        content = bytearray(path.read_bytes())
        content[2000] ^= 255  # inside a file: its checksum tells
        path.write_bytes(content)
    else:
        write_tar(path, files, f'w:{kind[4:]}')
        path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError, match=f'a.{kind} is damaged'):
        with new_folder(tmp_path / 'data') as part:
            unpack(path, part, str)
    assert os.listdir(tmp_path) == ['in']


def zip_link(path):
    info = zipfile.ZipInfo('d/link')
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(info, '/etc/passwd')
    return path


def tar_link(path):
    info = tarfile.TarInfo('d/link')
    info.type, info.linkname = tarfile.SYMTYPE, '/etc'
    with tarfile.open(path, 'w') as tar:
        tar.addfile(info)
    return path


@pytest.mark.parametrize(
    'write, said',
    [
        (lambda p: write_zip(p, {'d/../../evil': b'x'}), 'points outside the folder'),
        (lambda p: write_zip(p, {'/d/evil': b'x'}), 'points outside the folder'),
        (lambda p: write_zip(p, {'d\\..\\evil': b'x'}), 'points outside the folder'),
        (lambda p: write_tar(p, {'../evil': b'x'}), 'points outside the folder'),
        (zip_link, 'is a link or a device'),
        (tar_link, 'is a link or a device'),
    ],
)
def test_members_that_would_leave_the_folder_are_refused(tmp_path, write, said):
    (tmp_path / 'in').mkdir()
    path = write(tmp_path / 'in/archive')
    (tmp_path / 'out').mkdir()
    with pytest.raises(InputError, match=said):
        unpack(path, tmp_path / 'out', str)
    assert os.listdir(tmp_path / 'out') == []
    assert sorted(os.listdir(tmp_path)) == ['in', 'out']


def test_camvid_as_its_archive_has_it(made, tmp_path, capsys):
    data, root = made('camvid')
    for path in sorted(root.glob('*/*.jpg')):
        Image.open(path).save(path.with_suffix('.png'))
        path.unlink()
    assert check(data, root), capsys.readouterr().out
    for folder in ('val', 'valannot'):
        shutil.copytree(root / folder, root / folder.replace('val', 'test'))
    assert not check(data, root)
    assert 'test: images' in capsys.readouterr().out
    data.published['test'] = 2
    assert check(data, root), capsys.readouterr().out


def test_existing_folder_is_never_overwritten(made):
    data, root = made('camvid')
    before = everything(root)
    with pytest.raises(InputError, match='already exists and is never overwritten'):
        make(data, root, root.parent / 'archives')
    assert everything(root) == before


def test_what_a_killed_run_left_is_named(made, tmp_path):
    (tmp_path / 'data.part-abc').mkdir()
    with pytest.raises(InputError, match='If none is running: rm -r .*data.part-abc'):
        made('camvid')


def test_free_space_is_looked_for_before_the_first_file(tmp_path, monkeypatch):
    data = FAKES['coco'](tmp_path)
    usage = archives.shutil.disk_usage(tmp_path)._replace(free=int(1e9))
    monkeypatch.setattr(archives.shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(InputError, match='has 1.0 GB free, but 2.0 GB are needed'):
        check_free_space(tmp_path, int(2e9))
    usage = usage._replace(free=10)
    monkeypatch.setattr(archives, 'write_stream', lambda *_: pytest.fail('wrote'))
    with pytest.raises(InputError, match='free disk space'):
        make(data, tmp_path / 'data', tmp_path)


def test_progress_goes_from_nothing_to_all():
    stream = io.StringIO()
    stream.isatty = lambda: True
    console = open_console(stream)
    with track('unpacking x', 4_000_000, in_bytes=True, console=console) as advance:
        advance(1_000_000)
        console.print('a line between')
        advance(3_000_000)
    before, after = stream.getvalue().split('a line between')
    assert '━' in before and '100%' in after and '4.0/4.0 MB' in after
    # Without a terminal there is one plain line at the end.
    console = open_console(io.StringIO())
    with track('unpacking x', 4_000_000, in_bytes=True, console=console) as advance:
        advance(1_000_000)
        advance(3_000_000)
    (line,) = console.file.getvalue().splitlines()
    assert line.split() == ['unpacking', 'x', '100%', '4.0/4.0', 'MB']


@pytest.fixture
def command(monkeypatch):
    """Run the tool in this process; return its exit status or message."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['prepare_data.py', *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            tool('dataset_converters/prepare_data').main()
        return stop.value.code

    yield run
    signal.signal(signal.SIGTERM, before)


def test_command_makes_then_checks(command, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(DATA_SETS, 'ade20k', FAKES['ade20k'](tmp_path))
    root = ('ade20k', '--root', tmp_path / 'data')
    assert command(*root, '--check-only') == 1
    assert not (tmp_path / 'data').exists()
    assert command(*root, '--archives', tmp_path) == 0
    assert command(*root, '--archives', tmp_path) == 0
    assert 'nothing is unpacked' in capsys.readouterr().out
    (tmp_path / 'data' / IMAGE).unlink()
    assert command(*root) == 1
    assert 'error: ' in command('coco', '--root', tmp_path / 'no', '--archives', ROOT)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_nothing(command, monkeypatch, tmp_path, number):
    (tmp_path / 'in').mkdir()
    monkeypatch.setitem(DATA_SETS, 'coco', FAKES['coco'](tmp_path / 'in'))
    write, files = archives.write_stream, []

    def interrupted(stream, path, advance):
        write(stream, path, advance)
        files.append(path)
        if len(files) == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(archives, 'write_stream', interrupted)
    status = command('coco', '--root', tmp_path / 'data', '--archives', tmp_path / 'in')
    assert status == 143 if number == signal.SIGTERM else 'stopped' in status
    assert len(files) == 2 and '.part-' in str(files[0])
    assert os.listdir(tmp_path) == ['in']
    # And it can be run again.
    monkeypatch.setattr(archives, 'write_stream', write)
    args = ('--root', tmp_path / 'data', '--archives', tmp_path / 'in')
    assert command('coco', *args) == 0


@pytest.fixture
def server(tmp_path):
    """A web server of a folder: its address, the folder, and how it answers."""
    folder = tmp_path / 'served'
    folder.mkdir()
    answers = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = (folder / self.path.strip('/')).read_bytes()
            kind = answers.pop(0) if answers else 'whole'
            if kind == 'gone':
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            if kind == 'other':
                content = bytes(len(content))
            self.wfile.write(content[: len(content) // 2 if kind == 'cut' else None])

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{running.server_port}', folder, answers
        running.shutdown()
        thread.join()


@pytest.mark.parametrize('name', ['cifar10', 'fashion-mnist'])
def test_download_makes_a_folder_in_order(server, tmp_path, name):
    address, folder, answers = server
    data = FAKES[name](folder)
    answers += ['gone', 'cut', 'whole']  # the third try counts
    make(data, tmp_path / 'data', address=address, wait=0)
    assert check(data, tmp_path / 'data')
    assert not (tmp_path / 'data/.downloads').exists()


@pytest.mark.parametrize(
    'kind, said', [('gone', '404'), ('cut', 'bytes'), ('other', 'md5')]
)
def test_download_that_fails_says_which_file_to_put_where(server, tmp_path, kind, said):
    address, folder, answers = server
    data = FAKES['cifar10'](folder)
    answers += [kind] * 3
    with pytest.raises(InputError) as error:
        make(data, tmp_path / 'data', address=address, wait=0)
    message = str(error.value)
    assert said in message and 'in 3 tries' in message
    assert 'Get cifar-10-python.tar.gz' in message and '--archives DIR' in message
    assert os.listdir(tmp_path) == ['served']


def test_without_a_network_the_message_says_so(tmp_path):
    data = FAKES['cifar10'](tmp_path)
    run = functools.partial(make, data, tmp_path / 'data', wait=0)
    with pytest.raises(InputError, match='refused.*--archives DIR'):
        run(address='http://127.0.0.1:9')


def test_archive_that_is_not_the_published_one_is_refused(tmp_path):
    data = FAKES['cifar10'](tmp_path)
    (tmp_path / 'cifar-10-python.tar.gz').write_bytes(b'another file')
    with pytest.raises(InputError, match='is not the published file: md5'):
        make(data, tmp_path / 'data', tmp_path)


@pytest.mark.real_data
def test_real_camvid_is_made_and_in_order(data_root, tmp_path, monkeypatch):
    monkeypatch.setattr(images, 'SAMPLE', 50)
    make(DATA_SETS['camvid'], tmp_path / 'camvid', data_root)
    assert check(DATA_SETS['camvid'], tmp_path / 'camvid')


@pytest.mark.real_data
def test_real_pictures_of_coco_are_a_part(unpack, capsys):
    root = unpack('coco200seg')
    assert not check(DATA_SETS['coco'], root)
    assert check(DATA_SETS['coco'], root, subset=True, full=True)
    assert '746' in capsys.readouterr().out


@pytest.mark.real_data
def test_real_pictures_of_cifar_are_no_batches(unpack, capsys):
    assert not check(DATA_SETS['cifar10'], unpack('cifar10'))
    assert 'holds 50,000 images' in capsys.readouterr().out
