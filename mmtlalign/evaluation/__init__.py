"""Metrics and measurements.

The measures themselves are functions on tensors that need only PyTorch and NumPy, and
OpenCV for the regions and boxes of maps. This module imports nothing, so that they can
be used without OpenMMLab; the registries import the modules of metrics and transforms
on demand.
"""
