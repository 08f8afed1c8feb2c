"""Follow the share of the partner image through a network. Plain PyTorch.

Read ``propagate.py`` (how shares move), ``tracer.py`` (what happens in a forward pass),
``attach.py`` (hooks onto a network) and ``trace.py`` (a mixed batch through it). What
is peculiar to a host is in ``adapters``, imported when one of its backbones is met;
``kernels`` are the ways to compute.
"""

from mmtlalign.tracing.attach import TraceContext, attach, detach
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    backbone_spec,
    register_attention,
    register_backbone,
    register_token_module,
    supported_backbones,
)
from mmtlalign.tracing.trace import (
    MixTracer,
    label_tracer,
    start_share,
    token_grid,
    trace,
    trace_forward,
)
from mmtlalign.tracing.tracer import Tracer

__all__ = [
    'BackboneSpec',
    'MixTracer',
    'Reader',
    'TraceContext',
    'Tracer',
    'attach',
    'backbone_spec',
    'detach',
    'label_tracer',
    'register_attention',
    'register_backbone',
    'register_token_module',
    'start_share',
    'supported_backbones',
    'token_grid',
    'trace',
    'trace_forward',
]
