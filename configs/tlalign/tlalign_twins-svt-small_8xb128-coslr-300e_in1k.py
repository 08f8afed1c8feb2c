# Twins-SVT-S with TL-Align on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/tlalign/tlalign_twins-svt-small_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number; without TL-Align 81.7 (the authors' repository).
# Measured: not yet.
# Cost: not measured by us.
# Source: official script (Meituan-AutoML/Twins). It is DeiT's, except for gradient
# clipping, sampling, and the position encoding, which has no weight decay.
# Ours: the use of this recipe for TL-Align, with CutMix in every batch and Mixup off,
# as for DeiT; see also the _base_ files.
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
