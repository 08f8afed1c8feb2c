"""Overlaps of boxes and non-maximum suppression (NMS).

Boxes are ``(N, 4)`` rows of x1, y1, x2, y2 in pixels. ``offset`` is 1 where a box of
one pixel has equal corners, else 0.
"""

import numpy as np
import torch
import torchvision.ops
from torch import Tensor

from mmtlalign.compat.mmcv_ops.precision import full_precision


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Return the indices of the boxes that stay, highest score first.

    A box goes if its IoU with a better one that stays exceeds the threshold.

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``.
        iou_threshold: Compared in single precision, as mmcv does.
        offset: 0 or 1.

    Returns:
        ``(K,)``, int64.
    """
    boxes, scores = full_precision(boxes), full_precision(scores)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], 1)
    threshold = float(np.float32(iou_threshold))
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), threshold)


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
    rows = np.concatenate(
        [full_precision(x).numpy().reshape(len(boxes), -1) for x in (boxes, scores)], 1
    )
    indices = np.arange(len(rows))
    first, count = 0, len(rows)
    while first < count:
        # The best of the rest comes first; which of equal ones, and the order of the
        # rest, are as in mmcv.
        best = first + int(rows[first:count, 4].argmax())
        rows[[first, best]] = rows[[best, first]]
        indices[[first, best]] = indices[[best, first]]
        rest = slice(first + 1, count)
        overlap = _iou(rows[first], rows[rest], offset)
        if method == 2:
            weight = np.exp(-(overlap * overlap) / np.float32(sigma))
        else:
            lowered = 1 - overlap if method == 1 else np.zeros_like(overlap)
            # NaN of two empty boxes is no overlap.
            weight = np.where(overlap >= np.float32(iou_threshold), lowered, 1)
        rows[rest, 4] *= weight.astype(rows.dtype)
        kept = _fill_from_the_end(~(rows[rest, 4] < np.float32(min_score)))
        rows[first + 1 : first + 1 + len(kept)] = rows[rest][kept]
        indices[first + 1 : first + 1 + len(kept)] = indices[rest][kept]
        first, count = first + 1, first + 1 + len(kept)
    dets[:count] = torch.from_numpy(rows[:count]).to(dets)
    return torch.from_numpy(indices[:count].copy())


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes by the box that suppresses them.

    Args:
        dets: Boxes and scores ``(N, 5)``, on the CPU.
        iou_threshold: A box goes to a better one whose IoU with it is at least that.

    Returns:
        A list for each box that stays: its index, then those that it suppresses,
        highest score first.
    """
    rows = full_precision(dets).numpy()
    order = torch.from_numpy(rows[:, 4]).sort(descending=True).indices.numpy()
    groups = []
    while len(order):
        overlap = _iou(rows[order[0]], rows[order[1:]], 0)
        suppressed = overlap >= np.float32(iou_threshold)
        groups.append([int(order[0]), *order[1:][suppressed].tolist()])
        order = order[1:][~suppressed]
    return groups


def bbox_overlaps(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Write the overlaps of boxes.

    Args:
        boxes1: ``(M, 4)``.
        boxes2: ``(N, 4)``; N = M if aligned.
        ious: ``(M, N)``, or ``(M,)`` if aligned; written.
        mode: 0 divides the intersection by the union, 1 by the first box's area.
        aligned: Whether row meets row, instead of each box each other.
        offset: 0 or 1.
    """
    first = boxes1 if aligned else boxes1[:, None]
    sides = torch.minimum(first[..., 2:], boxes2[..., 2:])
    sides = sides - torch.maximum(first[..., :2], boxes2[..., :2]) + offset
    overlap = sides.clamp(min=0).prod(-1)
    whole = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    if mode == 0:
        whole = whole + (boxes2[..., 2:] - boxes2[..., :2] + offset).prod(-1) - overlap
    ious.copy_(overlap / whole)


def _iou(box: np.ndarray, boxes: np.ndarray, offset: int) -> np.ndarray:
    """Return the IoU of one box with others ``(N, 4 or more)``."""
    sides = np.minimum(box[2:4], boxes[:, 2:4]) - np.maximum(box[:2], boxes[:, :2])
    overlap = np.maximum(sides + offset, 0).prod(1)
    area = (box[2:4] - box[:2] + offset).prod()
    areas = (boxes[:, 2:4] - boxes[:, :2] + offset).prod(1)
    with np.errstate(invalid='ignore', divide='ignore'):
        return overlap / (area + areas - overlap)


def _fill_from_the_end(keep: np.ndarray) -> np.ndarray:
    """Return which rows stay, in mmcv's order: a dropped one gives way to the last.

    Args:
        keep: Whether a row stays, ``(N,)``.

    Returns:
        Indices of rows ``(K,)``.
    """
    count = int(keep.sum())
    order = np.arange(count)
    order[~keep[:count]] = count + np.flatnonzero(keep[count:])[::-1]
    return order
