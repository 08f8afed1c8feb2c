"""What drives a run: hooks, the console, reading of checkpoints."""

from mmtlalign.engine.pretrained_backbone import PretrainedBackboneHook

__all__ = ['PretrainedBackboneHook']
