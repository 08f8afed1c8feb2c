"""Overlaps of boxes and non-maximum suppression (NMS).

Boxes are ``(N, 4)`` rows of x1, y1, x2, y2 in pixels. ``offset`` is 1 where a box of
one pixel has equal corners, else 0. Letters: N and M boxes, K that are kept.
"""

import numpy as np
import torch
import torchvision.ops
from torch import Tensor

from mmtlalign.compat.mmcv_ops.precision import full_precision
from mmtlalign.errors import InputError


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Return the indices of the boxes that are kept, highest score first.

    A box is dropped if its IoU with a kept box of higher score exceeds the threshold.

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``.
        iou_threshold: Compared in single precision, as mmcv does.
        offset: 0 or 1.

    Returns:
        ``(K,)``, int64.

    Raises:
        InputError: The boxes are in half precision and too far apart for it, as after
            ``batched_nms`` has moved the classes apart.
    """
    _check_precision(boxes)
    boxes, threshold = full_precision(boxes), np.float32(iou_threshold)
    # Sorted as by mmcv, not stably, so that equal scores have the same order.
    order = full_precision(scores).sort(descending=True).indices
    boxes = boxes[order]
    if offset:  # torchvision has none
        groups = _groups(boxes.cpu().numpy().T, np.greater, threshold, offset)
        kept = torch.tensor([group[0] for group in groups], dtype=torch.long)
    else:
        descending = torch.arange(len(boxes), 0, -1, device=boxes.device)
        kept = torchvision.ops.nms(boxes, descending.to(boxes), float(threshold))
    return order[kept.to(order.device)]


def _check_precision(boxes: Tensor) -> None:
    if boxes.dtype not in (torch.float16, torch.bfloat16) or not len(boxes):
        return
    limit = 2 / torch.finfo(boxes.dtype).eps  # whole pixels are exact below it
    farthest = boxes.abs().max().item()
    if not farthest <= limit:
        raise InputError(
            f'NMS of boxes in {boxes.dtype} with coordinates up to {farthest:g}: above '
            f'{limit:g} they are not exact. Pass boxes.float(); train a detector on '
            'a CPU without --amp (optim_wrapper.type=OptimWrapper).'
        )


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lower the scores of boxes that overlap better ones (Soft-NMS, ICCV 2017).

    Args:
        boxes: ``(N, 4)``, on the CPU, as mmcv gives them.
        scores: ``(N,)``.
        dets: ``(N, 5)``; boxes and new scores are written into its first K rows,
            highest score first.
        iou_threshold: IoU from which on methods 0 and 1 act.
        sigma: Width of method 2.
        min_score: Boxes whose score falls below are dropped.
        method: 0 sets scores to zero, 1 multiplies by 1 - IoU, 2 by
            exp(-IoU² / sigma).
        offset: 0 or 1.

    Returns:
        Indices ``(K,)``, int64.
    """
    columns = [full_precision(t).numpy().T for t in (boxes, scores[:, None])]
    rows = np.concatenate(columns)
    indices = np.arange(len(boxes))
    first, count = 0, len(boxes)
    while first < count:
        # The best of the rest comes first. Ties, and the order of the rest, are as in
        # mmcv.
        left = rows[4, first:count]
        if not np.isnan(left[0]):
            best = first + int(np.nanargmax(left))
            rows[:, [first, best]] = rows[:, [best, first]]
            indices[[first, best]] = indices[[best, first]]
        rest = slice(first + 1, count)
        overlap = _iou(rows[:4, first], rows[:4, rest], offset)
        if method == 2:
            # In double precision, because NumPy's float32 rounds differently from C.
            exponent = -(overlap * overlap) / np.float32(sigma)
            weight = np.exp(exponent, dtype=np.float64)
        else:
            lowered = 1 - overlap if method == 1 else np.zeros_like(overlap)
            # NaN, from two empty boxes, counts as no overlap.
            weight = np.where(overlap >= np.float32(iou_threshold), lowered, 1)
        rows[4, rest] *= weight.astype(rows.dtype)
        kept = _fill_from_the_end(~(rows[4, rest] < np.float32(min_score)))
        if len(kept) < count - first - 1:
            rows[:, first + 1 : first + 1 + len(kept)] = rows[:, rest][:, kept]
            indices[first + 1 : first + 1 + len(kept)] = indices[rest][kept]
        first, count = first + 1, first + 1 + len(kept)
    dets[:count] = torch.from_numpy(rows[:, :count].T).to(dets)
    return torch.from_numpy(indices[:count].copy())


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes by the box that suppresses them.

    Args:
        dets: Boxes and scores ``(N, 5)``, on the CPU.
        iou_threshold: Least IoU at which a box of higher score suppresses another.

    Returns:
        A list for each kept box: its index, then those that it suppresses, highest
        score first.
    """
    rows = full_precision(dets)
    order = rows[:, 4].sort(descending=True).indices
    boxes, threshold = rows[order, :4].numpy().T, np.float32(iou_threshold)
    groups = _groups(boxes, np.greater_equal, threshold, 0)
    return [order[torch.from_numpy(group)].tolist() for group in groups]


def bbox_overlaps(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Write the overlaps of boxes.

    Args:
        boxes1: ``(M, 4)``.
        boxes2: ``(N, 4)``; N = M if aligned.
        ious: ``(M, N)``, or ``(M,)`` if aligned; written.
        mode: 0 divides the intersection by the union, 1 by the first box's area.
        aligned: Whether to compare row by row instead of all pairs.
        offset: 0 or 1.
    """
    boxes1, boxes2 = full_precision(boxes1), full_precision(boxes2)
    first = boxes1 if aligned else boxes1[:, None]
    left_top = torch.maximum(first[..., :2], boxes2[..., :2])
    sides = torch.minimum(first[..., 2:], boxes2[..., 2:]) - left_top + offset
    overlap = _area(sides.clamp(min=0))
    whole = _area(first[..., 2:] - first[..., :2] + offset)
    if mode == 0:
        whole = whole + _area(boxes2[..., 2:] - boxes2[..., :2] + offset) - overlap
    ious.copy_(overlap / whole)


def _area(sides: Tensor) -> Tensor:
    return sides[..., 0] * sides[..., 1]


def _groups(
    boxes: np.ndarray, exceeds: np.ufunc, threshold: np.float32, offset: int
) -> list[np.ndarray]:
    """Group boxes ``(4, N)``, the best first, by the box that suppresses them.

    Returns:
        For each kept box: its index, then those that it suppresses.
    """
    groups, left = [], np.arange(boxes.shape[1])
    while len(left):
        overlap = _iou(boxes[:, left[0]], boxes[:, left[1:]], offset)
        suppressed = np.concatenate([[True], exceeds(overlap, threshold)])
        groups.append(left[suppressed])
        left = left[~suppressed]
    return groups


def _iou(box: np.ndarray, boxes: np.ndarray, offset: int) -> np.ndarray:
    """Return the IoU of one box ``(4,)`` with others ``(4, N)``."""
    x1, y1, x2, y2 = boxes
    width = np.minimum(box[2], x2) - np.maximum(box[0], x1) + offset
    height = np.minimum(box[3], y2) - np.maximum(box[1], y1) + offset
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    area = (box[2] - box[0] + offset) * (box[3] - box[1] + offset)
    areas = (x2 - x1 + offset) * (y2 - y1 + offset)
    with np.errstate(invalid='ignore', divide='ignore'):
        return overlap / (area + areas - overlap)


def _fill_from_the_end(keep: np.ndarray) -> np.ndarray:
    """Return the kept rows in mmcv's order: the last row replaces a dropped one.

    Args:
        keep: Whether a row is kept, ``(N,)``.

    Returns:
        Indices of rows ``(K,)``.
    """
    count = int(keep.sum())
    order = np.arange(count)
    order[~keep[:count]] = count + np.flatnonzero(keep[count:])[::-1]
    return order
