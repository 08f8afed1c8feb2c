"""Masks and boxes of attention against objects."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtlalign.datasets.boxed_objects import scaled_boxes
from mmtlalign.errors import InputError
from mmtlalign.evaluation.localization import (
    box_iou,
    foreground,
    is_located,
    map_box,
    mask_box,
    mask_jaccard,
    to_pixels,
)
from mmtlalign.evaluation.max_box_accuracy import (
    MaxBoxAccuracy,
    inclusive_iou,
    score_map,
    threshold_boxes,
)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0.05, 0.9), st.floats(0.01, 0.1))
def test_foreground_grows_with_the_mass(seed, mass, more):
    maps = torch.rand(
        2, 3, 5, 4, generator=torch.Generator().manual_seed(seed)
    ).double()
    small, large = foreground(maps, mass), foreground(maps, mass + more)
    assert (small <= large).all()
    shares = maps / maps.sum((-1, -2), keepdim=True)
    assert ((shares * small).sum((-1, -2)) >= mass - 1e-12).all()


def test_jaccard_of_the_object_itself():
    labels = np.zeros((40, 56), np.uint8)
    labels[8:24, 16:48] = 3
    aligned = torch.zeros(1, 5, 7)
    aligned[0, 1:3, 2:6] = 1
    assert mask_jaccard(aligned, labels, 1.0) == (1, 1, 1)
    # Of equal tokens the first ones are in: half of eight.
    assert mask_jaccard(aligned, labels, 0.5).best_head == 0.5
    uniform = torch.ones(2, 5, 7)
    share = (labels > 0).mean()
    assert mask_jaccard(uniform, labels, 1.0) == pytest.approx((share,) * 3)


def test_best_head_is_chosen_class_by_class():
    labels = np.zeros((8, 8), np.uint8)
    labels[:4, :4], labels[4:, 4:] = 1, 2
    maps = torch.zeros(2, 2, 2)
    maps[0, 0, 0] = maps[1, 1, 1] = 1
    scores = mask_jaccard(maps, labels, 0.9)
    assert scores.best_head == 1
    assert scores.head_mean == 0.5  # both quarters, for either class
    assert scores.foreground == 1


def test_void_is_left_out_unless_as_officially():
    labels = np.full((4, 4), 255, np.uint8)
    labels[:2] = 1
    maps = torch.ones(1, 2, 2)
    assert mask_jaccard(maps, labels, 1.0).best_head == 1
    assert mask_jaccard(maps, labels, 1.0, official=True).best_head == 0.5
    assert np.isnan(mask_jaccard(maps, np.zeros((4, 4), int)).best_head)
    with pytest.raises(InputError, match='maps of one image'):
        mask_jaccard(maps[None], labels)


def test_masks_of_any_size_become_pixels():
    mask = np.eye(3, dtype=bool)
    assert to_pixels(mask, (9, 6)).sum() == 18
    big = cv2.resize(mask.astype(np.uint8), (7, 5), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(to_pixels(mask, (5, 7)), big.astype(bool))


def test_box_of_the_largest_component():
    mask = np.zeros((8, 9), bool)
    mask[0, 0] = mask[1, 1] = mask[2, 2] = True  # neighbours by their corners
    mask[6, 5:7] = True
    assert mask_box(mask).tolist() == [0, 0, 3, 3]
    assert mask_box(mask, largest=False).tolist() == [0, 0, 7, 7]
    assert mask_box(np.zeros((3, 3), bool)).tolist() == [0, 0, 0, 0]
    maps = torch.zeros(2, 4, 4)
    maps[:, 1:3, 2:4] = 1
    box = map_box(maps, (32, 32), 1.0)
    assert box.tolist() == [16, 8, 32, 24]
    assert is_located(box, [[0, 0, 4, 4], [16, 8, 32, 20]])
    assert not is_located(box, [[0, 0, 32, 32]])
    assert not is_located(box, np.zeros((0, 4)))
    assert box_iou([0, 0, 2, 2], [[1, 1, 3, 3], [5, 5, 5, 5]]).tolist() == [1 / 7, 0]


def test_max_box_accuracy_finds_the_threshold():
    measure = MaxBoxAccuracy()
    scores = np.full((20, 20), 0.2)
    scores[5:15, 5:15] = 0.9
    scores[8:10, 8:10] = 1.0
    measure.add(scores, np.array([[5, 5, 15, 15]]))
    found = measure.compute()
    assert found['max_box_acc@0.5'] == found['max_box_acc'] == 100
    at = measure.accuracy[1]
    assert at[0] == 0 and at[500] == 100 and at[-1] == 0
    measure.add(np.zeros((20, 20)), np.array([[0, 0, 19, 19]]))  # no contour
    assert measure.compute()['max_box_acc'] == 50
    with pytest.raises(InputError, match='has no ground-truth box'):
        measure.add(scores, np.zeros((0, 4)))


def test_conventions_of_the_official_boxes():
    scores = np.zeros((10, 10))
    scores[2:4, 6:10] = 1
    # One past the end, but for the border.
    assert threshold_boxes(scores, [0.5])[0].tolist() == [[6, 2, 9, 4]]
    assert inclusive_iou([[0, 0, 1, 1]], [[0, 0, 1, 1], [2, 2, 3, 3]]).tolist() == [
        [1, 0]
    ]
    assert scaled_boxes([[1, 1, 333, 499]], (500, 334), (224, 224)).tolist() == [
        [0, 0, 223, 223]
    ]
    constant = score_map(np.ones((3, 3), np.float32), (6, 8))
    assert constant.shape == (6, 8) and not constant.any()
    assert not score_map(np.full((3, 3), np.nan), (6, 6)).any()
