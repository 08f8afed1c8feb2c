"""Both COCO backends give the same figures, and pycocotools' are known ones."""

import json
import logging
import subprocess
import sys

import mmdet.evaluation.metrics.coco_metric as mmdet_file
import numpy as np
import pytest
import torch
from mmengine.registry import METRICS, init_default_scope
from pycocotools import mask as rle

import mmtlalign.evaluation.coco_metric as file
from mmtlalign.errors import InputError
from mmtlalign.evaluation.coco_metric import CocoMetric

HEIGHT, WIDTH = 200, 240
CLASSES = ('disc', 'box', 'never seen')


def draw(box):
    """A mask: the ellipse inside a box (x1, y1, x2, y2)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    x1, y1, x2, y2 = box
    inside = ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2
    inside = inside + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2
    return np.asfortranarray(inside <= 0.25, np.uint8)


def encode(mask):
    coded = rle.encode(mask)
    return dict(size=coded['size'], counts=coded['counts'].decode())


class Case:
    """Pictures with annotations, and what a detector says of them."""

    def __init__(self):
        self.annotations, self.predictions = [], []

    def picture(self, objects, found):
        """Objects (box, class, crowd); found (box, class, score)."""
        number = len(self.predictions)
        for box, label, crowd in objects:
            x1, y1, x2, y2 = box
            mask = draw(box)
            self.annotations.append(dict(
                id=len(self.annotations) + 1, image_id=number, category_id=label + 1,
                bbox=[x1, y1, x2 - x1, y2 - y1], area=float(mask.sum()),
                iscrowd=int(crowd), segmentation=encode(mask),
            ))  # fmt: skip
        self.predictions.append(dict(
            img_id=number,
            bboxes=np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
            labels=np.array([label for _, label, _ in found], np.int64),
            scores=np.array([score for _, _, score in found], np.float32),
            masks=[encode(draw(box)) for box, _, _ in found],
        ))  # fmt: skip

    def write(self, path):
        path.write_text(json.dumps(dict(
            images=[
                dict(id=p['img_id'], width=WIDTH, height=HEIGHT, file_name='x.jpg')
                for p in self.predictions
            ],
            annotations=self.annotations,
            categories=[dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)],
        )))  # fmt: skip
        return str(path)


def scores(case, tmp_path, backend, **kwargs):
    metric = CocoMetric(
        case.write(tmp_path / 'gt.json'), backend=backend, classwise=True, **kwargs
    )
    assert metric.backend == backend
    metric.dataset_meta = dict(classes=CLASSES)
    seen = []

    def keep(evaluation):
        seen.extend(evaluation.eval[name] for name in ('precision', 'recall'))
        seen.append(evaluation.stats)

    target = file if backend == 'faster' else mmdet_file
    kept = keeping(target, keep, backend)
    with pytest.MonkeyPatch.context() as swap:
        swap.setattr(*kept)
        results = [({}, dict(p)) for p in case.predictions]
        return metric.compute_metrics(results), seen


def keeping(module, keep, backend):
    """What to set so that each evaluation shows its arrays."""

    def wrap(cls):
        class Keeping(cls):
            def summarize(self):
                super().summarize()
                keep(self)

        return Keeping

    if backend == 'faster':
        plain = module.faster_coco_eval
        return module, 'faster_coco_eval', lambda: wrap(plain())
    return module, 'COCOeval', wrap(module.COCOeval)


def random_case(seed):
    random = np.random.default_rng(seed)
    case = Case()

    def box():
        side = random.choice([8, 30, 60, 120])
        w, h = random.uniform(side / 2, side, 2)
        x, y = random.uniform(0, WIDTH - w), random.uniform(0, HEIGHT - h)
        return np.array([x, y, x + w, y + h])

    for _ in range(8):
        objects, found = [], []
        for _ in range(random.integers(0, 7)):
            place, label = box(), int(random.integers(2))
            objects.append((place.tolist(), label, random.random() < 0.2))
            for _ in range(random.integers(0, 3)):
                near = np.clip(place + random.normal(0, 4, 4), 0, HEIGHT)
                near[2:] = np.maximum(near[2:], near[:2] + 2)
                # Scores of one decimal: many are equal.
                score = round(float(random.random()), 1)
                found.append((near, label if random.random() < 0.9 else 2, score))
        for _ in range(random.integers(0, 4)):
            found.append((box(), int(random.integers(3)), float(random.random())))
        case.picture(objects, found)
    return case


A, B, FAR = [10, 10, 60, 60], [100, 20, 180, 120], [190, 150, 230, 190]


def crafted_case(name):
    case = Case()
    if name == 'perfect':
        case.picture([(A, 0, False), (B, 1, False)], [(A, 0, 0.9), (B, 1, 0.8)])
    elif name == 'one wrong before':
        case.picture([(A, 0, False)], [(FAR, 0, 0.9), (A, 0, 0.8)])
    elif name == 'crowd takes any number':
        case.picture(
            [(B, 0, True), (A, 0, False)],
            [(B, 0, 0.9), ([105, 30, 160, 100], 0, 0.8), (A, 0, 0.7)],
        )
    elif name == 'only crowd':
        case.picture([(B, 0, True)], [(B, 0, 0.9)])
    elif name == 'a picture without objects':
        case.picture([], [(A, 0, 0.95)])
        case.picture([(A, 0, False)], [(A, 0, 0.5)])
    elif name == 'a picture without detections':
        case.picture([(A, 0, False)], [])
        case.picture([(A, 0, False)], [(A, 0, 0.5)])
    elif name == 'wrong class':
        case.picture([(A, 0, False)], [(A, 1, 0.9), (FAR, 2, 0.2)])
    elif name == 'more than a hundred':
        wrong = [(FAR, 0, 0.9 - i / 1000) for i in range(150)]
        case.picture([(A, 0, False), (B, 0, False)], [*wrong, (A, 0, 0.1)])
    return case


CRAFTED = {  # mAP of boxes, known without a computer
    'perfect': 1.0,
    'one wrong before': 0.5,
    'crowd takes any number': 1.0,
    'only crowd': -1.0,
    'a picture without objects': 0.5,
    'a picture without detections': 0.505,  # 51 of 101 recalls
    'wrong class': 0.0,
    'more than a hundred': 0.0,  # mAP looks at a hundred, whatever maxDets says
}


def check_equal(case, tmp_path, **kwargs):
    ours, our_arrays = scores(case, tmp_path, 'faster', **kwargs)
    theirs, their_arrays = scores(case, tmp_path, 'pycocotools', **kwargs)
    assert ours.keys() == theirs.keys()
    for name in theirs:  # nan equals nan
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert len(our_arrays) == len(their_arrays) > 0
    for left, right in zip(our_arrays, their_arrays):
        # pycocotools divides by (all + 2.2e-16), faster-coco-eval by all.
        np.testing.assert_allclose(left, right, rtol=0, atol=3e-16)
    return theirs


@pytest.mark.parametrize('seed', range(4))
def test_random_detections_have_the_same_figures(seed, tmp_path):
    found = check_equal(random_case(seed), tmp_path, metric=['bbox', 'segm'])
    assert 0.05 < found['bbox_mAP'] < 0.9 and 0.05 < found['segm_mAP'] < 0.9


def test_proposals_have_the_same_figures(tmp_path):
    found = check_equal(random_case(5), tmp_path, metric=['proposal'])
    assert 0.05 < found['AR@1000'] < 1


@pytest.mark.parametrize('name', CRAFTED)
def test_crafted_detections_have_the_same_figures(name, tmp_path):
    found = check_equal(crafted_case(name), tmp_path, metric=['bbox', 'segm'])
    assert found['bbox_mAP'] == CRAFTED[name]


@pytest.mark.parametrize('backend', ['faster', 'pycocotools'])
def test_no_detections_at_all(backend, tmp_path, caplog):
    case = Case()
    case.picture([(A, 0, False)], [])
    found, _ = scores(case, tmp_path, backend, metric=['bbox'])
    assert not found  # mmdet logs an error and scores nothing


def test_log_names_the_backend(tmp_path, monkeypatch):
    lines = []
    logger = logging.getLogger('test')
    monkeypatch.setattr(logger, 'info', lines.append)
    monkeypatch.setattr(file.MMLogger, 'get_current_instance', lambda: logger)
    for backend, name in file.DISTRIBUTIONS.items():
        scores(crafted_case('perfect'), tmp_path, backend, metric=['bbox'])
        assert any(line.startswith(f'COCO evaluation by {name} ') for line in lines)
        lines.clear()


def test_choice_of_the_backend(monkeypatch):
    assert file.choose_backend('auto') == 'faster'
    assert file.choose_backend('auto', use_mp_eval=True) == 'pycocotools'
    with pytest.raises(InputError, match="backend='slow' is not known"):
        file.choose_backend('slow')
    with pytest.raises(InputError, match='use_mp_eval'):
        file.choose_backend('faster', use_mp_eval=True)
    monkeypatch.setattr(file, 'find_spec', lambda name: None)
    assert file.choose_backend('auto') == 'pycocotools'
    with pytest.raises(InputError, match='pip install faster-coco-eval'):
        file.choose_backend('faster')


def test_annotation_file_without_annotations_is_refused(tmp_path):
    case = Case()
    case.picture([], [])
    path = case.write(tmp_path / 'gt.json')
    with pytest.raises(InputError, match='1 images and no annotation'):
        CocoMetric(path)
    CocoMetric(path, format_only=True, outfile_prefix=str(tmp_path / 'out'))


def test_config_finds_it_from_mmdet(tmp_path):
    init_default_scope('mmdet')
    path = crafted_case('perfect').write(tmp_path / 'gt.json')
    metric = METRICS.build(dict(type='mmtlalign.CocoMetric', ann_file=path))
    assert type(metric) is CocoMetric
    sample = dict(
        img_id=0, ori_shape=(HEIGHT, WIDTH),
        pred_instances=dict(
            bboxes=torch.tensor([A, B]), labels=torch.tensor([0, 1]),
            scores=torch.tensor([0.9, 0.8]),
        ),
    )  # fmt: skip
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [sample])
    assert metric.evaluate(size=1)['coco/bbox_mAP'] == 1


def test_classification_needs_neither_mmdet_nor_pycocotools():
    code = (
        'import sys; sys.modules.update(mmdet=None, pycocotools=None)\n'
        'import mmtlalign.registry, mmtlalign.methods, mmtlalign.engine\n'
        "assert 'mmtlalign.evaluation' not in sys.modules"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
