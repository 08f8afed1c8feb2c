"""Pooling of regions of interest (RoIs): RoIAlign, RoIPool, deformable RoIPool.

Letters: B images, C channels, H × W pixels, R regions, P × Q cells of the output.
``rois`` is ``(R, 5)``: index of the image, then x1, y1, x2, y2 in pixels of the image.
"""

import torch
import torch.nn.functional as F
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from mmtlalign.compat.mmcv_ops import unsupported
from mmtlalign.compat.mmcv_ops.precision import (
    exact_regions,
    full_precision,
    nondeterministic,
)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write RoIAlign (ICCV 2017), the average of bilinear samples.

    Args:
        input: ``(B, C, H, W)``.
        rois: ``(R, 5)``.
        output: ``(R, C, P, Q)``; written.
        argmax_y: Not used, because only the maximum needs it.
        argmax_x: Not used.
        aligned_height: P.
        aligned_width: Q.
        spatial_scale: From pixels of the image to those of the input.
        sampling_ratio: Samples along each side of a cell; 0 for one per pixel.
        pool_mode: 1, the average.
        aligned: Whether pixels have their centres at one half.

    Raises:
        UnsupportedError: ``pool_mode`` is 0, the maximum.
    """
    if pool_mode != 1:
        raise unsupported("The config asks for RoIAlign with pool_mode='max'")
    output.copy_(
        torch.ops.torchvision.roi_align(
            full_precision(input),
            _like(rois, input),
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the input; arguments as in the forward."""
    with nondeterministic():
        gradient = torch.ops.torchvision._roi_align_backward(
            full_precision(grad_output),
            _like(rois, grad_output),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    grad_input.copy_(gradient)


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write RoIPool (ICCV 2015), the maximum of the pixels that a cell touches.

    torchvision's RoIPool rounds regions to whole pixels; mmcv's does not.

    Args:
        input: ``(B, C, H, W)``.
        rois: ``(R, 5)``.
        output: ``(R, C, P, Q)``; written, 0 in cells outside the input.
        argmax: Place of the maximum, same shape, int32; written, -1 in these cells.
        pooled_height: P.
        pooled_width: Q.
        spatial_scale: From pixels of the image to those of the input.
    """
    height, width = input.shape[2:]
    x1, y1, x2, y2 = _like(rois, input)[:, 1:].unbind(1)
    columns = _cells(x1 * spatial_scale, (x2 + 1) * spatial_scale, pooled_width, width)
    rows = _cells(y1 * spatial_scale, (y2 + 1) * spatial_scale, pooled_height, height)
    # `output` is written once, at the end: an export to ONNX records no partial writes.
    pooled, chosen = torch.zeros_like(output), torch.full_like(argmax, -1)
    # Channels last, (B, H, W, C), where the maximum is fast.
    planes = input.detach().permute(0, 2, 3, 1).contiguous()
    for region, image in enumerate(rois[:, 0].long().tolist()):
        across = [q for q, (left, right) in enumerate(columns[region]) if left < right]
        down = [p for p, (top, bottom) in enumerate(rows[region]) if top < bottom]
        if not across or not down:
            continue
        # The maximum of each row of a cell comes first, for all cells of a column.
        first = rows[region][down[0]][0]
        band = planes[image, first : rows[region][down[-1]][1]]
        maxima, places = [], []
        for left, right in (columns[region][q] for q in across):
            maximum, x = band[:, left:right].max(1)
            maxima.append(maximum)
            places.append(x + left)
        values, xs = torch.stack(maxima, 1), torch.stack(places, 1)
        for p in down:
            cells = slice(rows[region][p][0] - first, rows[region][p][1] - first)
            best, y = values[cells].max(0)
            x = xs[cells].gather(0, y[None])[0]
            pooled[region, :, p, across] = best.T
            place = (y + (first + cells.start)) * width + x
            chosen[region, :, p, across] = place.T.to(argmax)
    output.copy_(pooled)
    argmax.copy_(chosen)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the gradient of the input; arguments as in the forward."""
    _, channels, height, width = grad_input.shape
    planes = rois[:, 0].long()[:, None] * channels
    planes = planes + torch.arange(channels, device=rois.device)
    places = planes[:, :, None, None] * height * width + argmax
    grad = full_precision(grad_input).flatten().zero_()
    pooled = argmax >= 0
    grad.index_add_(0, places[pooled], full_precision(grad_output)[pooled])
    grad_input.copy_(grad.view_as(grad_input))


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write RoIAlign with a shift of each cell (deformable RoI pooling, ICCV 2017).

    Args:
        input: ``(B, C, H, W)``.
        rois: ``(R, 5)``.
        offset: Shifts x, y ``(R, 2, P, Q)``, in units of gamma times the region's
            sides; or empty.
        output: ``(R, C, P, Q)``; written.
        pooled_height: P.
        pooled_width: Q.
        spatial_scale: From pixels of the image to those of the input.
        sampling_ratio: Samples along each side of a cell; 0 for one per pixel.
        gamma: Factor of the shifts.
    """
    sizes = (pooled_height, pooled_width, spatial_scale, sampling_ratio, gamma)
    shifts = full_precision(offset)
    output.copy_(
        _deform_roi_pool(full_precision(input), _like(rois, input), shifts, sizes)
    )


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the gradients of input and shifts; arguments as in the forward."""
    sizes = (pooled_height, pooled_width, spatial_scale, sampling_ratio, gamma)
    wanted = [full_precision(input).requires_grad_()]
    shifts = full_precision(offset)
    if offset.numel():
        wanted.append(shifts.requires_grad_())
    with torch.enable_grad():
        output = _deform_roi_pool(wanted[0], _like(rois, input), shifts, sizes)
    if not output.requires_grad:
        return  # no region reads the input
    grads = torch.autograd.grad(
        output, wanted, full_precision(grad_output), allow_unused=True
    )
    for target, grad in zip((grad_input, grad_offset), grads, strict=False):
        if grad is not None:
            target.copy_(grad)


def _deform_roi_pool(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    sizes: tuple[int, int, float, int, float],
) -> Tensor:
    """Return deformable RoI pooling, differentiable in input and shifts."""
    pooled_height, pooled_width, spatial_scale, sampling_ratio, gamma = sizes
    cells = rois.new_tensor([pooled_width, pooled_height])
    start = rois[:, 1:3] * spatial_scale - 0.5
    side = (rois[:, 3:] - rois[:, 1:3]) * spatial_scale
    # Corners (x, y) of the cells: (R, P, Q, 2).
    ys, xs = torch.meshgrid(
        torch.arange(pooled_height, device=rois.device),
        torch.arange(pooled_width, device=rois.device),
        indexing='ij',
    )
    grid = torch.stack([xs, ys], -1).to(rois)
    corners = start[:, None, None] + grid * (side / cells)[:, None, None]
    if offset.numel():
        shift = offset.view(-1, 2, pooled_height, pooled_width).permute(0, 2, 3, 1)
        corners = corners + gamma * side[:, None, None] * shift
    if sampling_ratio > 0:
        samples = torch.full_like(side, sampling_ratio)
    else:
        samples = (side / cells).ceil()
    output = input.new_zeros(rois.size(0), input.size(1), pooled_height, pooled_width)
    # Regions of the same image with the same number of samples are read together.
    kinds, kind = torch.unique(
        torch.cat([rois[:, :1], samples], 1), dim=0, return_inverse=True
    )
    for number, (image, across, down) in enumerate(kinds.long().tolist()):
        if across < 1 or down < 1:
            continue
        regions = (kind == number).nonzero()[:, 0]
        x = (torch.arange(across, device=rois.device) + 0.5) / across
        y = (torch.arange(down, device=rois.device) + 0.5) / down
        inside = torch.stack(torch.meshgrid(x, y, indexing='xy'), -1).flatten(0, 1)
        size = (side / cells)[regions]
        points = corners[regions][..., None, :] + inside * size[:, None, None, None]
        values = _sample(input[image], points.flatten(0, 2)).mean(-1)
        values = values.view(-1, len(regions), pooled_height, pooled_width)
        output = output.index_copy(0, regions, values.transpose(0, 1))
    return output


def _sample(image: Tensor, points: Tensor) -> Tensor:
    """Read an image bilinearly; points more than a pixel outside it are 0.

    Args:
        image: ``(C, H, W)``.
        points: Pixels x, y of S points in each of N cells ``(N, S, 2)``.

    Returns:
        ``(C, N, S)``.
    """
    size = points.new_tensor([image.size(2), image.size(1)])
    inside = ((points >= -1) & (points <= size)).all(-1)
    # grid_sample's coordinates go from -1, the first pixel, to 1, the last.
    grid = points / (size - 1).clamp(min=1) * 2 - 1
    read = F.grid_sample(
        image[None], grid[None], padding_mode='border', align_corners=True
    )
    return read[0] * inside


def _cells(
    first: Tensor, last: Tensor, count: int, length: int
) -> list[list[tuple[int, int]]]:
    """Return (first pixel, last pixel + 1) of each cell along a side of each region."""
    steps = torch.arange(count + 1, device=first.device)
    size = (last - first) / count
    edges = first[:, None] + steps * size[:, None]
    begin = edges[:, :-1].floor().clamp(0, length)
    end = edges[:, 1:].ceil().clamp(0, length)
    # Regions without area have no pixels.
    end = torch.where((last > first)[:, None], end, begin)
    pairs = torch.stack([begin, end], -1).long().tolist()
    return [[(a, b) for a, b in region] for region in pairs]


def _like(rois: Tensor, other: Tensor) -> Tensor:
    """Return regions in the precision in which ``other`` is computed."""
    return exact_regions(rois).to(full_precision(other[:0]).dtype)
