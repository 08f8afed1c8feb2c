"""Tracing of the partner image's share through a network. Needs only PyTorch.

Read ``propagate.py`` (how shares move), ``tracer.py`` (one forward pass), ``attach.py``
(hooks on a network) and ``trace.py`` (a mixed batch), in this order. Code that is
specific to a host library (mmpretrain, mmdet, timm) is in ``adapters`` and imported
with the first of its backbones; ``kernels`` has faster implementations of the same
computation.
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
