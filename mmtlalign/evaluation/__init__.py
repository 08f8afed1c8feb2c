"""Metrics and measurements.

Rules are functions on tensors that need PyTorch and NumPy alone; nothing is imported
here, so that they need no OpenMMLab. Registries know where metrics and steps are.
"""
