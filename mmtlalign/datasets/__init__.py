"""Data that no host library has, and steps of their pipelines."""

from mmtlalign.datasets.ignore_labels import IgnoreLabels

__all__ = ['IgnoreLabels']
