"""Samples for metrics, and one process of two that evaluates them."""

import json
import sys

import numpy as np
import torch
from mmengine.registry import METRICS

from mmtlalign.engine.precision import leave_processes

ALL = [
    dict(type='mmtlalign.SubsetAccuracy', classes=[0, 2, 3, 5, 7], topk=(1, 2)),
    dict(type='mmtlalign.ReaLAccuracy', topk=(1, 3)),
    dict(type='mmtlalign.Calibration', bin_size=5),
    dict(type='mmtlalign.CorruptionError'),
    dict(type='mmtlalign.OutOfDistribution', which=None),
]


def samples(count=23, classes=8, kind='', seed=0):
    """Data samples as mmengine's evaluator hands them to metrics.

    Args:
        count: How many.
        classes: K.
        kind: Of the metric that they are for, the end of its name.
        seed: Of the numbers.
    """
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        label = [int(rng.choice([0, 2, 3, 5, 7]))]
        if kind == 'ReaLAccuracy':
            label = rng.permutation(classes)[: number % 4].tolist()
        if kind == 'OutOfDistribution' and number % 3 == 0:
            label = []
        scores = torch.from_numpy(rng.normal(0, 2, classes)).float().softmax(0)
        found.append(
            dict(
                pred_score=scores,
                gt_label=torch.tensor(label, dtype=torch.long),
                corruption=('fog', 'snow')[number % 2],
                severity=1 + number % 5,
            )
        )
    return found


def figures(config, parts, size):
    """What a metric says of batches of samples."""
    metric = METRICS.build(dict(config))
    for part in parts:
        metric.process(None, part)
    return metric.evaluate(size)


def main():
    """Evaluate every other sample, the last ones filled up, and print the figures."""
    torch.distributed.init_process_group('gloo')
    rank, found = torch.distributed.get_rank(), {}
    for config in ALL:
        kind = config['type'].rpartition('.')[2]
        given = samples(kind=kind)
        filled = (given + given)[: len(given) + len(given) % 2]
        own = filled[rank::2]
        parts = [own[:5], own[5:]]
        found[kind] = figures(config, parts, len(given))
    if rank == 0:
        print('FIGURES', json.dumps(found))
    leave_processes()


if __name__ == '__main__':
    sys.exit(main())
