# A fine-tuning run of 1000 short epochs: a checkpoint every tenth epoch, a log record
# in every epoch.
_base_ = '../../_base_/runtime_cls.py'

default_hooks = dict(
    # An epoch of Flowers-102 has only two steps.
    logger=dict(interval=50, ignore_last=False),
    checkpoint=dict(interval=10),
)

# Reads the top-level `pretrained`; the head is new.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
