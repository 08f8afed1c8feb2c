"""Golden numbers of label maps: flips, crops, pooling, RandAugment's warps.

Every setting is read from the file: sizes from the arrays, token grids, smoothing,
mixing and warps from the names of the keys.
"""

import re

import numpy as np
import torch
from golden_files import close
from mmpretrain.structures import DataSample
from torch.nn.functional import one_hot

from mmtlalign.methods.relabel import ReLabel
from mmtlalign.methods.token_labeling.geometry import (
    LabelMap,
    index_dtype,
    legacy_affine_map,
    pool_label_maps,
)
from mmtlalign.methods.token_labeling.loss import smooth_one_hot
from mmtlalign.methods.token_labeling.pooling import PoolLabelMap
from mmtlalign.methods.token_labeling.targets import SampleMaps
from mmtlalign.methods.token_labeling.transforms import (
    FlipWithMap,
    RandomResizedCropWithMap,
)
from mmtlalign.mixing.mix import Mix


def check_labelmap_crop(path):
    golden = np.load(path, allow_pickle=False)
    samples = [through_pipeline(golden, i) for i in range(len(golden['flip']))]
    check_maps(golden, samples)
    check_targets(golden, samples)
    check_mixed_targets(golden, samples)
    check_warps(golden)


def through_pipeline(golden, sample):
    """Flip and crop as the file says, with the steps of a pipeline."""
    width, height = golden['image_W_H'][sample]
    values, classes = golden['stored_maps_fp16'][sample]
    results = dict(
        img=np.zeros((height, width, 3), np.uint8),
        label_map_values=values,
        label_map_indices=classes.astype(index_dtype(golden['meta/num_classes'])),
        label_map_box=np.array([0, 0, 1, 1], np.float32),
    )
    results = FlipWithMap(prob=float(golden['flip'][sample]))(results)
    crop = RandomResizedCropWithMap(scale=32)
    drawn = tuple(golden['crop_i_j_h_w'][sample])
    crop.rand_crop_params = lambda image: drawn
    return crop(results)


def keys_of(golden, pattern):
    """Keys that match, each with what the groups of the pattern found."""
    found = [(key, re.fullmatch(pattern, key)) for key in golden.files]
    found = [(key, *match.groups()) for key, match in found if match]
    assert found
    return found


def check_maps(golden, samples):
    """Maps after the flip, boxes after the crop, and the logits pooled over them."""
    classes = int(golden['meta/num_classes'])
    values, indices, boxes = (
        torch.from_numpy(np.stack([s[f'label_map_{key}'] for s in samples]))
        for key in ('values', 'indices', 'box')
    )
    close(torch.stack([values, indices], dim=1), golden['maps_after_flip'], 0)
    close(boxes, golden['coords_top_left_h_w'], 1e-6)
    first = LabelMap(values[0].numpy(), indices[0].numpy())
    close(first.dense(classes), golden['dense_map_sample0'], 0)
    for key, order, side in keys_of(golden, r'(\w+)/size(\d+)/roi_logits'):
        (pooled,) = pool_label_maps(
            values, indices, boxes, classes, [int(side)], order == 'official'
        )
        close(pooled, golden[key], 3e-5)


def targets_of(golden, samples, order, side, smoothing):
    """The official layout (B, K, 2 + S²), by the steps and the reader of the head."""
    classes = int(golden['meta/num_classes'])
    step = PoolLabelMap(side, classes, legacy_axis_order=order == 'official')
    batch = []
    for results in samples:
        pooled = step(dict(results))
        batch.append(DataSample())
        for field in ('gt_label_map', 'gt_map_label'):
            batch[-1].set_field(pooled[field], field)
    reader = SampleMaps(classes, 'logits', 'error', smoothing)
    labels = one_hot(torch.from_numpy(golden['gt'][: len(samples)]), classes)
    labels = smooth_one_hot(labels.float(), smoothing, classes)
    targets = torch.stack([labels, reader.whole(batch, labels)], dim=2)
    if side == 1:
        return targets
    tokens = reader.tokens(batch, labels, lambda grid: None)
    return torch.cat([targets, tokens.mT], dim=2)


def check_targets(golden, samples):
    for key, order, side, smoothing in keys_of(golden, r'(\w+)/size(\d+)/target_s(.+)'):
        settings = order, int(side), float(smoothing)
        close(targets_of(golden, samples, *settings), golden[key], 1e-5)
        # A batch of one, which the reference cannot do.
        close(targets_of(golden, samples[:1], *settings), golden[key][:1], 1e-5)
        # ReLabel's label of the image is the second column.
        step = ReLabel(
            int(golden['meta/num_classes']), float(smoothing), order == 'official'
        )
        for results, expected in zip(samples, golden[key][..., 1]):
            ours = step(dict(results))['gt_score']
            assert ours.dtype == np.float32
            close(ours, expected, 1e-5)


def check_mixed_targets(golden, samples):
    """Images blended, and labels without maps."""
    classes = int(golden['meta/num_classes'])
    for key, lam, side in keys_of(golden, r'official/mixup_lam(.+)_size(\d+)'):
        # Its name does not tell the smoothing; the classes that no label names do.
        smoothing = round(classes * float(golden[key][..., 0].min()), 6)
        targets = targets_of(golden, samples, 'official', int(side), smoothing)
        mix = Mix(
            images=torch.zeros(len(samples), 3, 4, 4),
            labels=targets.flatten(1),
            partner=torch.arange(len(samples)).flip(0),
            mask=torch.full((1, 1, 4, 4), 1 - float(lam)),
        )
        close(mix.target(mix.area()).view_as(targets), golden[key], 1e-5)
    for key, smoothing in keys_of(golden, r'official/hard_target_s(.+)'):
        targets = targets_of(golden, samples, 'official', 1, float(smoothing))
        close(targets[..., 0], golden[key], 1e-5)


def check_warps(golden):
    label_map = LabelMap(*golden['stored_maps_fp16'][0].astype(np.float32))
    for key, kind, amount in keys_of(golden, r'affine/(\w+)/(.+)'):
        ours = np.stack(legacy_affine_map(label_map, kind, float(amount)))
        close(ours, golden[key], 0)
