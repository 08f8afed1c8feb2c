# Control, the mixing of DeiT: DeiT-S, patches of 16, on ImageNet-1k with Mixup and
# CutMix, from scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: top-1 79.8 for plain DeiT-S with its own recipe (ICML 2021).
# Measured: not yet.
# Cost: not measured by us.
# Source: the schedule of the official MixPro configs; Mixup 0.8 and CutMix 1.0 in half
# of the batches each, as in DeiT.
# Ours: the matched control of MixPro: only the mixing and its labels differ.
_base_ = [
    '../_base_/models/deit_small.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/mixpro_300e.py',
    '../_base_/runtime_cls.py',
]

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(
        _delete_=True,
        augments=[
            dict(type='mmtlalign.CutMix', alpha=1.0),
            dict(type='mmtlalign.Mixup', alpha=0.8),
        ],
        probs=[0.5, 0.5],
    ),
)
