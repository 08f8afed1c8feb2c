"""Metrics. Needs mmdet, so nothing imports it but a config that names one."""

from mmtlalign.evaluation.coco_metric import CocoMetric

__all__ = ['CocoMetric']
