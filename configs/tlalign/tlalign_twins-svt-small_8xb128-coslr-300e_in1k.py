# Twins-SVT-S with TL-Align on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/tlalign/tlalign_twins-svt-small_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no paper trains it so (plain: 81.7, the authors' repository).
# Measured: no.
# Cost: not measured by us.
# Source: official script (Meituan-AutoML/Twins), which is DeiT's but for the clipping,
# the sampling and the position encoding, which does not decay.
# Ours: that TL-Align runs with it, CutMix mixing every batch and Mixup off as for DeiT;
# see also the _base_ files.
_base_ = [
    '../_base_/models/twins_pcpvt_small.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/deit_300e.py',
    '../_base_/runtime_cls.py',
]

model = dict(backbone=dict(type='SVT'))
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'.position_encodings': dict(decay_mult=0.0)}),
    clip_grad=dict(max_norm=5.0),
)
