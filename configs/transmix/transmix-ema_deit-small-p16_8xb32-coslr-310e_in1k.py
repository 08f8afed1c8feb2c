# TransMix with the attention of its own averaged weights: DeiT-S on ImageNet-1k, from
# scratch.
#   bash tools/dist_train.sh configs/transmix/transmix-ema_deit-small-p16_8xb32-coslr-310e_in1k.py 8
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us; each batch needs one more forward pass.
# Source: the base config, which is the control.
# Ours: the whole method.
_base_ = './transmix_deit-small-p16_8xb32-coslr-310e_in1k.py'

model = dict(
    head=dict(teacher=dict(type='mmtlalign.EMAAttention', attention='cls')),
)
custom_hooks = [*_base_.custom_hooks, dict(type='mmtlalign.EMAGuideHook')]
