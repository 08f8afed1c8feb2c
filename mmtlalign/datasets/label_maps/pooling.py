"""Label maps and crop boxes to soft labels, by RoIAlign (Token Labeling, ReLabel)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

__all__ = ['label_map_targets', 'pool_grids', 'pool_label_maps']


def pool_label_maps(
    values: Tensor,
    indices: Tensor,
    boxes: Tensor,
    num_classes: int,
    size: int | tuple[int, int],
    legacy_axis_order: bool = False,
) -> Tensor:
    """Logits of all classes on a grid laid over the crop of each image.

    Classes that a map does not name have logit 0, as in the official code. It hands
    the box over with its axes exchanged, so that a crop is labelled from its mirror
    image across the diagonal: ``legacy_axis_order`` does the same.

    Args:
        values: Logits (B, k, h, w).
        indices: Their classes (B, k, h, w), integers below ``num_classes``.
        boxes: Top, left, height and width of the crops as shares of the images
            (B, 4).
        num_classes: K.
        size: Rows and columns S of the grid; 1 pools the whole crop.
        legacy_axis_order: As the released code. Defaults to False: as it should be.

    Returns:
        (B, K, S, S) float32.
    """
    sizes = [size]
    return pool_grids(values, indices, boxes, num_classes, sizes, legacy_axis_order)[0]


def pool_grids(
    values: Tensor,
    indices: Tensor,
    boxes: Tensor,
    num_classes: int,
    sizes: Sequence[int | tuple[int, int]],
    legacy_axis_order: bool = False,
) -> list[Tensor]:
    """As :func:`pool_label_maps`, for several grids over the same crops."""
    B, _, rows, columns = values.shape
    dense = values.new_zeros((B, num_classes, rows, columns), dtype=torch.float32)
    # Added, not set: a rank that says nothing repeats a class with value 0.
    dense.scatter_add_(1, indices.long(), values.float())
    # (y, x) of the first corner and of the last; (x1, y1, x2, y2) for RoIAlign.
    first, last = boxes[:, :2].float(), (boxes[:, :2] + boxes[:, 2:]).float()
    corners = torch.cat([first, last], dim=1)
    if not legacy_axis_order:
        corners = corners[:, [1, 0, 3, 2]]
    # -0.5, as RoIAlign without `aligned` has the centre of the first cell at 0.
    corners = corners * corners.new_tensor([columns, rows, columns, rows]) - 0.5
    batch = torch.arange(B, device=values.device, dtype=torch.float32)
    regions = torch.cat([batch[:, None], corners], dim=1)
    return [
        roi_align(dense, regions, size, sampling_ratio=-1, aligned=False)
        for size in sizes
    ]


def label_map_targets(
    values: Tensor,
    indices: Tensor,
    boxes: Tensor,
    labels: Tensor,
    num_classes: int,
    size: int,
    smoothing: float = 0.0,
    legacy_axis_order: bool = False,
) -> Tensor:
    """The targets of a batch in the layout of the official code.

    Args:
        values: As :func:`pool_label_maps`.
        indices: As :func:`pool_label_maps`.
        boxes: As :func:`pool_label_maps`.
        labels: Classes of the images (B,).
        num_classes: K.
        size: Side S of the token grid; with 1 there are no token labels.
        smoothing: Label smoothing s. Soft labels p become p (1 - s + s/K) + s/K,
            which sums to 1 + s/K, as in the official code. Defaults to 0.
        legacy_axis_order: As :func:`pool_label_maps`.

    Returns:
        (B, K, 2 + S²): the label, the label of the map, token labels row by row;
        (B, K, 2) where ``size`` is 1.
    """
    sizes = [1, size] if size > 1 else [1]
    pooled = pool_grids(values, indices, boxes, num_classes, sizes, legacy_axis_order)
    soft = torch.cat([p.flatten(2) for p in pooled], dim=2).softmax(dim=1)
    off = smoothing / num_classes
    on = 1 - smoothing + off
    hard = torch.full_like(soft[..., :1], off)
    hard.scatter_(1, labels.view(-1, 1, 1), on)
    return torch.cat([hard, soft * on + off], dim=2)
