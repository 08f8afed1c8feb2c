"""Labels of COCO files follow names, and what a file lacks is said before the start."""

import json
import logging
import sys
import types

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

pytest.importorskip('mmcv.ops', reason='mmdet needs the compiled mmcv')

from mmdet.evaluation.metrics import CocoMetric as HostMetric
from pycocotools import mask as rle

from mmtlalign.datasets.coco_file import count_dropped
from mmtlalign.engine.console import import_host
from mmtlalign.engine.runner import TaskRunner
from mmtlalign.errors import InputError
from mmtlalign.evaluation.coco_metric import CocoMetric
from mmtlalign.validation.coco import (
    check_coco_data,
    check_coco_metric,
    order_labels,
)

LOGGER = logging.getLogger('test_coco_files')
CLASSES = ('cat', 'dog', 'fox')
BACKENDS = ('faster', 'pycocotools')


def content(pictures=4, **first):
    """A file with a box of every class in every picture; changes of the first box."""
    boxes = [
        dict(id=3 * i + k + 1, image_id=i + 1, category_id=k + 1, iscrowd=0, area=400)
        | dict(bbox=[2 + 20 * k, 4, 20, 20])
        | dict(segmentation=[[2 + 20 * k, 4, 22 + 20 * k, 4, 22 + 20 * k, 24]])
        for i in range(pictures)
        for k in range(3)
    ]
    boxes[0] |= first
    return dict(
        images=[
            dict(id=i + 1, file_name=f'{i}.png', width=64, height=64)
            for i in range(pictures)
        ],
        annotations=boxes,
        categories=[dict(id=k + 1, name=name) for k, name in enumerate(CLASSES)],
    )


def write(path, value, bom=''):
    path.write_text(bom + json.dumps(value))
    return str(path)


def built(folder, value, **options):
    """The data set of a file as the tools build it."""
    import_host('mmdet')
    init_default_scope('mmdet')
    folder.mkdir(exist_ok=True)
    path = value if isinstance(value, str) else write(folder / 'coco.json', value)
    loader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='CocoDataset',
            ann_file=path,
            data_prefix=dict(img=str(folder)),
            metainfo=dict(classes=CLASSES),
            pipeline=[dict(type='LoadImageFromFile')],
        )
        | options,
    )
    return TaskRunner.build_dataloader(loader).dataset


@pytest.fixture
def warned(monkeypatch):
    """What mmengine's logger is warned of."""
    lines = []

    def handle(record):
        if record.levelno >= logging.WARNING:
            lines.append(record.getMessage())

    monkeypatch.setattr(MMLogger.get_current_instance(), 'handle', handle)
    return lines


def perfect(dataset):
    """What a detector says that has learnt the data set."""
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        boxes = [instance['bbox'] for instance in info['instances']]
        labels = [instance['bbox_label'] for instance in info['instances']]
        masks = [rle.frPyObjects(one['mask'], 64, 64)[0] for one in info['instances']]
        yield dict(
            img_id=info['img_id'],
            ori_shape=(64, 64),
            pred_instances=dict(
                bboxes=torch.tensor(boxes, dtype=torch.float),
                labels=torch.tensor(labels),
                scores=torch.ones(len(labels)),
                masks=masks,
            ),
        )


def score(path, learnt, backend, **options):
    metric = CocoMetric(path, backend=backend, classwise=True, **options)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, list(perfect(learnt)))
    return metric.evaluate(size=len(learnt))


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_labels_follow_names(tmp_path, backend, order):
    train = built(tmp_path / 'train', content())
    other = content()
    other['categories'] = [other['categories'][i] for i in order]
    val = built(tmp_path / 'val', other, test_mode=True)
    for dataset in (train, val):
        labels = [i['bbox_label'] for i in dataset.get_data_info(0)['instances']]
        assert labels == [0, 1, 2]
        assert dataset.cat2label == {1: 0, 2: 1, 3: 2}
    # One class is never found; figures by class are those of its name.
    other['annotations'] = [a for a in other['annotations'] if a['category_id'] != 2]
    path = write(tmp_path / 'val.json', other)
    found = score(path, train, backend)
    assert found['coco/cat_precision'] == found['coco/fox_precision'] == 1
    assert np.isnan(found['coco/dog_precision'])


def evaluator(metric):
    return types.SimpleNamespace(metrics=[metric])


def test_labels_of_the_hosts_metric_follow_names(tmp_path):
    other = content()
    other['categories'].reverse()
    dataset = built(tmp_path / 'd', other, test_mode=True)
    metric = HostMetric(str(tmp_path / 'd/coco.json'), classwise=True)
    check_coco_metric(evaluator(metric), dataset, 'val_dataloader', LOGGER)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, list(perfect(dataset)))
    assert metric.evaluate(size=len(dataset))['coco/bbox_mAP'] == 1
    # mmdet would print the figure of one class beside the name of another.
    with pytest.raises(InputError, match="type='mmtlalign.CocoMetric'"):
        order_labels(metric, CLASSES[::-1], 'val_evaluator')


def test_metric_of_another_split_is_refused(tmp_path, caplog):
    dataset = built(tmp_path / 'd', content(), test_mode=True)
    other = content()
    for image in other['images']:
        image['file_name'] = f'train_{image["file_name"]}'
    metric = CocoMetric(write(tmp_path / 'train.json', other))
    with pytest.raises(InputError, match='set val_evaluator.ann_file|Set val_eval'):
        check_coco_metric(evaluator(metric), dataset, 'val_dataloader', LOGGER)
    metric = CocoMetric(write(tmp_path / 'more.json', content(5)))
    with caplog.at_level('WARNING'):
        check_coco_metric(evaluator(metric), dataset, 'val_dataloader', LOGGER)
    assert '1 more images' in caplog.text
    with pytest.raises(InputError, match='is not in it'):
        metric = CocoMetric(write(tmp_path / 'less.json', content(3)))
        check_coco_metric(evaluator(metric), dataset, 'val_dataloader', LOGGER)


def test_metric_of_a_split_of_the_same_names_is_refused(tmp_path):
    dataset = built(tmp_path / 'd', content(), test_mode=True)

    def check(value):
        metric = CocoMetric(write(tmp_path / 'other.json', value))
        check_coco_metric(evaluator(metric), dataset, 'test_dataloader', LOGGER)

    check(content())  # a copy of the file
    check(content(bbox=[3, 4, 20, 20]))  # one box corrected
    other = content()
    for one in other['annotations']:
        one['bbox'][1] += 7
    with pytest.raises(InputError, match='only 0 of its 12 boxes.*Set test_eval'):
        check(other)


def test_masks_that_are_not_there_are_not_scored(tmp_path):
    dataset = built(tmp_path / 'd', content(), test_mode=True)
    path = str(tmp_path / 'd/coco.json')
    boxes, masks = torch.nn.Module(), torch.nn.Module()
    boxes.roi_head, masks.roi_head = torch.nn.Module(), torch.nn.Module()
    masks.roi_head.mask_head = torch.nn.Identity()

    def check(model, path=path, metric=('bbox', 'segm')):
        metrics = evaluator(CocoMetric(path, metric=list(metric)))
        check_coco_metric(metrics, dataset, 'val_dataloader', LOGGER, model)

    check(masks)
    check(boxes, metric=('bbox',))
    with pytest.raises(InputError, match='the model has no mask head'):
        check(boxes)
    bare = write(tmp_path / 'bare.json', content(segmentation=[]))
    check(masks, bare, metric=('bbox',))
    with pytest.raises(InputError, match='1 of 12 annotations .* no mask'):
        check(masks, bare)


def test_paths_of_pictures_above_the_folder(tmp_path):
    value = content()
    for image in value['images']:
        image['file_name'] = f'../d/./{image["file_name"]}'
    dataset = built(tmp_path / 'd', value, test_mode=True)
    metric = evaluator(CocoMetric(str(tmp_path / 'd/coco.json')))
    check_coco_metric(metric, dataset, 'val_dataloader', LOGGER)


def renamed(kind, key, value):
    """The file with another value of the first entry of a list."""
    changed = content()
    changed[kind][0][key] = value
    return changed


def counted_from_0():
    changed = content()
    for one in changed['annotations']:
        one['category_id'] -= 1
    return changed


WRONG = {
    'labels from 0': (counted_from_0(), '4 of 12 .* category_id that no category'),
    'text image_id': (content(image_id='1'), "image_id='1' as str"),
    'id twice': (content(id=2), "ids of 'annotations' occur more than once"),
    'name twice': (renamed('categories', 'name', 'dog'), 'names of categories occur'),
    'no box': (content(bbox=None), 'bbox=None'),
    'three numbers': (content(bbox=[1, 2, 3]), 'four numbers'),
    'text iscrowd': (content(iscrowd='0'), "annotation 1 has iscrowd='0'; it must"),
    'text area': (content(area='400'), "annotation 1 has area='400'; it must be a num"),
    'text width': (renamed('images', 'width', '64'), "image 1 has width='64'; it must"),
    'null height': (renamed('images', 'height', None), 'image 1 has height=None'),
    'no width': (renamed('images', 'width', 64), None),
    'mixed ids': (renamed('images', 'id', 'x'), 'of types int, str'),
    'other names': (renamed('categories', 'name', 'cow'), 'no category for 1 of the 3'),
}


@pytest.mark.parametrize('name', WRONG)
def test_wrong_files_are_explained(tmp_path, name):
    value, said = WRONG[name]
    if said is None:
        value = content()
        del value['images'][0]['width']
        said = "entry of 'images' has no width"
    with pytest.raises(InputError, match=said):
        built(tmp_path / 'd', value)
    if name != 'other names':
        with pytest.raises(InputError, match=said):
            CocoMetric(write(tmp_path / 'x.json', value))


DROPPED = {
    'outside the image': dict(bbox=[100, 100, 20, 20]),
    'less than a pixel': dict(bbox=[0.1, 0.1, 0.5, 0.5]),
    'whose image is not in the file': dict(image_id=99),
}


@pytest.mark.parametrize('reason', DROPPED)
def test_what_is_left_out_is_counted(tmp_path, warned, reason):
    dataset = built(tmp_path / 'd', content(**DROPPED[reason]))
    kept = sum(len(dataset.get_data_info(i)['instances']) for i in range(len(dataset)))
    assert kept == 11
    (line,) = warned
    assert '1 of 12 annotations are left out' in line and reason in line


def test_a_part_of_the_classes_is_counted(tmp_path, warned):
    dataset = built(tmp_path / 'd', content(), metainfo=dict(classes=('fox',)))
    assert [i['bbox_label'] for i in dataset.get_data_info(0)['instances']] == [0]
    assert not warned  # may be what is meant: a line of the log
    (line,) = count_dropped(content(), 'x.json', ('fox',))
    assert '8 of 12 annotations are left out, of a category' in line


def test_good_files_are_not_mentioned(tmp_path, warned):
    built(tmp_path / 'd', content())
    assert not warned


def test_nothing_left_is_an_error(tmp_path):
    value = content()
    for one in value['annotations']:
        one['bbox'] = [x / 64 for x in one['bbox']]
    with pytest.raises(InputError, match='less than a pixel .* None is left'):
        built(tmp_path / 'd', value)


def test_corners_in_place_of_sizes_are_told(tmp_path, warned):
    value = content()
    for one in value['annotations']:
        x, y, width, height = one['bbox']
        one['bbox'] = [x, y, x + width, y + height]
    built(tmp_path / 'd', value)
    (line,) = warned
    assert 'look like two corners' in line


@pytest.mark.parametrize('backend', BACKENDS)
def test_files_without_crowds_and_areas(tmp_path, warned, backend):
    value = content()
    for one in value['annotations']:
        del one['iscrowd'], one['area']
    dataset = built(tmp_path / 'd', value)
    assert len(dataset.get_data_info(0)['instances']) == 3
    assert any('have no area' in line for line in warned)
    found = score(str(tmp_path / 'd/coco.json'), dataset, backend)
    assert found['coco/bbox_mAP'] == 1


MASKS = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_mask=True)]
TRIANGLE = [2, 4, 22, 4, 22, 24]
RLE = dict(size=[64, 64], counts='not decoded')
WRONG_MASKS = {
    'odd number': [TRIANGLE[:-1]],
    'two points': [TRIANGLE[:4]],
    'no point': [[]],
    'pairs': [[[2, 4], [22, 4], [22, 24]]],
    'flat': TRIANGLE,
    'text': [['2', '4', '22', '4', '22', '24']],
    'odd later': [TRIANGLE, [2, 4, 6]],
    'another size': RLE | dict(size=[128, 128]),
    'no counts': dict(size=[64, 64]),
}


@pytest.mark.parametrize('mask', WRONG_MASKS.values(), ids=WRONG_MASKS)
def test_wrong_masks_are_refused_where_masks_are_read(tmp_path, mask):
    dataset = built(tmp_path / 'd', content(segmentation=mask), test_mode=True)
    path = str(tmp_path / 'd/coco.json')
    with pytest.raises(InputError, match='annotation 1 has'):
        built(tmp_path / 'd', path, pipeline=MASKS)
    for metric in (CocoMetric, HostMetric):
        boxes, masks = (evaluator(metric(path, metric=m)) for m in ('bbox', 'segm'))
        check_coco_metric(boxes, dataset, 'val_dataloader', LOGGER)
        with pytest.raises(InputError, match='its ann_file: annotation 1 has'):
            check_coco_metric(masks, dataset, 'val_dataloader', LOGGER)


def test_size_of_a_mask_is_height_and_width(tmp_path):
    value = content(segmentation=RLE | dict(size=[64, 48]))
    value['images'][0]['width'] = 48
    built(tmp_path / 'd', value, pipeline=MASKS)
    value['images'][0].update(height=48, width=64)
    with pytest.raises(InputError, match=r'size=\[64, 48\], .* height 48 and width 64'):
        built(tmp_path / 'd', value, pipeline=MASKS)


def test_a_later_polygon_without_area_is_no_fault(tmp_path, warned):
    value = content(segmentation=[TRIANGLE, TRIANGLE[:4]])
    built(tmp_path / 'd', value, pipeline=MASKS)
    assert not warned


def test_polygons_outside_their_boxes_are_told(tmp_path, warned):
    value = content(segmentation=[[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]])
    built(tmp_path / 'd', value, pipeline=MASKS)
    assert not warned
    for one in value['annotations']:
        one['segmentation'] = [[x / 64 for x in TRIANGLE]]
    built(tmp_path / 'd', value)
    assert not warned
    built(tmp_path / 'd', value, pipeline=MASKS)
    (line,) = warned
    assert 'polygons of 12 of 12 annotations begin outside' in line


def test_polygons_alone_are_read_from_a_file_with_rle(tmp_path):
    steps = [MASKS[0], MASKS[1] | dict(poly2mask=False)]
    crowd = content(segmentation=RLE, iscrowd=1)
    check_coco_data(built(tmp_path / 'd', crowd, pipeline=steps))
    one = content(segmentation=RLE)
    check_coco_data(built(tmp_path / 'd', one, pipeline=MASKS))
    with pytest.raises(InputError, match='masks of 1 of 12 .*remove poly2mask=False'):
        check_coco_data(built(tmp_path / 'd', one, pipeline=steps))


def test_an_image_under_two_ids_is_told(tmp_path, warned):
    value = content()
    value['images'][1]['file_name'] = '0.png'
    built(tmp_path / 'd', value)
    (line,) = warned
    assert '1 images occur under several ids, 0.png' in line


# What becomes of ids of images, categories and annotations.
OTHER_IDS = {
    'from 0': (int, int, lambda number: number - 1),
    'text': (int, int, str),
    'floats': (int, int, float),
    'negative': (lambda number: -number, int, int),
    'text categories': (int, lambda number: f'kind {number}', int),
    'beyond 64 bits': (int, int, lambda number: number + 2**64),
}


def with_other_ids(name):
    value, (image, category, annotation) = content(), OTHER_IDS[name]
    for one in value['annotations']:
        one['id'] = annotation(one['id'])
        one['image_id'] = image(one['image_id'])
        one['category_id'] = category(one['category_id'])
    for kind, changed in dict(images=image, categories=category).items():
        for one in value[kind]:
            one['id'] = changed(one['id'])
    return value


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('name', OTHER_IDS)
def test_any_ids_are_scored(tmp_path, backend, name):
    dataset = built(tmp_path / 'd', with_other_ids(name))
    metric = ['bbox', 'segm']
    found = score(str(tmp_path / 'd/coco.json'), dataset, backend, metric=metric)
    assert found['coco/bbox_mAP'] == found['coco/segm_mAP'] == 1
    assert all(found[f'coco/{name}_precision'] == 1 for name in CLASSES)


@pytest.mark.parametrize('backend', BACKENDS)
def test_float_references_are_scored(tmp_path, backend):
    value = content(image_id=99.0)  # an image that is not listed
    for one in value['annotations'][1:]:
        for key in ('image_id', 'category_id'):
            one[key] = float(one[key])
    dataset = built(tmp_path / 'd', value)
    metric = ['bbox', 'segm']
    found = score(str(tmp_path / 'd/coco.json'), dataset, backend, metric=metric)
    assert found['coco/bbox_mAP'] == found['coco/segm_mAP'] == 1


def test_the_hosts_metric_counts_annotation_0(tmp_path):
    dataset = built(tmp_path / 'd', with_other_ids('from 0'), test_mode=True)
    metric = HostMetric(str(tmp_path / 'd/coco.json'))
    check_coco_metric(evaluator(metric), dataset, 'val_dataloader', LOGGER)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, list(perfect(dataset)))
    assert metric.evaluate(size=len(dataset))['coco/bbox_mAP'] == 1


@pytest.mark.parametrize('backend', BACKENDS)
def test_image_ids_of_text(tmp_path, backend):
    value = content()
    for image in value['images']:
        image['id'] = f'p{image["id"]}'
    for one in value['annotations']:
        one['image_id'] = f'p{one["image_id"]}'
    dataset = built(tmp_path / 'd', value)
    found = score(str(tmp_path / 'd/coco.json'), dataset, backend)
    assert found['coco/bbox_mAP'] == 1


def test_byte_order_mark(tmp_path):
    path = write(tmp_path / 'bom.json', content(), bom='\ufeff')
    assert len(built(tmp_path / 'd', path)) == 4
    assert len(CocoMetric(path)._coco_api.anns) == 12


XML = """<annotation><size><width>64</width><height>64</height></size>
{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>0</difficult><bndbox>
<xmin>5</xmin><ymin>5</ymin><xmax>25</xmax><ymax>25</ymax></bndbox></object>"""


def write_voc(folder, *names):
    """Two pictures of Pascal VOC with an object of each name."""
    (folder / 'Annotations').mkdir(parents=True)
    for number in range(2):
        objects = ''.join(OBJECT.format(name=name) for name in names)
        (folder / f'Annotations/{number}.xml').write_text(XML.format(objects=objects))
    (folder / 'list.txt').write_text('0\n1\n')
    return dict(
        type='VOCDataset', data_root=str(folder), ann_file='list.txt',
        data_prefix=dict(sub_data_root=''), metainfo=dict(classes=('cat', 'dog')),
    )  # fmt: skip


def test_objects_of_pascal_voc_that_are_left_out(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr('mmtlalign.validation.reading.print_log',
                        lambda line, **more: told.append(line))  # fmt: skip
    dataset = built(tmp_path, '', **write_voc(tmp_path / 'a', 'cat', 'dog', 'Dog'))
    assert len(dataset.get_data_info(0)['instances']) == 2
    (line,) = told
    assert '2 of 6 objects are left out' in line and 'Dog' in line
    with pytest.raises(InputError, match='None is left: set metainfo'):
        built(tmp_path, '', **write_voc(tmp_path / 'b', 'Dog'))


class FakeLVIS:
    """What mmdet calls of the package lvis."""

    def __init__(self, path):
        with open(path) as file:
            self.dataset = json.load(file)
        self.cat_img_map = {}

    def get_cat_ids(self):
        return [one['id'] for one in self.dataset['categories']]

    def get_img_ids(self):
        return [one['id'] for one in self.dataset['images']]

    def load_imgs(self, ids):
        return [one for one in self.dataset['images'] if one['id'] in ids]

    def get_ann_ids(self, img_ids):
        found = self.dataset['annotations']
        return [one['id'] for one in found if one['image_id'] in img_ids]

    def load_anns(self, ids):
        return [one for one in self.dataset['annotations'] if one['id'] in ids]


def test_annotations_of_lvis_that_are_left_out(tmp_path, monkeypatch, warned):
    monkeypatch.setitem(sys.modules, 'lvis', types.SimpleNamespace(LVIS=FakeLVIS))
    dataset = built(tmp_path, content(bbox=[200, 4, 20, 20]), type='LVISV05Dataset')
    assert len(dataset.get_data_info(0)['instances']) == 2
    (line,) = warned
    assert '1 of 12 annotations are left out, outside the image' in line
    assert sys.modules['lvis'].LVIS is FakeLVIS
