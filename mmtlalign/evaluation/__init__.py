"""Metrics and measurements. Those of detection need mmdet, the others do not."""

from importlib.util import find_spec

__all__ = []

# mmdet is of no use beside mmcv-lite, which has no operators.
if find_spec('mmdet') and find_spec('mmcv._ext'):
    from mmtlalign.evaluation.coco_metric import CocoMetric

    __all__ += ['CocoMetric']
