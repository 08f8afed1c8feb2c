"""Shares follow the tokens through a network. Plain PyTorch.

The files named after a host (``mmpretrain_vit.py``, ...) need that host and are
imported when one of its backbones is met.
"""

from .known import (
    Family,
    family_of,
    known_backbones,
    register_attention,
    register_backbone,
    register_helper,
)
from .row_readers import ClassRows, TokenColumns
from .taps import AttentionTap, Wire, attach, listen, watch
from .trace import (
    label_tracer,
    look_reader,
    share_tracer,
    start_share,
    token_grid,
    trace,
)
from .tracer import Tracer, layer_indices, residual_weight

__all__ = [
    'AttentionTap',
    'ClassRows',
    'Family',
    'TokenColumns',
    'Tracer',
    'Wire',
    'attach',
    'family_of',
    'known_backbones',
    'label_tracer',
    'layer_indices',
    'listen',
    'look_reader',
    'register_attention',
    'register_backbone',
    'register_helper',
    'residual_weight',
    'share_tracer',
    'start_share',
    'token_grid',
    'trace',
    'watch',
]
