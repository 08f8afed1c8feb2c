"""The views that the shipped pipeline makes."""

import cv2
import mmcv
import numpy as np
import pytest
import torch
from golden_esvit import ROOT
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import (
    GaussianBlur,
    RandomResizedCrop,
    Solarize,
)
from PIL import ImageFilter

DATA = ROOT / 'configs' / '_base_' / 'datasets' / 'imagenet_224_multicrop.py'


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
    blur, crop = ImageFilter.GaussianBlur, mmcv.imcrop

    def blurred(radius):
        radii[now[0]].append(radius)
        return blur(radius)

    def cropped(image, bboxes):
        left, top, right, bottom = bboxes
        areas[now[0]].append(
            (right - left + 1) * (bottom - top + 1) / image[..., 0].size
        )
        return crop(image, bboxes=bboxes)

    monkeypatch.setattr(ImageFilter, 'GaussianBlur', blurred)
    monkeypatch.setattr(mmcv, 'imcrop', cropped)
    times, solarised = 150, [0, 0, 0]
    white, image = np.full((2, 2, 3), 200, np.uint8), np.zeros((60, 80, 3), np.uint8)
    for kind, steps in enumerate(Compose(pipeline()).transforms[1].pipelines):
        now[0] = kind
        for _ in range(times):
            results = dict(img=image)
            for step in steps.transforms:
                if isinstance(step, (GaussianBlur, RandomResizedCrop)):
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
