"""Golden numbers of label maps: flips, crops, pooling, RandAugment's moves."""

import numpy as np
import torch
from golden_files import close

from mmtlalign.datasets.label_maps import LabelMap
from mmtlalign.datasets.label_maps.geometry import legacy_move_map
from mmtlalign.datasets.label_maps.moves import FlipWithMap, RandomResizedCropWithMap
from mmtlalign.datasets.label_maps.pooling import label_map_targets, pool_label_maps


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
    check_moves(golden)


def check_moves(golden):
    stored = golden['stored_maps_fp16'][0].astype(np.float32)
    label_map = LabelMap(*stored)
    keys = [key for key in golden.files if key.startswith('affine/')]
    assert keys
    for key in keys:
        _, kind, amount = key.split('/')
        ours = np.stack(legacy_move_map(label_map, kind, float(amount)))
        close(ours, golden[key], 0)
