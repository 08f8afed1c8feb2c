"""Evaluation and pictures of trained backbones."""
