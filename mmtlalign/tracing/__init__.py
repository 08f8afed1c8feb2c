"""Shares follow the tokens through a network. Plain PyTorch.

The files named after a host (``mmpretrain_vit.py``, ...) need that host and are
imported when one of its backbones is met.
"""

from .taps import (
    AttentionTap,
    Family,
    Wire,
    attach,
    family_of,
    register_attention,
    register_backbone,
    register_helper,
    watch,
)
from .trace import row_reader, share_tracer, start_share, token_grid, trace
from .tracer import ClassRows, Tracer, layer_indices

__all__ = [
    'AttentionTap',
    'ClassRows',
    'Family',
    'Tracer',
    'Wire',
    'attach',
    'family_of',
    'layer_indices',
    'register_attention',
    'register_backbone',
    'register_helper',
    'row_reader',
    'share_tracer',
    'start_share',
    'token_grid',
    'trace',
    'watch',
]
