"""What drives a run: hooks, the console, reading of checkpoints."""

from mmtlalign.engine.channels_last_hook import ChannelsLastHook
from mmtlalign.engine.continue_hook import ContinueHook
from mmtlalign.engine.cpu import Bf16OptimWrapper
from mmtlalign.engine.esvit_hook import EsViTHook
from mmtlalign.engine.fast_attention_hook import FastAttentionHook
from mmtlalign.engine.fast_optim import FastOptimWrapperConstructor
from mmtlalign.engine.knn_hook import KNNHook
from mmtlalign.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mmtlalign.engine.lazy_log import LazyRuntimeInfoHook
from mmtlalign.engine.linear_probe_optim import LinearProbeOptimWrapperConstructor
from mmtlalign.engine.nan_guard import NanGuardHook
from mmtlalign.engine.pretrained_backbone import PretrainedBackboneHook
from mmtlalign.engine.tensor_clip import TensorClipHook

__all__ = [
    'Bf16OptimWrapper',
    'ChannelsLastHook',
    'ContinueHook',
    'EsViTHook',
    'FastAttentionHook',
    'FastOptimWrapperConstructor',
    'KNNHook',
    'LayerDecayOptimWrapperConstructor',
    'LazyRuntimeInfoHook',
    'LinearProbeOptimWrapperConstructor',
    'NanGuardHook',
    'PretrainedBackboneHook',
    'TensorClipHook',
]
