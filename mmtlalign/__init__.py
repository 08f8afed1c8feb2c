"""Label-aligned pretraining of vision transformers for the OpenMMLab hosts."""

__version__ = '0.1.0'
