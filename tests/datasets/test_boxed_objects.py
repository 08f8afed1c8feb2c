"""Images with true boxes: ImageNet's XML files, and localization.txt."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mmtlalign.datasets.boxed_objects import BoxedObjects, read_boxes
from mmtlalign.errors import InputError

XML = """<annotation><folder>val</folder><filename>{name}</filename>
<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{boxes}
</annotation>"""
BOX = (
    '<object><name>n01</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>'
    '<ymax>{}</ymax></bndbox></object>'
)
NAMES = [f'ILSVRC2012_val_0000000{number}' for number in (1, 2, 3)]
BOXES = [[(1, 2, 41, 30), (0, 0, 10, 10)], [(5, 5, 60, 40)], []]


@pytest.fixture
def folder(tmp_path):
    """Three images of 60 x 40 pixels, the last without a box, and both annotations."""
    draw, lines = np.random.default_rng(0), []
    (tmp_path / 'boxes').mkdir()
    for name, boxes, place in zip(NAMES, BOXES, ('n01', 'n02', 'n02')):
        (tmp_path / 'val' / place).mkdir(parents=True, exist_ok=True)
        image = draw.integers(0, 256, (40, 60, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'val' / place / f'{name}.JPEG'), image)
        text = ''.join(BOX.format(*box) for box in boxes)
        text = XML.format(name=name, width=60, height=40, boxes=text)
        (tmp_path / 'boxes' / f'{name}.xml').write_text(text)
        lines += [f'val/{name}.JPEG,' + ','.join(map(str, box)) for box in boxes]
    (tmp_path / 'localization.txt').write_text('\n'.join(lines) + '\n')
    return tmp_path


@pytest.mark.parametrize('file', ['boxes', 'localization.txt'])
def test_boxes_are_squashed_with_their_image(folder, file):
    data = BoxedObjects(file, str(folder), resize=(20, 15))
    assert len(data) == 2  # the third has no box
    first, second = data[0], data[1]
    assert first['img'].shape == (20, 15, 3) and first['img'].dtype == np.uint8
    assert first['object_boxes'].tolist() == [[0, 1, 10, 15], [0, 0, 2, 5]]
    assert second['object_boxes'].tolist() == [[1, 2, 15, 20]]
    whole = BoxedObjects(file, str(folder))[0]
    assert whole['object_boxes'].tolist() == [list(box) for box in BOXES[0]]
    assert whole['ori_shape'] == whole['img_shape'] == (40, 60)


def test_boxes_of_images_of_another_size_are_refused(folder):
    path = folder / 'val/n01' / f'{NAMES[0]}.JPEG'
    cv2.imwrite(str(path), np.zeros((32, 32, 3), np.uint8))
    for file in ('boxes', 'localization.txt'):
        with pytest.raises(
            InputError, match='32 x 32 pixels, but its boxes are for an'
        ):
            BoxedObjects(file, str(folder))[0]
    path.unlink()
    with pytest.raises(InputError, match='does not exist'):
        BoxedObjects('boxes', str(folder))[0]


def test_names_that_repeat_between_folders(tmp_path):
    for value, place in enumerate(('ant', 'bee')):
        (tmp_path / place).mkdir()
        image = np.full((40, 40, 3), 99 * value, np.uint8)
        cv2.imwrite(str(tmp_path / place / '1.JPEG'), image)
    file = tmp_path / 'localization.txt'
    file.write_text('ant/1.JPEG,0,0,9,9\nbee/1.JPEG,5,5,20,20\n')
    data = BoxedObjects(file.name, str(tmp_path))
    assert [data[number]['img'].max() for number in range(2)] == [0, 99]
    file.write_text('val/1.JPEG,0,0,9,9\n')
    with pytest.raises(InputError, match=r'several images have its name .*bee.1\.JPEG'):
        BoxedObjects(file.name, str(tmp_path))


@pytest.mark.parametrize('mark', [1, 3, 6])
def test_images_are_read_as_they_are_stored(tmp_path, mark):
    exif = Image.Exif()
    exif[0x0112] = mark
    image = Image.new('RGB', (30, 30))
    image.paste((255, 255, 255), (4, 2, 20, 14))
    image.save(tmp_path / 'a.JPEG', exif=exif, quality=95)
    (tmp_path / 'boxes.txt').write_text('a.JPEG,4,2,20,14\n')
    sample = BoxedObjects('boxes.txt', str(tmp_path))[0]
    ((left, top, right, bottom),) = sample['object_boxes']
    inside = sample['img'][top:bottom, left:right]
    assert inside.mean() > 240 and sample['img'].sum() < 1.1 * inside.sum()


def test_other_files_are_refused(folder):
    (folder / 'none').mkdir()
    with pytest.raises(InputError, match=r'no \.xml'):
        BoxedObjects('none', str(folder))
    for text in ('<annotation/>', 'name,1,2'):
        (folder / 'none/a.xml').write_text(text)
        with pytest.raises(InputError, match='not an ImageNet annotation'):
            BoxedObjects('none', str(folder))


def test_file_of_boxes(tmp_path):
    path = tmp_path / 'localization.txt'
    path.write_text('val/a.JPEG,1,2,3,4\nval/b.JPEG,0,0,9,9\nval/a.JPEG,5,6,7,8\n')
    boxes = read_boxes(path)
    assert boxes['val/a.JPEG'].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    path.write_text('val/a.JPEG 1 2 3 4\n')
    with pytest.raises(InputError, match='line 1'):
        read_boxes(path)
