# TransMix by the attention of its own averaged weights: DeiT-S on ImageNet-1k, from
# scratch.
#   bash tools/dist_train.sh configs/transmix/transmix-ema_deit-small-p16_8xb32-coslr-310e_in1k.py 8
# Expected: in no paper.
# Measured: no.
# Cost: not measured by us; one more forward pass a batch.
# Source: the base config, which is the control.
# Ours: all of it.
_base_ = './transmix_deit-small-p16_8xb32-coslr-310e_in1k.py'

model = dict(
    head=dict(teacher=dict(type='mmtlalign.EMAAttention', attention='cls')),
)
custom_hooks = [*_base_.custom_hooks, dict(type='mmtlalign.EMAGuideHook')]
