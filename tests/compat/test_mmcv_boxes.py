"""Overlaps of boxes and NMS without a compiled mmcv: against plain loops."""

import mmcv.ops
import mmcv_references as references
import numpy as np
import pytest
import torch
from mmcv_stand_in import boxes

pytestmark = pytest.mark.usefixtures('ours')
OFFSETS = pytest.mark.parametrize('offset', [0, 1])


@OFFSETS
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize(
    'limits', [{}, dict(score_threshold=0.4), dict(max_num=4)], ids=str
)
def test_nms(offset, seed, limits):
    torch.manual_seed(seed)
    b, s = boxes(40, dtype=torch.float64)
    dets, kept = mmcv.ops.nms(b, s, 0.4, offset=offset, **limits)
    threshold = float(np.float32(0.4))
    right = references.nms(b.tolist(), s.tolist(), threshold, offset, **limits)
    assert kept.tolist() == right and 1 < len(right) < 40
    assert torch.equal(dets, torch.cat([b[kept], s[kept, None]], 1))


@OFFSETS
def test_nms_compares_with_the_threshold_itself(offset):
    """IoU of exactly one half: NMS keeps the box, NMS-match takes it."""
    b = torch.tensor([[0.0, 0, 9, 19], [0, 0, 9, 9], [50, 50, 60, 60]])
    b[:, 2:] += 1 - offset
    s = torch.tensor([0.9, 0.8, 0.7])
    assert mmcv.ops.nms(b, s, 0.5, offset=offset)[1].tolist() == [0, 1, 2]
    assert mmcv.ops.nms(b, s, 0.4999, offset=offset)[1].tolist() == [0, 2]
    if offset == 0:
        groups = mmcv.ops.nms_match(torch.cat([b, s[:, None]], 1), 0.5)
        assert [g.tolist() for g in groups] == [[0, 1], [2]]


def test_nms_with_equal_scores():
    """Of equal boxes with equal scores one stays; all that stay are far apart."""
    b, _ = boxes(20)
    b = b.repeat(3, 1)
    _, kept = mmcv.ops.nms(b, torch.full((60,), 0.5), 0.4)
    overlaps = references.bbox_overlaps(b[kept].tolist(), b.tolist(), 'iou', False, 0)
    assert (overlaps.max(0).values > 0.4).all()
    assert (overlaps[:, kept].fill_diagonal_(0) <= 0.4).all()


def test_nms_of_arrays():
    b, s = boxes(20)
    dets, kept = mmcv.ops.nms(b.numpy(), s.numpy(), 0.4)
    assert isinstance(dets, np.ndarray)
    assert kept.tolist() == mmcv.ops.nms(b, s, 0.4)[1].tolist()


@OFFSETS
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('min_score', [1e-3, 0.3])
@pytest.mark.parametrize('seed', range(3))
def test_soft_nms(offset, method, min_score, seed):
    torch.manual_seed(seed)
    b, s = boxes(40, dtype=torch.float64)
    dets, kept = mmcv.ops.soft_nms(b, s, 0.3, 0.5, min_score, method, offset)
    right, scores = references.soft_nms(
        b.tolist(), s.tolist(), 0.3, 0.5, min_score, method, offset
    )
    assert kept.tolist() == right
    assert torch.equal(dets[:, :4], b[kept])
    assert dets[:, 4].tolist() == pytest.approx(scores, rel=1e-9)
    # Some are dropped, none by linear weights alone.
    assert len(kept) < 40 or (method != 'naive' and min_score < 0.1)


@pytest.mark.parametrize('seed', range(3))
def test_nms_match(seed):
    torch.manual_seed(seed)
    b, s = boxes(40, dtype=torch.float64)
    groups = mmcv.ops.nms_match(torch.cat([b, s[:, None]], 1), 0.3)
    right = references.nms_match(b.tolist(), s.tolist(), float(np.float32(0.3)))
    assert [g.tolist() for g in groups] == right
    assert max(map(len, right)) > 1
    arrays = mmcv.ops.nms_match(torch.cat([b, s[:, None]], 1).numpy(), 0.3)
    assert [g.tolist() for g in arrays] == right


@pytest.mark.parametrize('split_thr', [10000, 10])
@pytest.mark.parametrize('agnostic', [False, True])
@pytest.mark.parametrize('kind', ['nms', 'soft_nms'])
def test_batched_nms(split_thr, agnostic, kind):
    b, s = boxes(60, dtype=torch.float64)
    classes = torch.randint(0, 3, (60,))
    cfg = dict(type=kind, iou_threshold=0.3, split_thr=split_thr)
    dets, kept = mmcv.ops.batched_nms(b, s, classes, cfg, class_agnostic=agnostic)
    found = []
    # Agnostic and split, mmcv goes class by class all the same.
    one_by_one = not agnostic or split_thr == 10
    for label in range(3) if one_by_one else [None]:
        index = (classes == label).nonzero()[:, 0] if one_by_one else torch.arange(60)
        part = b[index].tolist(), s[index].tolist()
        if kind == 'nms':
            local = references.nms(*part, float(np.float32(0.3)))
            scores = s[index[local]].tolist()
        else:
            local, scores = references.soft_nms(*part, 0.3, 0.5, 1e-3, 'linear')
        found += zip(scores, index[local].tolist())
    if kind == 'nms' or split_thr == 10 or agnostic:
        found.sort(reverse=True)
        assert kept.tolist() == [index for _, index in found]
    assert sorted(kept.tolist()) == sorted(index for _, index in found)
    assert dets[:, 4].tolist() == pytest.approx([x for x, _ in sorted(found)[::-1]])
    assert torch.equal(dets[:, :4], b[kept])


def test_batched_nms_without_nms():
    b, s = boxes(9)
    dets, kept = mmcv.ops.batched_nms(b, s, torch.zeros(9), None)
    assert kept.tolist() == s.argsort(descending=True).tolist()
    assert torch.equal(dets[:, 4], s[kept])


@OFFSETS
@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_bbox_overlaps(offset, mode, aligned, dtype):
    first, second = boxes(9)[0].to(dtype), boxes(9 if aligned else 7)[0].to(dtype)
    found = mmcv.ops.bbox_overlaps(first, second, mode, aligned, offset)
    arguments = first.tolist(), second.tolist(), mode, aligned, offset
    right = references.bbox_overlaps(*arguments)
    assert found.dtype == dtype and (right > 0).any()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found.double(), right, rtol=tolerance, atol=tolerance)


def test_no_boxes():
    none, scores = torch.zeros(0, 4), torch.zeros(0)
    for operator in (mmcv.ops.nms, mmcv.ops.soft_nms):
        for offset in (0, 1):
            dets, kept = operator(none, scores, iou_threshold=0.5, offset=offset)
            assert dets.shape == (0, 5) and kept.shape == (0,)
            assert kept.dtype == torch.long
    cfg = dict(type='nms', iou_threshold=0.5, class_agnostic=True)
    assert mmcv.ops.batched_nms(none, scores, scores, cfg)[0].shape == (0, 5)
    assert mmcv.ops.nms_match(torch.zeros(0, 5), 0.5) == []
    assert mmcv.ops.bbox_overlaps(none, boxes(3)[0]).shape == (0, 3)


@OFFSETS
def test_degenerate_boxes(offset):
    """No area, sides below zero, not a number: nothing suppresses them, or is."""
    b = torch.tensor([[3.0, 3, 3, 3], [3, 3, 3, 3], [9, 9, 4, 4], [0, 0, 9, 9]])
    b = torch.cat([b, torch.full((1, 4), torch.nan)])
    s = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    kept = mmcv.ops.nms(b, s, 0.5, offset=offset)[1].tolist()
    # With offset 1 the first two are the same pixel.
    assert kept == ([0, 2, 3, 4] if offset else [0, 1, 2, 3, 4])
    soft, kept = mmcv.ops.soft_nms(b, s, 0.5, offset=offset)
    assert len(kept) == (4 if offset else 5)
    groups = mmcv.ops.nms_match(torch.cat([b, s[:, None]], 1), 0.5)
    assert [g.tolist() for g in groups] == [[0], [1], [2], [3], [4]]


def test_scores_that_are_not_numbers():
    b, s = boxes(6)
    s[2] = torch.nan
    assert 2 in mmcv.ops.soft_nms(b, s, 1.0)[1]
    s[0] = torch.nan
    assert mmcv.ops.soft_nms(b, s, 1.0)[1][0] == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(dtype):
    b, s = (t.to(dtype) for t in boxes(30))
    kept = mmcv.ops.nms(b, s, 0.4)[1]
    assert torch.equal(kept, mmcv.ops.nms(b.float(), s.float(), 0.4)[1])
    dets, kept = mmcv.ops.soft_nms(b, s, 0.4)
    full, right = mmcv.ops.soft_nms(b.float(), s.float(), 0.4)
    assert torch.equal(kept, right) and torch.equal(dets, full.to(dtype))
    overlaps = mmcv.ops.bbox_overlaps(b, b)
    full = mmcv.ops.bbox_overlaps(b.float(), b.float())
    torch.testing.assert_close(overlaps, full.to(dtype), rtol=0, atol=0, equal_nan=True)


def test_tensors_that_are_not_contiguous():
    b, s = boxes(30)
    wide = torch.cat([b, s[:, None], b], 1)
    table, column = wide[:, :4], wide[:, 4]
    assert not table.is_contiguous() and not column.is_contiguous()
    for operator in (mmcv.ops.nms, mmcv.ops.soft_nms):
        for found, right in zip(operator(table, column, 0.4), operator(b, s, 0.4)):
            assert torch.equal(found, right)
    overlaps = mmcv.ops.bbox_overlaps(table, b)
    assert torch.equal(overlaps, mmcv.ops.bbox_overlaps(b, b))


def test_soft_nms_leaves_its_inputs_as_they_are():
    b, s = boxes(30)
    before = b.clone(), s.clone()
    mmcv.ops.soft_nms(b, s, 0.3)
    assert torch.equal(b, before[0]) and torch.equal(s, before[1])
