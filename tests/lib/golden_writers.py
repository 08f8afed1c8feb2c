"""Files in the layout of the golden ones, at settings of one's own.

Plain formulas in float64, written from the papers and the description of the official
code; nothing of this package is used. They tell whether a golden check reads its file
or only fits the one at hand.
"""

import math

import numpy as np


def save(path, arrays):
    """Write the arrays, numbers in single precision, and return the path."""
    arrays = {key: np.asarray(array) for key, array in arrays.items()}
    single = {
        key: a.astype(np.float32) if a.dtype == np.float64 and key != 'bbox/lam' else a
        for key, a in arrays.items()
    }
    np.savez(path, **single)
    return path


def softmax(x, axis):
    exp = np.exp(x - x.max(axis=axis, keepdims=True))
    return exp / exp.sum(axis=axis, keepdims=True)


def single(x):
    """Numbers that single precision holds, in float64."""
    return np.asarray(x).astype(np.float32).astype(np.float64)


def one_hot(labels, classes, smoothing):
    off = smoothing / classes
    return np.eye(classes)[labels] * (1 - smoothing) + off


# ------------------------------------------------------------------ losses


def cross_entropy(logits, target):
    """Mean over all rows, and its gradient."""
    log_probs = np.log(softmax(logits, -1))
    rows = math.prod(logits.shape[:-1])
    gradient = np.exp(log_probs) * target.sum(-1, keepdims=True) - target
    return -(target * log_probs).sum() / rows, gradient / rows


def write_losses(path, seed, batch, classes, grid, box, dense_weight, smoothing):
    """``tokenlabel_loss``: the box is (top, left, bottom, right) in tokens."""
    rng, tokens = np.random.default_rng(seed), grid[0] * grid[1]
    cls = single(2 * rng.normal(size=(batch, classes)))
    aux = single(2 * rng.normal(size=(batch, tokens, classes)))
    true = rng.integers(classes, size=batch)
    maps = softmax(2 * rng.normal(size=(batch, classes, 1 + tokens)), 1)
    for i in range(0, batch, 2):  # every other map agrees with the true label
        best = maps[i, :, 0].argmax()
        maps[i, [best, true[i]], 0] = maps[i, [true[i], best], 0]
    off = smoothing / classes
    maps = maps * (1 - smoothing + off) + off
    truth = one_hot(true, classes, smoothing)
    target = single(np.concatenate([truth[..., None], maps], axis=2))
    hard = single(softmax(rng.normal(size=(batch, classes)), 1))
    truth, label, token_labels = target[..., 0], target[..., 1], target[..., 2:]
    token_labels = token_labels.transpose(0, 2, 1)
    agree = label.argmax(1) == true
    lam = 1 - (box[2] - box[0]) * (box[3] - box[1]) / tokens
    trust = np.where(agree, 0.5, 0.9)[:, None]
    corrected = trust * label + (1 - trust) * truth

    def mixed(labels):
        return lam * labels + (1 - lam) * labels[::-1]

    arrays = dict(
        cls_logits=cls,
        aux_logits=aux,
        target_dense=target,
        target_2d=hard,
        gt_index=true,
        agree=agree.astype(np.int64),
        box=np.array(box),
        dense_weight=np.float32(dense_weight),
        lam=lam,
    )

    def add(key, class_target, dense, weight, tokens_target):
        cls_loss, cls_gradient = cross_entropy(cls, class_target)
        aux_loss, aux_gradient = cross_entropy(aux, tokens_target)
        arrays[key] = weight * cls_loss + dense * aux_loss
        arrays[f'{key}/grad_cls'] = weight * cls_gradient
        arrays[f'{key}/grad_aux'] = dense * aux_gradient

    every = np.repeat(hard[:, None], tokens, axis=1)
    half = float(np.float32(dense_weight))
    for key, class_target, dense, weight in (
        ('tl/w1_nobox', label, 1, 1),
        ('tl/w1_box', mixed(label), 1, 1),
        ('tl/whalf_box', mixed(label), half, 1),
        ('tl/whalf_box_gt', mixed(corrected), half, 1),
        ('tl/whalf_nobox_gt', corrected, half, 1),
        ('tl/clsonly_box', mixed(label), 0, 1),
        ('tl/auxonly_box', mixed(label), 1, 0),
        ('gt/whalf_box', mixed(corrected), half, 1),
    ):
        add(key, class_target, dense, weight, token_labels)
    for family in ('tl', 'gt'):
        add(f'{family}/whalf_box_2dtarget', mixed(hard), half, 1, every)

    pooled = softmax(rng.normal(size=(batch, classes, 2)), 1)
    repeated = single(rng.normal(size=(2 * batch, classes)))
    arrays['soft/target_B_C_2'] = pooled = single(pooled)
    arrays['soft/loss_B_C_2'], gradient = cross_entropy(cls, pooled[..., 1])
    arrays['soft/loss_B_C_2/grad_cls'] = gradient
    arrays['soft/loss_2d'] = arrays['ste/loss_2d'] = cross_entropy(cls, hard)[0]
    arrays['ste/logits_rep2'] = repeated
    twice = np.concatenate([hard, hard])
    arrays['ste/loss_rep2'] = cross_entropy(repeated, twice)[0]
    for key, labels in (('box', label), ('box_gt', corrected)):
        arrays[f'expected_cls_target/{key}'] = mixed(labels)
        arrays[f'parts/{key}_cls'] = cross_entropy(cls, mixed(labels))[0]
    arrays['parts/aux'] = cross_entropy(aux, token_labels)[0]
    return save(path, arrays)


# ------------------------------------------------------------------ label maps


def bins(first, last, cells, count):
    """Weights (count, cells) of RoIAlign along one axis, adaptive, not aligned."""
    length = max(last - first, 1) / count
    samples = math.ceil(length)
    weights = np.zeros((count, cells))
    for i in range(count):
        for j in range(samples):
            at = first + i * length + (j + 0.5) * length / samples
            if not -1 <= at <= cells:
                continue
            at = min(max(at, 0), cells - 1)
            low = min(int(at), cells - 1)
            high = min(low + 1, cells - 1)
            weights[i, low] += (1 - (at - low)) / samples
            weights[i, high] += (at - low) / samples
    return weights


def warped(planes, kind, amount):
    """The official RandAugment on a map (2, k, h, w), cell by cell."""
    _, _, rows, columns = planes.shape
    out = np.zeros_like(planes)
    angle = math.radians(amount)
    for row in range(rows):
        for column in range(columns):
            x, y = column, row
            if kind == 'rotate':
                dx, dy = column - columns / 2, row - rows / 2
                x = math.cos(angle) * dx - math.sin(angle) * dy + columns / 2
                y = math.sin(angle) * dx + math.cos(angle) * dy + rows / 2
            elif kind == 'shear_x':
                x += amount * row
            elif kind == 'shear_y':
                y += amount * column
            elif kind == 'translate_x':
                x += amount * columns
            else:
                y += amount * rows
            x, y = round(x, 9), round(y, 9)
            inside = 0 <= x <= columns - 1 and 0 <= y <= rows - 1
            near_y = min(max(math.floor(y + 0.5), 0), rows - 1)
            near_x = min(max(math.floor(x + 0.5), 0), columns - 1)
            out[:, :, row, column] = planes[:, :, near_y, near_x]
            if not inside:
                out[0, :, row, column] = 0
    return out


def write_label_maps(path, seed, classes, side, topk, sides, smoothings, lam, warps):
    """``labelmap_crop``: maps of ``side`` squared cells, pooled to ``sides``."""
    rng, batch = np.random.default_rng(seed), 3
    values = -np.sort(-8 * rng.random((batch, topk, side, side)), axis=1)
    indices = rng.random((batch, classes, side, side)).argsort(1)[:, :topk]
    stored = np.stack([values, indices], axis=1).astype(np.float16)
    size = rng.integers(60, 200, (batch, 2))
    flip = np.arange(batch) % 2
    height, width = (size[:, ::-1] * (0.2 + 0.6 * rng.random((batch, 2)))).T.astype(int)
    top, left = (size[:, 1] - height) // 3, (size[:, 0] - width) // 2
    crop = np.stack([top, left, height, width], axis=1)
    maps = stored.astype(np.float64)
    maps[flip == 1] = maps[flip == 1][..., ::-1]
    coords = single(crop / size[:, [1, 0, 1, 0]])
    true = rng.integers(classes, size=batch)
    dense = np.zeros((batch, classes, side, side))
    np.put_along_axis(dense, maps[:, 1].astype(int), maps[:, 0], axis=1)
    arrays = {
        'meta/num_classes': np.int64(classes),
        'meta/map_size': np.int64(side),
        'stored_maps_fp16': stored,
        'image_W_H': size,
        'flip': flip,
        'gt': true,
        'crop_i_j_h_w': crop,
        'maps_after_flip': maps,
        'coords_top_left_h_w': coords,
        'dense_map_sample0': dense[0],
    }

    def pooled(order, count):
        found = []
        for logits, (top, left, height, width) in zip(dense, coords):
            y, x = (top, top + height), (left, left + width)
            if order == 'official':
                y, x = x, y
            down, right = (
                bins(a * side - 0.5, b * side - 0.5, side, count) for a, b in (y, x)
            )
            found.append(down @ logits @ right.T)
        return np.stack(found)

    def targets(order, count, smoothing):
        counts = [1, count] if count > 1 else [1]
        flat = [pooled(order, n).reshape(batch, classes, -1) for n in counts]
        off = smoothing / classes
        soft = softmax(np.concatenate(flat, axis=2), 1) * (1 - smoothing + off) + off
        truth = one_hot(true, classes, smoothing)
        return np.concatenate([truth[..., None], soft], axis=2)

    for order in ('official', 'corrected'):
        for count in sides:
            arrays[f'{order}/size{count}/roi_logits'] = pooled(order, count)
            for smoothing in smoothings:
                key = f'{order}/size{count}/target_s{smoothing}'
                arrays[key] = targets(order, count, smoothing)
    both = targets('official', sides[0], smoothings[-1])
    key = f'official/mixup_lam{lam}_size{sides[0]}'
    arrays[key] = lam * both + (1 - lam) * both[::-1]
    key = f'official/hard_target_s{smoothings[0]}'
    arrays[key] = one_hot(true, classes, smoothings[0])
    for kind, amount in warps:
        planes = stored[0].astype(np.float64)
        arrays[f'affine/{kind}/{amount}'] = warped(planes, kind, amount)
    return save(path, arrays)
