"""Follow the share of the partner image through a network. Plain PyTorch.

What is peculiar to a host is in :mod:`mmtlalign.tracing.adapters` and is imported when
one of its backbones is met.
"""

from mmtlalign.tracing.attach import (
    AttentionHook,
    TraceContext,
    attach,
    label_tracer,
    listen,
    share_tracer,
    start_share,
    token_grid,
    trace,
    trace_forward,
)
from mmtlalign.tracing.support import (
    BackboneSpec,
    backbone_spec,
    register_attention,
    register_backbone,
    register_token_module,
    supported_backbones,
)
from mmtlalign.tracing.tracer import Tracer, layer_indices, residual_weight

__all__ = [
    'AttentionHook',
    'BackboneSpec',
    'Tracer',
    'TraceContext',
    'attach',
    'backbone_spec',
    'supported_backbones',
    'label_tracer',
    'layer_indices',
    'listen',
    'register_attention',
    'register_backbone',
    'register_token_module',
    'residual_weight',
    'share_tracer',
    'start_share',
    'token_grid',
    'trace',
    'trace_forward',
]
