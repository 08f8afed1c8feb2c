# A fine-tuning run of 1000 short epochs: saved every tenth, logged in each of them.
_base_ = '../../_base_/runtime_cls.py'

default_hooks = dict(
    # An epoch of Flowers-102 has two steps.
    logger=dict(interval=50, ignore_last=False),
    checkpoint=dict(interval=10),
)

# Reads the top-level `pretrained`; the head is new.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
