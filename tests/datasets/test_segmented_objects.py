"""Data sets of objects: VOC's layout and COCO's, and the loop that judges attention."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
from contract_rows import ROWS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from pycocotools import mask as coder

from mmtlalign.datasets.segmented_objects import SegmentedObjects, choose_object
from mmtlalign.errors import InputError
from mmtlalign.evaluation.attention_maps import attention_map
from mmtlalign.evaluation.localization import mask_jaccard
from mmtlalign.registry import DATASETS

SIZE = (40, 60)  # height, width


@pytest.fixture
def voc(tmp_path):
    """Two images of VOC: a cat of two parts and a small dog; and one that is empty."""
    maps = {'a': np.zeros((2, *SIZE), np.uint8), 'b': np.zeros((2, *SIZE), np.uint8)}
    classes, instances = maps['a']
    classes[4:20, 4:30], instances[4:20, 4:30] = 8, 1
    classes[25:35, 40:50], instances[25:35, 40:50] = 8, 2
    classes[30:36, 2:8], instances[30:36, 2:8] = 12, 3
    classes[3, 3:30] = 255
    palette = list(np.random.randint(0, 255, 768))
    for kind in ('JPEGImages', 'SegmentationClass', 'SegmentationObject'):
        (tmp_path / kind).mkdir()
    lists = tmp_path / 'ImageSets' / 'Segmentation'
    lists.mkdir(parents=True)
    (lists / 'val.txt').write_text('a\nb\n')
    for name, pair in maps.items():
        image = np.random.randint(0, 255, (*SIZE, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'JPEGImages' / f'{name}.jpg'), image)
        for kind, one in zip(('Class', 'Object'), pair):
            picture = Image.fromarray(one, mode='P')
            picture.putpalette(palette)
            picture.save(tmp_path / f'Segmentation{kind}' / f'{name}.png')
    return tmp_path


@pytest.fixture
def coco(tmp_path):
    """A file of COCO's, with polygons, both kinds of run lengths, and a crowd."""
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((*SIZE, 3), np.uint8))
    small = np.zeros(SIZE, np.uint8, order='F')
    small[6:10, 6:10] = 1
    code = coder.encode(small)
    crowd = np.zeros(SIZE, np.uint8)
    crowd[30:, 50:] = 1
    runs = np.diff(np.flatnonzero(np.diff(crowd.T.ravel(), prepend=0, append=0)))
    first = int(np.flatnonzero(crowd.T.ravel())[0])
    counts = [first, *map(int, runs)]
    segmentations = [
        (7, [[4, 4, 20, 4, 20, 14, 4, 14]], 0),
        (3, dict(size=list(SIZE), counts=code['counts'].decode()), 0),
        (7, dict(size=list(SIZE), counts=counts), 1),
    ]
    content = dict(
        images=[dict(id=1, file_name='a.png', height=SIZE[0], width=SIZE[1])],
        annotations=[
            dict(
                id=i,
                image_id=1,
                category_id=c,
                bbox=[4, 4, 16, 10],
                segmentation=s,
                iscrowd=crowd,
            )
            for i, (c, s, crowd) in enumerate(segmentations, 1)
        ],
        categories=[dict(id=7, name='b'), dict(id=3, name='a')],
    )
    (tmp_path / 'objects.json').write_text(json.dumps(content))
    return tmp_path


def test_voc(voc):
    data = SegmentedObjects(data_root=str(voc))
    assert len(data) == 2 and data.metainfo['classes'][7] == 'cat'
    sample = data[0]
    assert sample['img'].shape == (*SIZE, 3) and sample['object_class'] == 8
    assert sample['object_mask'].sum() == 16 * 26 + 100
    assert sample['object_boxes'].tolist() == [[4, 4, 30, 20], [40, 25, 50, 35]]
    assert set(np.unique(sample['gt_seg_map'])) == {0, 8, 12, 255}
    empty = data[1]
    assert empty['object_class'] == 0 and not empty['object_mask'].any()
    assert empty['object_boxes'].shape == (0, 4)


def test_the_object_is_chosen_after_the_crop(voc):
    # Twice as large, then the middle half of either side.
    data = SegmentedObjects(data_root=str(voc), resize=80, crop=(40, 60))
    sample = data[0]
    assert sample['img_shape'] == (40, 60) and sample['ori_shape'] == SIZE
    full = SegmentedObjects(data_root=str(voc))[0]['gt_seg_map']
    double = full.repeat(2, 0).repeat(2, 1)[20:60, 30:90]
    assert np.array_equal(sample['gt_seg_map'], double)
    assert sample['object_mask'].sum() == (double == 8).sum()
    squashed = SegmentedObjects(data_root=str(voc), resize=(20, 20))[0]
    assert squashed['gt_seg_map'].shape == squashed['img'].shape[:2] == (20, 20)
    with pytest.raises(InputError, match='resize it to a larger size'):
        SegmentedObjects(data_root=str(voc), crop=50)[0]


def test_sizes_round_as_the_hosts_steps(voc):
    init_default_scope('mmpretrain')
    from mmpretrain.datasets import CenterCrop, ResizeEdge

    image = cv2.imread(str(voc / 'JPEGImages' / 'a.jpg'))
    host = ResizeEdge(33).transform(dict(img=image))
    # The host's size is width, height.
    host = CenterCrop((31, 32)).transform(host)['img']
    ours = SegmentedObjects(data_root=str(voc), resize=33, crop=(32, 31))[0]['img']
    assert np.array_equal(ours, host)


def test_coco(coco):
    data = SegmentedObjects('objects.json', str(coco))
    assert data.metainfo['classes'] == ('a', 'b')
    sample = data[0]
    classes = sample['gt_seg_map']
    assert (classes[6:10, 6:10] == 1).all()  # the small one lies above
    assert (classes[30:, 50:] == 255).all()  # of a crowd
    assert sample['object_class'] == 2
    assert sample['object_mask'].sum() == 160 - 16
    assert sample['object_boxes'].tolist() == [[4, 4, 20, 14]]


def test_of_equals_the_lowest_is_chosen():
    classes = np.array([[0, 3, 2, 255, 255]], np.uint8)
    found = choose_object(classes, np.array([[0, 1, 2, 0, 0]], np.uint16))
    assert found['object_class'] == 2 and found['object_boxes'].tolist() == [
        [2, 0, 3, 1]
    ]


@pytest.mark.parametrize(
    ('mark', 'size', 'refused'),
    [(1, SIZE, False), (3, SIZE, True), (6, (40, 40), True), (6, SIZE, False)],
)
def test_images_that_an_orientation_turns(coco, mark, size, refused):
    content = json.loads((coco / 'objects.json').read_text())
    content['annotations'] = content['annotations'][:1]
    content['images'][0] |= dict(height=size[0], width=size[1])
    (coco / 'turned.json').write_text(json.dumps(content))
    exif = Image.Exif()
    exif[0x0112] = mark
    # As stored; where the size shows it, the masks fit the turned image.
    stored = size if mark >= 5 else size[::-1]
    Image.new('RGB', stored).save(coco / 'a.png', exif=exif)
    data = SegmentedObjects('turned.json', str(coco))
    if not refused:
        assert data[0]['object_mask'].sum() == 160
    else:
        with pytest.raises(InputError, match=f'orientation {mark}, and its size'):
            data[0]


def test_wrong_files_are_refused(voc, coco, tmp_path):
    (tmp_path / 'other.json').write_text('{"images": []}')
    with pytest.raises(InputError, match='0 images and no object with a mask'):
        SegmentedObjects('other.json', str(tmp_path))
    content = json.loads((coco / 'objects.json').read_text())
    for key, value, message in (
        ('category_id', 9, 'have a category_id that no category has, such as 9'),
        ('iscrowd', '1', "iscrowd='1'; it must be the number 0 or 1"),
        ('segmentation', [[4, 4, 20, 4]], 'at least three points'),
        ('segmentation', dict(size=[60, 40], counts='0'), 'its image has height 40'),
    ):
        changed = dict(content, annotations=[dict(content['annotations'][0])])
        changed['annotations'][0][key] = value
        (coco / 'changed.json').write_text(json.dumps(changed))
        with pytest.raises(InputError, match=re.escape(message)):
            SegmentedObjects('changed.json', str(coco))
    many = dict(images=[], annotations=[])
    many['categories'] = [dict(id=i, name=str(i)) for i in range(300)]
    (tmp_path / 'many.json').write_text(json.dumps(many))
    with pytest.raises(InputError, match='300 categories'):
        SegmentedObjects('many.json', str(tmp_path))
    cv2.imwrite(str(voc / 'JPEGImages' / 'a.jpg'), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(InputError, match='give the masks of this image'):
        SegmentedObjects(data_root=str(voc))[0]


def config(root, work, **changes):
    """A test of a small ViT on VOC, as a config has it."""
    pack = dict(
        type='PackInputs', algorithm_keys=('gt_seg_map', 'object_mask', 'object_boxes')
    )
    settings = dict(
        default_scope='mmpretrain',
        model=dict(
            type='ImageClassifier',
            backbone=dict(ROWS['ViT'].config),
            head=dict(type='VisionTransformerClsHead', num_classes=4, in_channels=32),
        ),
        data_preprocessor=dict(num_classes=4, mean=[127.0] * 3, std=[64.0] * 3),
        test_dataloader=dict(
            batch_size=2,
            dataset=dict(
                type='mmtlalign.SegmentedObjects',
                data_root=str(root),
                resize=(32, 32),
                pipeline=[pack],
            ),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        test_evaluator=[
            dict(type='mmtlalign.MaskJaccard', mass=0.6),
            dict(type='mmtlalign.BoxAccuracy'),
        ],
        test_cfg=dict(type='mmtlalign.AttentionLoop', which='cls'),
        work_dir=str(work),
        log_level='WARNING',
        experiment_name=work.name,
        randomness=dict(seed=0),
    )
    return Config(dict(settings, **changes))


def test_a_config_judges_attention(voc, tmp_path):
    runner = Runner.from_cfg(config(voc, tmp_path / 'test_judges'))
    figures = runner.test()
    assert figures['jaccard/images'] == figures['jaccard/without_object'] == 1
    assert figures['jaccard/grid_rows'] == figures['jaccard/grid_columns'] == 4
    data = DATASETS.build(
        dict(type='mmtlalign.SegmentedObjects', data_root=str(voc), resize=(32, 32))
    )
    sample = data[0]
    image = torch.from_numpy(sample['img']).permute(2, 0, 1)[None].float()
    mean, std = 127.0, 64.0
    maps = attention_map(runner.model, (image - mean) / std, 'cls')[0]
    scores = mask_jaccard(maps, sample['gt_seg_map'], 0.6)
    assert figures['jaccard/best_head'] == pytest.approx(100 * scores.best_head)
    assert figures['jaccard/head_mean'] == pytest.approx(100 * scores.head_mean)
    assert figures['jaccard/foreground'] == pytest.approx(100 * scores.foreground)
    for name in ('gt_known@0.6', 'gt_known@0.9', 'max_box_acc'):
        assert figures[f'box/{name}'] in (0, 100)
    assert 'box/max_box_acc_v2' in figures and 'box/top1_loc@0.6' not in figures


def test_metrics_need_the_loop(voc, tmp_path):
    cfg = config(voc, tmp_path / 'test_needs', test_cfg=dict())
    with pytest.raises(InputError, match='mmtlalign.AttentionLoop'):
        Runner.from_cfg(cfg).test()
    cfg = config(
        voc,
        tmp_path / 'test_which',
        test_cfg=dict(type='mmtlalign.AttentionLoop', which='x'),
    )
    with pytest.raises(InputError, match="which='x'"):
        Runner.from_cfg(cfg).test()
