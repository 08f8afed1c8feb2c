"""Data of one's own are checked: what is in order passes, each fault is named."""

import json
import shutil

import cv2
import numpy as np
import pytest
from dense_pictures import write_coco
from PIL import Image
from tiny_run import write_images
from tiny_segmentation import write_data

from tools.dataset_converters.check_data import main


def check(capsys, *given):
    with pytest.raises(SystemExit) as end:
        main([*map(str, given)])
    return end.value.code, ' '.join(capsys.readouterr().out.split())


def test_class_folders(tmp_path, capsys):
    root = write_images(tmp_path / 'data')
    assert check(capsys, 'classes', root)[0] == 0
    (root / 'val' / '.ipynb_checkpoints').mkdir()
    assert check(capsys, 'classes', root)[0] == 0
    shutil.move(root / 'val/class1', root / 'val/Class1')
    (root / 'train/class0/00.png').write_bytes(b'')
    status, said = check(capsys, 'classes', root)
    assert status == 1
    assert 'Class1 is only in val; class1 is not in val' in said
    assert 'class0/00.png' in said


def test_masks(tmp_path, capsys):
    root = write_data('camvid', tmp_path / 'data', [0, 1, 2, 3])
    masks = ['masks', root, '--classes', 4, '--ignore', 11]
    assert check(capsys, *masks)[0] == 0
    status, said = check(capsys, *masks[:4])
    assert status == 1 and 'id 11' in said
    status, said = check(capsys, 'masks', root, '--classes', 5, '--ignore', 11)
    assert status == 1 and 'classes in no mask 0 WRONG 1: id 4' in said
    status, said = check(capsys, *masks, '--img-suffix', '.png')
    assert status == 1 and '2 with .jpg' in said
    mask = np.full((96, 128), 255, np.uint8)
    mask[:5] = 0
    for split in ('train', 'val'):
        for name in 'ab':
            cv2.imwrite(str(root / f'{split}annot/{split}_{name}.png'), mask)
    status, said = check(capsys, 'masks', root, '--classes', 2)
    assert status == 1 and 'id 1' in said and 'not 0 and 255' in said


def test_the_part_of_a_comparison(tmp_path, capsys):
    root = write_images(tmp_path / 'data')
    count = len(list((root / 'train/class0').iterdir()))
    asked = ('classes', root, '--splits', 'train', '--images-per-class')
    assert check(capsys, *asked, count)[0] == 0
    status, said = check(capsys, *asked, count + 1)
    assert status == 1
    assert f'without exactly {count + 1} images 0 WRONG' in said
    assert f'class0 {count}; class1 {count}' in said


def test_images_that_training_does_not_read(tmp_path, capsys):
    root = write_images(tmp_path / 'data')
    folder = root / 'train/class0'
    picture = Image.open(folder / '00.png')
    for name in ('a.webp', 'b.tiff'):
        picture.save(folder / name)
    status, said = check(capsys, 'classes', root)
    assert status == 1
    assert 'train: images left out 0 WRONG 2: 1 with .webp; 1 with .tiff' in said
    suffixes = ['--extensions', '.png', '.webp', '.tiff', '.tif']
    assert check(capsys, 'classes', root, *suffixes)[0] == 0
    picture.convert('F').save(folder / 'c.tif')
    status, said = check(capsys, 'classes', root, *suffixes)
    assert status == 1 and 'c.tif (OpenCV' in said and 'unpack' not in said


def test_a_broken_link_is_named(tmp_path, capsys):
    root = write_images(tmp_path / 'data')
    (root / 'train/class0/zz.png').symlink_to('/nowhere.png')
    status, said = check(capsys, 'classes', root)
    assert status == 1
    assert 'empty files 0 WRONG 1: class0/zz.png (a broken link)' in said


def test_masks_of_ones_own_are_not_unpacked_again(tmp_path, capsys):
    root = write_data('camvid', tmp_path / 'data', [0, 1, 2, 3])
    status, said = check(capsys, 'masks', root, '--classes', 4)
    assert status == 1 and 'id 11' in said
    assert '--ignore' in said and 'published' not in said and 'unpack' not in said
    for path in root.glob('*annot/*.png'):
        Image.open(path).save(path.with_suffix('.jpg'))
    lossy = ['--classes', 4, '--ignore', 11, '--seg-map-suffix', '.jpg']
    status, said = check(capsys, 'masks', root, *lossy)
    assert status == 1 and '(JPEG changes ids; write PNG)' in said
    for number in (0, -1):
        with pytest.raises(SystemExit):
            main(['masks', str(root), '--classes', str(number)])
        assert 'the number of classes, 1 or more' in capsys.readouterr().err


def test_coco(tmp_path, capsys):
    write_coco(tmp_path)
    status, said = check(capsys, 'coco', tmp_path)
    assert status == 0 and "classes=('person'" in said
    file = tmp_path / 'annotations/instances_val2017.json'
    content = json.loads(file.read_text())
    content['categories'].reverse()
    first, second = content['annotations']
    first['category_id'] = 0
    second.update(id=first['id'], bbox=[120, 90, 127, 95])
    content['images'][0]['width'] = 64
    file.write_text(json.dumps(content))
    status, said = check(capsys, 'coco', tmp_path)
    assert status == 1
    for words in (
        'other categories than before',
        f'annotation {first["id"]} (0)',
        'duplicate ids',
        'not two corners',
        'another size than the image',
    ):
        assert words in said, words


ODD, FAR = [[4, 4, 9, 4, 9]], [[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]]


@pytest.mark.parametrize('kind, change, said', [
    ('images', dict(width='128'), "has width='128'; it must"),
    ('images', dict(height=None), 'has height=None'),
    ('annotations', dict(area='4'), "has area='4'"),
    ('annotations', dict(iscrowd='0'), "has iscrowd='0'"),
    ('annotations', dict(bbox=[1, 2]), 'has bbox=[1, 2]'),
    ('annotations', dict(segmentation=ODD), 'wrong masks 0 WRONG 1: annotation'),
    ('annotations', dict(segmentation=dict(size=[1, 2], counts='x')), 'size=[1, 2]'),
    ('annotations', dict(segmentation=FAR), 'masks outside their boxes 0 WRONG 1'),
    ('categories', dict(name='car'), 'refused by training 0 WRONG 1'),
])  # fmt: skip
def test_coco_that_training_refuses(tmp_path, capsys, kind, change, said):
    write_coco(tmp_path)
    file = tmp_path / 'annotations/instances_val2017.json'
    content = json.loads(file.read_text())
    content['annotations'] = content['annotations'][:1]
    content[kind][0].update(change)
    file.write_text(json.dumps(content))
    status, text = check(capsys, 'coco', tmp_path)
    assert status == 1 and said in text


def test_coco_image_under_two_ids(tmp_path, capsys):
    write_coco(tmp_path)
    file = tmp_path / 'annotations/instances_val2017.json'
    content = json.loads(file.read_text())
    content['images'].append(content['images'][0] | dict(id=999))
    file.write_text(json.dumps(content))
    status, said = check(capsys, 'coco', tmp_path)
    assert status == 1 and 'images under several ids 0 WRONG 1' in said


def test_coco_without_a_list(tmp_path, capsys):
    write_coco(tmp_path)
    file = tmp_path / 'annotations/instances_val2017.json'
    file.write_text('{"images": [], "categories": [1]}')
    status, said = check(capsys, 'coco', tmp_path)
    assert status == 1 and "no list 'annotations'" in said
