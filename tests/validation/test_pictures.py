"""Annotations lie on their pictures, and masks hold the classes that are declared."""

import json
import logging

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmtlalign.datasets.seg_dataset import SegDataset
from mmtlalign.engine.console import import_host
from mmtlalign.engine.runner import TaskRunner
from mmtlalign.errors import InputError
from mmtlalign.validation.data import check_batch_of_one
from mmtlalign.validation.label_maps import find_marks
from mmtlalign.validation.masks import check_masks
from mmtlalign.validation.samples import BrokenSampleError, limit_labels
from tools.dataset_converters.label_maps.images import AnnotatorImages, list_images

LOGGER = logging.getLogger('test_pictures')
LOAD = (dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'))


def picture(path, width=40, height=32, mark=None, kind='JPEG'):
    """A black picture with a white corner, maybe with an orientation mark."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 255
    exif = Image.Exif()
    if mark:
        exif[0x0112] = mark
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(pixels).save(path, kind, exif=exif)


def loader_of(dataset, scope, batch_size=1):
    import_host(scope)
    init_default_scope(scope)
    return TaskRunner.build_dataloader(
        dict(
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dataset,
        )
    )


def segmentation(root, masks, marks=(), size=(40, 32), load=LOAD, **options):
    """A data set of pictures with these masks, as the tools build it."""
    for number, mask in enumerate(masks):
        mark = marks[number] if marks else None
        picture(root / f'images/{number}.jpg', *size, mark)
        (root / 'masks').mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / f'masks/{number}.png')
    return loader_of(
        dict(
            type='BaseSegDataset',
            data_prefix=dict(
                img_path=str(root / 'images'), seg_map_path=str(root / 'masks')
            ),
            metainfo=dict(classes=('a', 'b'), palette=[[0, 0, 0]] * 2),
            pipeline=list(load),
        )
        | options,
        'mmseg',
    ).dataset


def ids(*values, shape=(32, 40), dtype=np.uint8):
    """A mask of stripes of these ids."""
    return np.resize(np.array(values, dtype), shape)


def detection(root, declared, size=(40, 32), mark=None, load=LOAD[0]):
    """A data set of one picture whose file declares a size, as the tools build it."""
    picture(root / '0.jpg', *size, mark)
    box = dict(id=1, image_id=1, category_id=1, bbox=[2, 2, 8, 8], area=64, iscrowd=0)
    width, height = declared
    content = dict(
        images=[dict(id=1, file_name='0.jpg', width=width, height=height)],
        annotations=[box],
        categories=[dict(id=1, name='a')],
    )
    (root / 'coco.json').write_text(json.dumps(content))
    dataset = dict(
        type='CocoDataset',
        ann_file=str(root / 'coco.json'),
        data_prefix=dict(img=str(root)),
        metainfo=dict(classes=('a',)),
        pipeline=[load],
    )
    return loader_of(dataset, 'mmdet').dataset


def test_boxes_of_a_picture_that_was_resized_are_refused(tmp_path):
    assert detection(tmp_path, (40, 32))[0]['img'].shape == (32, 40, 3)
    dataset = detection(tmp_path, (20, 16))
    with pytest.raises(BrokenSampleError, match='pixels but its annotation 20x16'):
        dataset[0]


@pytest.mark.parametrize(
    ('mark', 'declared', 'size', 'said'),
    [
        (6, (40, 32), (40, 32), 'orientation 6 means that it is rotated by 90 degrees'),
        (6, (32, 40), (40, 32), None),  # annotated as viewers show it
        (3, (40, 32), (40, 32), 'orientation 3 .* rotated by 180'),
        (2, (40, 32), (40, 32), 'orientation 2 .* mirrored'),
        (8, (32, 32), (32, 32), 'orientation 8 .* rotated by 90'),
        (1, (40, 32), (40, 32), None),
    ],
)
def test_orientation_marks(tmp_path, mark, declared, size, said):
    dataset = detection(tmp_path / 'd', declared, size, mark)
    masks = [ids(0, 1, shape=declared[::-1])]
    masked = segmentation(tmp_path / 's', masks, [mark], size)
    if said is None:
        assert dataset[0]['img'].shape[:2] == declared[::-1]
        assert masked[0]['gt_seg_map'].shape == declared[::-1]
        return
    for one in (dataset, masked):
        with pytest.raises(BrokenSampleError, match=said):
            one[0]


@pytest.mark.parametrize('mark', [3, 6])
def test_marks_that_the_pipeline_ignores_are_right(tmp_path, mark):
    load = dict(LOAD[0], color_type='color_ignore_orientation')
    dataset = detection(tmp_path / 'd', (40, 32), mark=mark, load=load)
    assert dataset[0]['img'][0, 0, 0] > 200
    masked = segmentation(tmp_path / 's', [ids(0, 1)], [mark], load=(load, LOAD[1]))
    assert masked[0]['gt_seg_map'].shape == (32, 40)


def test_masks_in_test_time_augmentation_are_compared(tmp_path):
    views = [[dict(type='Resize', scale=(32, 32))], [LOAD[1]]]
    load = (LOAD[0], dict(type='TestTimeAug', transforms=views))
    dataset = segmentation(tmp_path, [ids(0, 1, shape=(16, 20))], load=load)
    with pytest.raises(BrokenSampleError, match='40x32 pixels but its mask 20x16'):
        dataset[0]


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('mark', [None, 2, 3, 6])
def test_annotators_read_as_training_does(tmp_path, kind, mark):
    picture(tmp_path / 'a' / 'x.png', mark=mark, kind=kind)
    size = mmcv.imread(str(tmp_path / 'a/x.png')).shape[:2]
    (image,) = AnnotatorImages(tmp_path, ['a/x.png'], size)
    read = mmcv.imread(str(tmp_path / 'a/x.png'), channel_order='rgb')
    assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - read).max() <= 8


def test_annotators_skip_hidden_folders(tmp_path):
    picture(tmp_path / 'a/x.jpg')
    picture(tmp_path / 'a/.ipynb_checkpoints/x-checkpoint.jpg')
    assert list_images(tmp_path) == ['a/x.jpg']


def test_masks_of_0_and_255_for_two_classes(tmp_path):
    dataset = segmentation(tmp_path, [ids(0, 255), ids(0)])
    with pytest.raises(InputError, match=r'b \(id 1\).*ids 0, 255.*1 in place of 255'):
        check_masks(dataset, 'train_dataloader', LOGGER)


@pytest.mark.parametrize(
    ('mask', 'said'),
    [
        (ids(0, 7), r'holds id 7, but the model has 2 classes'),
        (ids(0, 1, shape=(16, 20)), '40x32 pixels but its mask 20x16'),
        (ids(0, 1, shape=(32, 40, 3)), 'a colour image'),
    ],
)
def test_masks_that_are_read_are_checked_at_the_start(tmp_path, mask, said):
    dataset = segmentation(tmp_path, [ids(0, 1), mask])
    limit_labels(dataset, 2, {255})
    with pytest.raises(BrokenSampleError, match=f'images/1.jpg.*masks/1.png.*{said}'):
        check_masks(dataset, 'train_dataloader', LOGGER)


def test_masks_for_steps_of_the_user_are_not_judged(tmp_path):
    class LoadAnnotations:  # makes ids of colours
        def __call__(self, results):
            return results

    dataset = segmentation(tmp_path, [ids(0, 1, shape=(32, 40, 3))])
    dataset.pipeline.pipeline.transforms[1] = LoadAnnotations()
    check_masks(dataset, 'train_dataloader', LOGGER)


def test_masks_with_lossy_compression_are_refused(tmp_path):
    segmentation(tmp_path, [ids(0, 1)])
    picture = Image.open(tmp_path / 'masks/0.png')
    picture.save(tmp_path / 'masks/0.jpg', quality=95)
    dataset = segmentation(tmp_path, [ids(0, 1)], seg_map_suffix='.jpg')
    with pytest.raises(BrokenSampleError, match='masks/0.jpg.*is a JPEG file'):
        check_masks(dataset, 'train_dataloader', LOGGER)
    with pytest.raises(BrokenSampleError, match='masks/0.jpg.*is a JPEG file'):
        dataset[0]


@pytest.mark.parametrize(
    ('masks', 'options', 'said'),
    [
        ([ids(0, 1, 255)], {}, ''),
        ([ids(0), ids(1)], {}, ''),
        ([ids(0)], {}, '1 of 2 classes are in none of the 1 masks: b (id 1)'),
        ([ids(0, 1, 2)], dict(reduce_zero_label=True), ''),
        ([ids(0, 1)], dict(reduce_zero_label=True), 'b (id 1)'),
    ],
)
def test_classes_in_no_mask(tmp_path, caplog, masks, options, said):
    dataset = segmentation(tmp_path, masks, **options)
    with caplog.at_level('WARNING'):
        check_masks(dataset, 'train_dataloader', LOGGER)
    assert said in caplog.text if said else not caplog.text


def test_a_class_that_is_always_ignored(tmp_path, caplog):
    ignore = dict(type='mmtlalign.IgnoreLabels', labels=(1,))
    dataset = segmentation(tmp_path, [ids(0, 1)], load=(*LOAD, ignore))
    with caplog.at_level('WARNING'):
        check_masks(dataset, 'train_dataloader', LOGGER)
    assert 'b (id 1)' in caplog.text and '1 are ignored' in caplog.text


def test_ids_beyond_8_bits_in_any_file(tmp_path):
    dataset = segmentation(tmp_path, [ids(0, 1), ids(0, 300, dtype=np.uint16)])
    assert dataset[0]['gt_seg_map'].max() == 1
    with pytest.raises(BrokenSampleError, match='masks/1.png.*holds id 300'):
        dataset[1]


def test_pictures_of_two_endings(tmp_path):
    for name, kind in (('a.png', 'PNG'), ('b.jpg', 'JPEG')):
        picture(tmp_path / 'images' / name, kind=kind)
    options = dict(
        data_prefix=dict(img_path=str(tmp_path / 'images'), seg_map_path='masks'),
        metainfo=dict(classes=('a',), palette=[[0, 0, 0]]),
        img_suffix=('.jpg', '.png'),
    )
    dataset = SegDataset(**options)
    found = [dataset.get_data_info(i)['seg_map_path'] for i in range(len(dataset))]
    assert found == ['masks/a.png', 'masks/b.png']
    (tmp_path / 'list.txt').write_text('b\na\n')
    dataset = SegDataset(ann_file=str(tmp_path / 'list.txt'), **options)
    assert len(dataset) == 2
    (tmp_path / 'list.txt').write_text('b\na\nb\n')
    dataset = SegDataset(ann_file=str(tmp_path / 'list.txt'), **options)
    found = [dataset.get_data_info(i)['seg_map_path'] for i in range(len(dataset))]
    assert found == ['masks/b.png', 'masks/a.png', 'masks/b.png']
    (tmp_path / 'list.txt').write_text('b\nc\n')
    with pytest.raises(InputError, match=r'list.txt.*any of the suffixes.*c.jpg'):
        SegDataset(ann_file=str(tmp_path / 'list.txt'), **options)
    picture(tmp_path / 'images/a.jpg')
    with pytest.raises(InputError, match='two images for the same mask'):
        SegDataset(**options)


def test_other_endings_are_named_in_an_empty_data_set(tmp_path):
    with pytest.raises(InputError, match=r"img_suffix='.tif'.*1 .jpg .*0.jpg"):
        segmentation(tmp_path, [ids(0, 1)], img_suffix='.tif')


def upernet():
    import_host('mmseg')
    init_default_scope('mmseg')
    return MODELS.build(
        dict(
            type='mmseg.UPerHead',
            in_channels=[8, 8],
            in_index=[0, 1],
            channels=8,
            num_classes=2,
            norm_cfg=dict(type='BN'),
        )
    )


@pytest.mark.parametrize(
    ('batch_size', 'said'),
    [(2, 'last batch of 3 samples with batch_size=2'), (3, ''), (1, 'batch_size=1')],
)
def test_batch_of_one_for_upernet(tmp_path, batch_size, said):
    dataset = segmentation(tmp_path, [ids(0, 1)] * 3)
    loader = torch.utils.data.DataLoader(dataset, batch_size)
    plain = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    check_batch_of_one(plain, loader, 'train_dataloader')
    if not said:
        check_batch_of_one(upernet(), loader, 'train_dataloader')
        return
    with pytest.raises(InputError, match=said):
        check_batch_of_one(upernet(), loader, 'train_dataloader')


def test_masks_of_a_wrapped_data_set_are_looked_at(tmp_path):
    inner = segmentation(tmp_path, [ids(0, 255)])
    wrapped = torch.utils.data.ConcatDataset([inner])
    with pytest.raises(InputError, match='in place of 255'):
        check_masks(wrapped, 'train_dataloader', LOGGER)
    assert cv2.imread(str(tmp_path / 'images/0.jpg')) is not None


def test_marks_of_images_with_label_maps_are_told(tmp_path):
    for number, mark in enumerate((1, 6, 1)):
        picture(tmp_path / f'{number}.jpg', mark=mark)

    class Images(list):
        def get_data_info(self, number):
            return dict(img_path=str(self[number]))

    images = Images(sorted(tmp_path.glob('*.jpg')))
    (line,) = find_marks(images, 'train_dataloader')
    assert '1 of 3 checked images have an EXIF orientation' in line and '1.jpg' in line
    assert not find_marks(Images(images[::2]), 'train_dataloader')
