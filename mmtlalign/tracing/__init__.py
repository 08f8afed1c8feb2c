"""Follow the share of the partner image through a network. Plain PyTorch.

What is peculiar to a host is in :mod:`mmtlalign.tracing.adapters` and is imported when
one of its backbones is met.
"""

from mmtlalign.tracing.attach import (
    AttentionTap,
    Wire,
    attach,
    label_tracer,
    listen,
    share_tracer,
    start_share,
    token_grid,
    trace,
    watch,
)
from mmtlalign.tracing.support import (
    Family,
    family_of,
    known_backbones,
    register_attention,
    register_backbone,
    register_helper,
)
from mmtlalign.tracing.tracer import Tracer, layer_indices, residual_weight

__all__ = [
    'AttentionTap',
    'Family',
    'Tracer',
    'Wire',
    'attach',
    'family_of',
    'known_backbones',
    'label_tracer',
    'layer_indices',
    'listen',
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
