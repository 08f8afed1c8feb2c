"""The views that the shipped pipelines make, and the small run on digits."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import (
    GaussianBlur,
    RandomResizedCrop,
    Solarize,
)
from PIL import ImageFilter
from repository import ROOT

from mmtlalign.datasets.transforms import record_random_params
from mmtlalign.engine.runner import build_runner
from mmtlalign.validation.config import load_config
from tools.demo.quickstart_data import write_quickstart

DATA = ROOT / 'configs' / '_base_' / 'datasets' / 'imagenet_224_multicrop.py'
SMALL = ROOT / 'configs' / 'esvit' / 'esvit_swin-mini-p4-w4_digits-32px.py'


@pytest.fixture
def picture(tmp_path):
    draw = np.random.RandomState(1)
    path = tmp_path / 'picture.png'
    cv2.imwrite(str(path), draw.randint(0, 255, (150, 200, 3), dtype=np.uint8))
    return dict(img_path=str(path))


def pipeline():
    init_default_scope('mmpretrain')
    return Config.fromfile(DATA).train_dataloader.dataset.pipeline


def test_ten_views_in_the_order_of_the_algorithm(picture):
    packed = Compose(pipeline())(picture)
    sizes = [tuple(view.shape) for view in packed['inputs']]
    assert sizes == [(3, 224, 224)] * 2 + [(3, 96, 96)] * 8
    locals_ = packed['inputs'][2:]
    assert not any(torch.equal(locals_[0], other) for other in locals_[1:])


def test_what_each_kind_of_view_draws(monkeypatch):
    """How often each step is done, and between which bounds."""
    now, radii, areas = [0], {0: [], 1: [], 2: []}, {0: [], 1: [], 2: []}
    blur = ImageFilter.GaussianBlur

    def blurred(radius):
        radii[now[0]].append(radius)
        return blur(radius)

    monkeypatch.setattr(ImageFilter, 'GaussianBlur', blurred)
    times, solarised = 150, [0, 0, 0]
    white, image = np.full((2, 2, 3), 200, np.uint8), np.zeros((60, 80, 3), np.uint8)
    for kind, steps in enumerate(Compose(pipeline()).transforms[1].pipelines):
        now[0] = kind
        for _ in range(times):
            results = dict(img=image)
            for step in steps.transforms:
                if isinstance(step, RandomResizedCrop):
                    with record_random_params(step, 'rand_crop_params') as drawn:
                        results = step(results)
                    *_, height, width = drawn['rand_crop_params']
                    areas[kind].append(height * width / image[..., 0].size)
                if isinstance(step, GaussianBlur):
                    results = step(results)
                if isinstance(step, Solarize):
                    solarised[kind] += bool((step(dict(img=white))['img'] == 55).all())
    assert len(radii[0]) == times
    assert abs(len(radii[1]) / times - 0.1) < 0.1
    assert abs(len(radii[2]) / times - 0.5) < 0.15
    assert 0.1 <= min(radii[0]) < 0.3
    assert 1.8 < max(radii[0]) <= 2.0
    for kind, (low, high) in enumerate([(0.4, 1), (0.4, 1), (0.05, 0.4)]):
        # Whole pixels.
        assert low - 0.02 < min(areas[kind]) < low + 0.1
        assert high - 0.1 < max(areas[kind]) < high + 0.02
    assert solarised[0] == solarised[2] == 0
    assert abs(solarised[1] / times - 0.2) < 0.12


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    root = tmp_path_factory.mktemp('digits') / 'quickstart'
    write_quickstart(root, train=1, val=1, digit_size=8)
    return root / 'anywhere'


def small_run(digits, work_dir, steps):
    """A run of the demo in this process."""
    cfg = load_config(str(SMALL), dict(data_root=str(digits)))
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.max_iters = steps
    cfg.param_scheduler = cfg.param_scheduler[:1]  # the warm-up
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'small-{work_dir.name}'
    return cfg


def accuracies(work_dir):
    """Top-1, k=20, of every evaluation of a run."""
    (record,) = work_dir.glob('*/vis_data/scalars.json')
    lines = map(json.loads, record.read_text().splitlines())
    return [line['knn/top1_k20'] for line in lines if 'knn/top1_k20' in line]


@pytest.mark.parametrize('regions', [True, False])
def test_small_run_trains_and_is_evaluated(digits, tmp_path, regions):
    cfg = small_run(digits, tmp_path / f'{regions}', steps=3)
    if not regions:
        cfg.model.region_head = None
    cfg.train_dataloader.batch_size = 12
    knn = cfg.custom_hooks[-1]
    for loader in (knn.bank, knn.queries):
        loader.dataset.indices = list(range(0, 700, 14))
    runner = build_runner(cfg)
    first = {k: v.clone() for k, v in runner.model.teacher.state_dict().items()}
    runner.train()
    assert runner.iter == 3
    terms = runner.message_hub.log_scalars
    assert ('train/region_term' in terms) == regions
    assert all(np.isfinite(terms['train/loss'].data[0]))
    assert len(accuracies(tmp_path / f'{regions}')) == 2
    moved = runner.model.teacher.state_dict()
    assert not all(torch.equal(moved[k], v) for k, v in first.items())


def test_the_control_of_the_small_run_differs_in_the_region_head_alone():
    ours, control = (
        Config.fromfile(SMALL.with_name(f'{name}_{SMALL.name.split("_", 1)[1]}'))
        for name in ('esvit', 'dino')
    )
    assert control.model.region_head is None
    control.model.region_head = ours.model.region_head
    assert ours.to_dict() == control.to_dict()
