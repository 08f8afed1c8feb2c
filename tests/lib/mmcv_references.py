"""mmcv's operators in plain loops, from the papers and the formulas of its kernels.

Slow and simple, in double precision, differentiable by autograd. They share nothing
with ``mmtlalign.compat.mmcv_ops``.
"""

from itertools import product
from math import ceil, exp, floor, log

import torch

TINY = torch.finfo(torch.float32).tiny


def sample(image, y, x, border):
    """Value ``(C,)`` of an image ``(C, H, W)`` between four pixels.

    border: Whether up to a pixel outside repeats the border, as in RoIAlign; else
        all pixels outside are 0.
    """
    height, width = image.shape[1:]
    if border:
        if y < -1 or y > height or x < -1 or x > width:
            return image.new_zeros(len(image))
        y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = floor(y.item()), floor(x.item())
    value = image.new_zeros(len(image))
    for row, column in product((top, top + 1), (left, left + 1)):
        if 0 <= row < height and 0 <= column < width:
            weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
            value = value + weight * image[:, row, column]
    return value


def pool(image, start, cell, size, ratio, shift=None):
    """Average of samples in each cell: ``(C, P, Q)``; start, cell: y, x."""
    samples = [ratio if ratio > 0 else max(ceil(side), 0) for side in cell.tolist()]
    rows = []
    for p in range(size[0]):
        for q in range(size[1]):
            at = start + cell * torch.tensor([p, q])
            if shift is not None:
                at = at + shift[:, p, q]
            total = image.new_zeros(len(image))
            for i, j in product(range(samples[0]), range(samples[1])):
                y = at[0] + cell[0] * (i + 0.5) / samples[0]
                x = at[1] + cell[1] * (j + 0.5) / samples[1]
                total = total + sample(image, y, x, border=True)
            rows.append(total / max(samples[0] * samples[1], 1))
    return torch.stack(rows, 1).reshape(len(image), *size)


def roi_align(input, rois, size, scale, ratio, aligned):
    pooled = []
    for image, x1, y1, x2, y2 in rois:
        start = torch.stack([y1, x1]) * scale - (0.5 if aligned else 0)
        side = torch.stack([y2 - y1, x2 - x1]) * scale
        side = side if aligned else side.clamp(min=1)
        cell = side / torch.tensor(size)
        pooled.append(pool(input[int(image)], start, cell, size, ratio))
    return torch.stack(pooled)


def deform_roi_pool(input, rois, offset, size, scale, ratio, gamma):
    pooled = []
    for region, (image, x1, y1, x2, y2) in enumerate(rois):
        start = torch.stack([y1, x1]) * scale - 0.5
        side = torch.stack([y2 - y1, x2 - x1]) * scale
        shift = None
        if offset is not None:  # channels x, y
            shift = gamma * side[:, None, None] * offset[region].flip(0)
        cell = side / torch.tensor(size)
        pooled.append(pool(input[int(image)], start, cell, size, ratio, shift))
    return torch.stack(pooled)


def roi_pool(input, rois, size, scale):
    output = []
    for image, x1, y1, x2, y2 in rois.tolist():
        plane = input[int(image)]
        spans = []
        for low, high, count, length in (
            (y1, y2, size[0], plane.size(1)),
            (x1, x2, size[1], plane.size(2)),
        ):
            low, high = low * scale, (high + 1) * scale
            edges = [low + (high - low) / count * k for k in range(count + 1)]
            cells = zip(edges[:-1], edges[1:])
            spans.append([(max(floor(a), 0), min(ceil(b), length)) for a, b in cells])
        for (top, bottom), (left, right) in product(*spans):
            empty = top >= bottom or left >= right or x2 + 1 <= x1 or y2 + 1 <= y1
            crop = plane[:, top:bottom, left:right]
            output.append(crop.new_zeros(len(crop)) if empty else crop.amax((1, 2)))
    return torch.stack(output, 1).reshape(-1, len(rois), *size).transpose(0, 1)


def iou(a, b, offset=0, mode='iou'):
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    overlap = max(width, 0) * max(height, 0)
    first, second = ((c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b))
    return overlap / (first if mode == 'iof' else first + second - overlap)


def bbox_overlaps(first, second, mode, aligned, offset):
    if aligned:
        pairs = [iou(a, b, offset, mode) for a, b in zip(first, second)]
    else:
        pairs = [[iou(a, b, offset, mode) for b in second] for a in first]
    return torch.tensor(pairs, dtype=torch.float64)


def by_score(scores):
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def nms(boxes, scores, threshold, offset=0, score_threshold=0, max_num=-1):
    kept = []
    for index in by_score(scores):
        if score_threshold > 0 and scores[index] <= score_threshold:
            continue
        if all(iou(boxes[index], boxes[k], offset) <= threshold for k in kept):
            kept.append(index)
    return kept[:max_num] if max_num > 0 else kept


def nms_match(boxes, scores, threshold):
    groups, left = [], by_score(scores)
    while left:
        near = [k for k in left[1:] if iou(boxes[left[0]], boxes[k]) >= threshold]
        groups.append([left[0], *near])
        left = [k for k in left if k not in groups[-1]]
    return groups


def soft_nms(boxes, scores, threshold, sigma, min_score, method, offset=0):
    """Indices and new scores, the best first."""
    scores, left, kept = list(scores), list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda index: scores[index])
        kept.append(best)
        left.remove(best)
        for other in left:
            overlap = iou(boxes[best], boxes[other], offset)
            if method == 'gaussian':
                scores[other] *= exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                scores[other] *= 1 - overlap if method == 'linear' else 0
        left = [k for k in left if scores[k] >= min_score]
    return kept, [scores[k] for k in kept]


def logarithm(p):
    return p.clamp(min=TINY).log()


def sigmoid_focal_loss(logits, target, gamma, alpha, weight):
    rows = []
    for row, label in zip(logits, target.tolist()):
        p = 1 / (1 + (-row).exp())
        loss = -(1 - alpha) * p**gamma * logarithm(1 - p)
        hit = -alpha * (1 - p) ** gamma * logarithm(p)
        loss = torch.where(torch.arange(len(row)) == label, hit, loss)
        rows.append(loss if weight is None else loss * weight[label])
    return torch.stack(rows)


def softmax_focal_loss(logits, target, gamma, alpha, weight):
    rows = []
    for row, label in zip(logits, target.tolist()):
        p = (row - row.max()).exp()[label] / (row - row.max()).exp().sum()
        loss = -alpha * (1 - p) ** gamma * logarithm(p)
        rows.append(loss if weight is None else loss * weight[label])
    return torch.stack(rows)


def deform_conv(
    input, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups
):
    """Deformable convolution, version 2; of version 1 with a mask of ones."""
    batch, channels = input.shape[:2]
    kernel = weight.shape[2:]
    output = []
    per_group, per_shift = channels // groups, channels // deform_groups
    for image in range(batch):
        for i, j in product(range(offset.size(2)), range(offset.size(3))):
            columns = []
            for place, (k, m) in enumerate(product(*map(range, kernel))):
                parts = []
                for group in range(deform_groups):
                    at = 2 * (group * kernel[0] * kernel[1] + place)
                    y = i * stride[0] - padding[0] + k * dilation[0]
                    x = j * stride[1] - padding[1] + m * dilation[1]
                    part = sample(
                        input[image, group * per_shift : (group + 1) * per_shift],
                        y + offset[image, at, i, j],
                        x + offset[image, at + 1, i, j],
                        border=False,
                    )
                    parts.append(part * mask[image, at // 2, i, j])
                columns.append(torch.cat(parts))
            patch = torch.stack(columns, 1).view(groups, per_group, -1)
            filters = weight.view(groups, len(weight) // groups, per_group, -1)
            output.append(torch.einsum('gck,gock->go', patch, filters).flatten())
    output = torch.stack(output).view(batch, *offset.shape[2:], len(weight))
    output = output.permute(0, 3, 1, 2)
    return output if bias is None else output + bias[:, None, None]


def carafe(features, masks, kernel, groups, scale):
    batch, channels, height, width = features.shape
    radius = kernel // 2
    output = []
    for image, c in product(range(batch), range(channels)):
        group = c // (channels // groups)
        for y, x in product(range(height * scale), range(width * scale)):
            total = 0
            for i, j in product(range(kernel), range(kernel)):
                row, column = y // scale + i - radius, x // scale + j - radius
                if 0 <= row < height and 0 <= column < width:
                    place = (group * kernel + i) * kernel + j
                    value = features[image, c, row, column]
                    total = total + value * masks[image, place, y, x]
            output.append(total)
    return torch.stack(output).view(batch, channels, height * scale, width * scale)


def psa_mask(input, psa_type, mask):
    batch, _, height, width = input.shape
    output = input.new_zeros(batch, height * width, height, width)
    pixels = list(product(range(height), range(width)))
    for (h, w), (k, m) in product(pixels, product(*map(range, mask))):
        row, column = h + k - (mask[0] - 1) // 2, w + m - (mask[1] - 1) // 2
        if 0 <= row < height and 0 <= column < width:
            value = input[:, k * mask[1] + m, h, w]
            if psa_type == 0:
                output[:, row * width + column, h, w] = value
            else:
                output[:, h * width + w, row, column] = value
    return output


def masked_conv(features, mask, weight, bias, padding):
    kernel, (height, width) = weight.shape[2:], features.shape[2:]
    output = features.new_zeros(1, len(weight), height, width)
    for i, j in mask[0].nonzero().tolist():
        total = bias.clone()
        for k, m in product(*map(range, kernel)):
            row, column = i + k - padding, j + m - padding
            if 0 <= row < height and 0 <= column < width:
                total = total + weight[:, :, k, m] @ features[0, :, row, column]
        output[0, :, i, j] = total
    return output


def deformable_attention(value, shapes, locations, weights):
    batch, queries, heads, levels, points = weights.shape
    output = []
    for b, q, h in product(range(batch), range(queries), range(heads)):
        total, first = 0, 0
        for level, (height, width) in enumerate(shapes.tolist()):
            plane = value[b, first : first + height * width, h].T
            plane = plane.reshape(-1, height, width)
            for point in range(points):
                x, y = locations[b, q, h, level, point]
                read = sample(plane, y * height - 0.5, x * width - 0.5, border=False)
                total = total + weights[b, q, h, level, point] * read
            first += height * width
        output.append(total)
    return torch.stack(output).view(batch, queries, -1)


# The largest loss of a wrong class: what the clamp at TINY allows.
LARGEST = -log(TINY)
