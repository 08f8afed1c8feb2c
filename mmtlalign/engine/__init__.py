"""Run a training: runner, precision, optimizers and hooks."""

from mmtlalign.engine.broadcast_buffers_hook import BroadcastBuffersHook
from mmtlalign.engine.checkpoint_hook import WholeCheckpointHook
from mmtlalign.engine.continue_hook import ContinueHook
from mmtlalign.engine.exact_resume import ExactResumeHook
from mmtlalign.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mmtlalign.engine.nan_guard_hook import NanGuardHook
from mmtlalign.engine.optim import FastOptimWrapperConstructor
from mmtlalign.engine.precision import Bf16OptimWrapper
from mmtlalign.engine.runtime_info_hook import LazyRuntimeInfoHook

__all__ = [
    'Bf16OptimWrapper',
    'BroadcastBuffersHook',
    'ContinueHook',
    'ExactResumeHook',
    'FastOptimWrapperConstructor',
    'LayerDecayOptimWrapperConstructor',
    'LazyRuntimeInfoHook',
    'NanGuardHook',
    'WholeCheckpointHook',
]
