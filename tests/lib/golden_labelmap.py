"""Golden numbers of label maps: flips, crops, pooling, RandAugment's moves."""

import itertools
import re

import numpy as np
import torch
from golden_files import close
from mmtlalign.methods.token_labeling.label_map import LabelMap

from mmtlalign.methods.relabel import ReLabel
from mmtlalign.methods.token_labeling.geometry import (
    label_map_targets,
    legacy_move_map,
    pool_label_maps,
)
from mmtlalign.methods.token_labeling.transforms import (
    FlipWithMap,
    RandomResizedCropWithMap,
)
from mmtlalign.mixing.mix import Mix


def through_pipeline(golden, sample):
    """Flip and crop as the file says, with the steps of a pipeline."""
    width, height = golden['image_W_H'][sample]
    values, classes = golden['stored_maps_fp16'][sample]
    results = dict(
        img=np.zeros((height, width, 3), np.uint8),
        label_map_values=values,
        label_map_indices=classes.astype(np.int16),
        label_map_box=np.array([0, 0, 1, 1], np.float32),
    )
    results = FlipWithMap(prob=float(golden['flip'][sample]))(results)
    crop = RandomResizedCropWithMap(scale=32)
    drawn = tuple(golden['crop_i_j_h_w'][sample])
    crop.rand_crop_params = lambda image: drawn
    return crop(results)


def check_labelmap_crop(path):
    golden = np.load(path, allow_pickle=False)
    classes = int(golden['meta/num_classes'])
    samples = [through_pipeline(golden, i) for i in range(len(golden['flip']))]
    values, indices, boxes = (
        torch.from_numpy(np.stack([s[f'label_map_{key}'] for s in samples]))
        for key in ('values', 'indices', 'box')
    )
    maps = golden['maps_after_flip']
    close(torch.stack([values, indices], dim=1), maps, 0)
    close(boxes, golden['coords_top_left_h_w'], 1e-6)
    first = LabelMap(values[0].numpy(), indices[0].numpy())
    close(first.dense(classes), golden['dense_map_sample0'], 0)

    keys = [key for key in golden.files if key.endswith('/roi_logits')]
    assert len(keys) >= 2
    labels = torch.from_numpy(golden['gt'])
    for key in keys:
        order, size, _ = key.split('/')
        side = int(size.removeprefix('size'))
        rest = dict(num_classes=classes, size=side)
        rest['legacy_axis_order'] = order == 'official'
        close(pool_label_maps(values, indices, boxes, **rest), golden[key], 3e-5)
        for target in golden.files:
            if not target.startswith(f'{order}/{size}/target_s'):
                continue
            rest['smoothing'] = float(target.rpartition('_s')[2])
            ours = label_map_targets(values, indices, boxes, labels, **rest)
            close(ours, golden[target], 1e-5)
            # A batch of one, which the reference cannot do.
            one = (part[:1] for part in (values, indices, boxes, labels))
            close(label_map_targets(*one, **rest), golden[target][:1], 1e-5)
    for sample, key in itertools.product(range(len(labels)), golden.files):
        if '/target_s' in key:
            check_relabel(golden, key, samples[sample], sample, classes)
    check_mixed_targets(golden, values, indices, boxes, labels, classes)
    check_moves(golden)


def check_relabel(golden, key, results, sample, classes):
    """The label of the image is the second column of the targets."""
    order, _, rest = key.split('/')
    step = ReLabel(
        classes,
        smoothing=float(rest.removeprefix('target_s')),
        legacy_axis_order=order == 'official',
    )
    ours = step(dict(results))['gt_score']
    assert ours.dtype == np.float32
    close(torch.from_numpy(ours), golden[key][sample, :, 1], 1e-5)


def check_mixed_targets(golden, values, indices, boxes, labels, classes):
    """Images blended, and labels without maps."""
    official = dict(num_classes=classes, smoothing=0.1, legacy_axis_order=True)
    blends = [key for key in golden.files if key.startswith('official/mixup_lam')]
    hard = [key for key in golden.files if key.startswith('official/hard_target_s')]
    assert blends and hard
    for key in blends:
        lam, side = re.fullmatch(r'official/mixup_lam(.+)_size(\d+)', key).groups()
        targets = label_map_targets(
            values, indices, boxes, labels, size=int(side), **official
        )
        mix = Mix(
            images=torch.zeros(len(labels), 3, 4, 4),
            labels=targets.flatten(1),
            partner=torch.arange(len(labels)).flip(0),
            mask=torch.full((1, 1, 4, 4), 1 - float(lam)),
        )
        close(mix.target(mix.area()).view_as(targets), golden[key], 1e-5)
    for key in hard:
        official['smoothing'] = float(key.rpartition('_s')[2])
        targets = label_map_targets(values, indices, boxes, labels, size=1, **official)
        close(targets[..., 0], golden[key], 1e-5)


def check_moves(golden):
    stored = golden['stored_maps_fp16'][0].astype(np.float32)
    label_map = LabelMap(*stored)
    keys = [key for key in golden.files if key.startswith('affine/')]
    assert keys
    for key in keys:
        _, kind, amount = key.split('/')
        ours = np.stack(legacy_move_map(label_map, kind, float(amount)))
        close(ours, golden[key], 0)
