"""Tiny archives in the form that the official pages give, and their numbers."""

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
from mat4py import savemat as write_mat
from PIL import Image
from scipy.io import savemat

from mmtlalign.datasets.corrupted import CORRUPTIONS
from tools.dataset_converters.prepare import DATA_SETS


def picture(kind='JPEG', size=(8, 6)):
    """The bytes of a small picture, (width, height)."""
    stream = io.BytesIO()
    pixels = np.random.randint(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def mask(*ids, size=(8, 6)):
    """The bytes of a label image with these ids."""
    stream = io.BytesIO()
    values = np.resize(np.array(ids, np.uint8), (size[1], size[0]))
    Image.fromarray(values).save(stream, 'PNG')
    return stream.getvalue()


def write_tar(path, files, mode='w'):
    """A tar of name -> bytes."""
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_zip(path, files):
    """A zip of name -> bytes, with a folder of its own as real ones have."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(f'{next(iter(files)).split("/")[0]}/', '')
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def with_numbers(name, **numbers):
    """A data set with other numbers than the published ones."""
    data = DATA_SETS[name]
    return replace(data, published=data.published | numbers)


def imagenet(folder):
    wnids = 'n01440764', 'n02102040'
    inner = {}
    for wnid in wnids:
        files = {f'{wnid}_{i}.JPEG': picture() for i in range(3)}
        path = write_tar(folder / 'inner', files)
        inner[f'{wnid}.tar'] = path.read_bytes()
        path.unlink()
    write_tar(folder / 'ILSVRC2012_img_train.tar', inner)
    names = [f'ILSVRC2012_val_{i:08d}.JPEG' for i in range(1, 5)]
    write_tar(folder / 'ILSVRC2012_img_val.tar', {name: picture() for name in names})
    table = np.zeros(3, dtype=[('ILSVRC2012_ID', 'O'), ('WNID', 'O')])
    # In an order of its own, with an inner node of WordNet.
    for row, values in zip(table, [(2, wnids[0]), (1, wnids[1]), (1001, 'n9')]):
        row['ILSVRC2012_ID'], row['WNID'] = values
    stream = io.BytesIO()
    savemat(stream, {'synsets': table})
    devkit = 'ILSVRC2012_devkit_t12/data/'
    truth = f'{devkit}ILSVRC2012_validation_ground_truth.txt'
    files = {f'{devkit}meta.mat': stream.getvalue(), truth: b'2\n2\n1\n1\n'}
    write_tar(folder / 'ILSVRC2012_devkit_t12.tar.gz', files, 'w:gz')
    return with_numbers('imagenet', train=6, val=4, classes=2)


def imagenette(folder):
    files = {
        f'imagenette2-160/{split}/{wnid}/{i}.JPEG': picture()
        for split in ('train', 'val')
        for wnid in ('n01440764', 'n02102040')
        for i in range(2)
    }
    files['imagenette2-160/noisy_imagenette.csv'] = b'path\n'
    write_tar(folder / 'imagenette2-160.tgz', files, 'w:gz')
    return with_numbers('imagenette', train=4, val=4, classes=2)


def ade20k(folder):
    files = {}
    for split, names in (('training', 'abc'), ('validation', 'de')):
        for name in names:
            top = 'ADEChallengeData2016'
            files[f'{top}/images/{split}/ADE_{name}.jpg'] = picture()
            files[f'{top}/annotations/{split}/ADE_{name}.png'] = mask(0, 1, 150)
    files['ADEChallengeData2016/objectInfo150.txt'] = b'1 wall\n'
    write_zip(folder / 'ADEChallengeData2016.zip', files)
    return with_numbers('ade20k', training=3, validation=2)


def camvid(folder):
    files = {}
    for split, names in (('train', 'abc'), ('val', 'de')):
        for name in names:
            files[f'camvid/{split}/{name}.jpg'] = picture()
            files[f'camvid/{split}annot/{name}.png'] = mask(0, 10, 11)
    write_tar(folder / 'camvid480.tar.xz', files, 'w:xz')
    return with_numbers('camvid', train=3, val=2)


def coco(folder):
    jsons, triangle = {}, [[0, 0, 4, 0, 4, 4]]
    for split, count in (('train2017', 3), ('val2017', 2)):
        names = [f'{i:012d}.jpg' for i in range(count)]
        files = {f'{split}/{name}': picture() for name in names}
        write_zip(folder / f'{split}.zip', files)
        content = dict(
            images=[
                dict(id=i, file_name=name, width=8, height=6)
                for i, name in enumerate(names)
            ],
            annotations=[
                dict(id=i, image_id=i, category_id=90, segmentation=triangle)
                for i in range(count)
            ],
            categories=[dict(id=1, name='person'), dict(id=90, name='toothbrush')],
        )
        jsons[f'annotations/instances_{split}.json'] = json.dumps(content).encode()
    write_zip(folder / 'annotations_trainval2017.zip', jsons)
    numbers = {'train2017': 3, 'val2017': 2, 'categories': 2}
    return with_numbers(
        'coco', **numbers, **{'train2017 instances': 3, 'val2017 instances': 2}
    )


def cifar10(folder):
    files = {f'data_batch_{i}': bytes([i]) * 9 for i in range(1, 6)}
    files |= {'test_batch': b'test', 'batches.meta': b'meta'}
    name = 'cifar-10-python.tar.gz'
    packed = {f'cifar-10-batches-py/{n}': content for n, content in files.items()}
    path = write_tar(folder / name, packed, 'w:gz')
    sums = {n: hashlib.md5(content).hexdigest() for n, content in files.items()}
    address = DATA_SETS['cifar10'].downloads[name][0]
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    data = with_numbers('cifar10', files=sums)
    return replace(data, downloads={name: (address, md5)})


def fashion_mnist(folder):
    downloads = {}
    for split, count in (('train', 3), ('t10k', 2)):
        images = bytes([0, 0, 8, 3]) + np.array([count, 28, 28], '>u4').tobytes()
        labels = bytes([0, 0, 8, 1]) + np.array([count], '>u4').tobytes()
        for name, content in (
            (f'{split}-images-idx3-ubyte.gz', images + bytes(count * 28 * 28)),
            (f'{split}-labels-idx1-ubyte.gz', labels + bytes(range(count))),
        ):
            packed = gzip.compress(content)
            (folder / name).write_bytes(packed)
            address = DATA_SETS['fashion-mnist'].downloads[name][0]
            downloads[name] = address, hashlib.md5(packed).hexdigest()
    return replace(with_numbers('fashion-mnist', train=3, t10k=2), downloads=downloads)


def flowers102(folder):
    files = {f'jpg/image_{i:05d}.jpg': picture() for i in range(1, 7)}
    write_tar(folder / '102flowers.tgz', files, 'w:gz')
    write_mat(str(folder / 'imagelabels.mat'), {'labels': [1, 1, 2, 2, 3, 3]})
    splits = {'trnid': [1, 3], 'valid': [2, 4], 'tstid': [5, 6]}
    write_mat(str(folder / 'setid.mat'), splits)
    return with_numbers('flowers102', images=6, classes=3, trnid=2, valid=2, tstid=2)


def stanford_cars(folder):
    tables = {}
    for split, count in (('train', 3), ('test', 2)):
        names = [f'{i:05d}.jpg' for i in range(1, count + 1)]
        files = {f'cars_{split}/{name}': picture() for name in names}
        write_tar(folder / f'cars_{split}.tgz', files, 'w:gz')
        labels = [1, 2, 1][:count]
        tables[split] = {'annotations': {'fname': names, 'class': labels}}
    table = folder / 'cars_train_annos.mat'
    write_mat(str(table), tables['train'])
    inside = {'devkit/cars_train_annos.mat': table.read_bytes()}
    write_tar(folder / 'car_devkit.tgz', inside, 'w:gz')
    write_mat(str(folder / 'cars_test_annos_withlabels.mat'), tables['test'])
    return with_numbers('stanford-cars', train=3, test=2, classes=2)


def domainnet(folder):
    for name in ('clipart', 'real'):
        files = {
            f'{name}/{kind}/{i}.jpg': picture()
            for kind in ('bee', 'zoo')
            for i in 'abc'
        }
        # In no list, as in the official archives.
        extra = {f'{name}/bee/left_out.jpg': picture()}
        write_zip(folder / f'{name}.zip', files | extra)
        for split, ids in (('train', 'ab'), ('test', 'c')):
            lines = [f'{n} {n.count("zoo")}\n' for n in files if n[-5] in ids]
            (folder / f'{name}_{split}.txt').write_text(''.join(lines))
    sets = dict(clipart=(4, 2), real=(4, 2))
    return with_numbers('domainnet', classes=2, sets=sets)


def class_folders(name, archive, write=write_tar, top=None):
    """Function that writes an archive of two class folders and a README."""

    def make(folder):
        wnids = [*DATA_SETS[name].published['folders']()][:2]
        files = {f'{top or name}/{w}/{i}.jpg': picture() for w in wnids for i in 'ab'}
        write(folder / archive, files | {f'{top or name}/README.txt': b'read'})
        return with_numbers(name, images=4, folders=lambda: wnids)

    return make


def imagenet_c(folder):
    wnids = 'n01440764', 'n02102040'
    groups = dict(noise=0, blur=1, weather=2, digital=3)
    content = picture(size=(224, 224))
    for group, place in groups.items():
        files = {
            f'{name}/{level}/{wnid}/a.JPEG': content
            for name in CORRUPTIONS[place::4]
            for level in range(1, 6)
            for wnid in wnids
        }
        write_tar(folder / f'{group}.tar', files)
    return with_numbers('imagenet-c', images=2, folders=lambda: wnids)


def imagenetv2(folder):
    for variant in ('matched-frequency', 'threshold0.7', 'top-images'):
        name = f'imagenetv2-{variant}'
        files = {f'{name}-format-val/{n}/a.jpeg': picture() for n in range(12)}
        write_tar(folder / f'{name}.tar.gz', files, 'w:gz')
    return with_numbers('imagenetv2', images=12, classes=12)


def cifar10_c(folder):
    arrays = {name: np.zeros((10, 32, 32, 3), np.uint8) for name in CORRUPTIONS}
    arrays['labels'] = np.array([3, 9] * 5, np.uint8)
    files = {}
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array)
        files[f'CIFAR-10-C/{name}.npy'] = stream.getvalue()
    write_tar(folder / 'CIFAR-10-C.tar', files)
    return with_numbers('cifar10-c', images=2)


FAKES = {
    'imagenet': imagenet,
    'imagenette': imagenette,
    'ade20k': ade20k,
    'camvid': camvid,
    'coco': coco,
    'cifar10': cifar10,
    'fashion-mnist': fashion_mnist,
    'flowers102': flowers102,
    'stanford-cars': stanford_cars,
    'domainnet': domainnet,
    'imagenet-a': class_folders('imagenet-a', 'imagenet-a.tar'),
    'imagenet-r': class_folders('imagenet-r', 'imagenet-r.tar'),
    'imagenet-o': class_folders('imagenet-o', 'imagenet-o.tar'),
    'imagenet-sketch': class_folders(
        'imagenet-sketch', 'ImageNet-Sketch.zip', write_zip, 'sketch'
    ),
    'imagenet-c': imagenet_c,
    'imagenetv2': imagenetv2,
    'cifar10-c': cifar10_c,
}
