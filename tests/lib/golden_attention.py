"""Golden numbers of attention maps against masks and boxes."""

import numpy as np
import torch
from golden_files import close

from mmtlalign.datasets.boxed_objects import scaled_boxes
from mmtlalign.evaluation.localization import (
    foreground,
    mask_box,
    mask_jaccard,
    to_pixels,
)
from mmtlalign.evaluation.max_box_accuracy import (
    MaxBoxAccuracy,
    score_map,
    threshold_boxes,
)

NEAR = 1e-6


def check_attention_quality(path):
    golden = np.load(path, allow_pickle=False)
    maps = torch.from_numpy(golden['attention_heads'])
    labels = golden['label_map_0bg_255void']
    side = int(golden['wsol/resize'])
    under = [k[: -len('mask_heads')] for k in golden.files if k.endswith('mask_heads')]
    assert under
    for key in under:
        mass = float(key.removeprefix('mass').rstrip('/'))
        close(foreground(maps, mass), golden[f'{key}mask_heads'], 0)
        mean = foreground(maps.mean(1), mass)
        close(mean, golden[f'{key}mask_head_mean'], 0)
        pixels = to_pixels(mean.numpy(), (side, side))
        boxes = [mask_box(one) for one in pixels]
        close(np.array(boxes), golden[f'{key}box_largest_component_exclusive'], 0)
        boxes = [mask_box(one, largest=False) for one in pixels]
        close(np.array(boxes), golden[f'{key}box_all_exclusive'], 0)
        check_jaccard(golden, key, mass, maps, labels)
    check_boxes(golden, side)


def check_jaccard(golden, key, mass, maps, labels):
    official = [
        mask_jaccard(*one, mass, official=True).best_head for one in zip(maps, labels)
    ]
    same(official, golden[f'{key}jaccard_official_best_head'])
    close(np.nanmean(official), golden[f'{key}jaccard_official_mean'], NEAR)
    ours = [mask_jaccard(*one, mass) for one in zip(maps, labels)]
    best, mean, whole = zip(*ours)
    same(best, golden[f'{key}jaccard_void_excluded_best_head'])
    same(mean, golden[f'{key}jaccard_head_mean_per_class'])
    same(whole, golden[f'{key}jaccard_head_mean_foreground'])


def check_boxes(golden, side):
    size = (side, side)
    scores = [score_map(one, size) for one in golden['wsol/map_low_resolution']]
    close(np.array(scores), golden['wsol/score_map_normalised'], NEAR)
    scores, thresholds = golden['wsol/score_map_normalised'], golden['wsol/thresholds']
    truths = []
    for boxes, sides, resized in zip(
        golden['wsol/gt_box_x0y0x1y1_padded'],
        golden['wsol/image_size_w_h'],
        golden['wsol/gt_box_resized'],
    ):
        real = boxes[:, 0] >= 0
        truths.append(scaled_boxes(boxes[real], tuple(sides[::-1]), size))
        close(truths[-1], resized[real], 0)
    for kind, every in (('single', False), ('multi', True)):
        measure = MaxBoxAccuracy(thresholds, every)
        for index, (one, boxes) in enumerate(zip(scores, truths)):
            found = threshold_boxes(one, thresholds, every)
            if every:
                counts = golden['wsol/number_of_contours'][index]
                close([len(boxes) for boxes in found], counts, 0)
            else:
                largest = golden['wsol/box_largest_contour'][index]
                close(np.concatenate(found), largest, 0)
                given = golden['wsol/iou_largest_contour'][index]
                close(measure.best_overlaps(one, boxes), given, NEAR)
            measure.add(one, boxes)
        given = golden[f'wsol/{kind}/box_acc_per_threshold_iou30_50_70']
        close(measure.accuracy, given, NEAR)
        given = golden[f'wsol/{kind}/max_box_acc_iou30_50_70']
        close(list(measure.compute().values())[:-1], given, NEAR)


def same(ours, golden):
    """Equal, and NaN in the same places."""
    ours, golden = np.asarray(ours), np.asarray(golden)
    assert (np.isnan(ours) == np.isnan(golden)).all()
    close(np.nan_to_num(ours), np.nan_to_num(golden), NEAR)
