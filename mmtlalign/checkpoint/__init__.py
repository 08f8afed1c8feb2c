"""Read, load, export and convert checkpoints."""

from mmtlalign.checkpoint.hook import PretrainedBackboneHook

__all__ = ['PretrainedBackboneHook']
