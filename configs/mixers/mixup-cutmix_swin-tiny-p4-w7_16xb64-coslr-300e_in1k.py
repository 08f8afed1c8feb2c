# Control of SMMix, the mixing of Swin: Swin-T on ImageNet-1k with Mixup and CutMix,
# from scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix_swin-tiny-p4-w7_16xb64-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=128
# Expected: top-1 81.2 for plain Swin-T with its own recipe (ICCV 2021).
# Measured: not yet.
# Cost: not measured by us.
# Source: this project's recipe of Swin-T, with Mixup 0.8 and CutMix 1.0 in half of the
# batches each.
# Ours: the matched control.
_base_ = [
    '../_base_/models/swin_tiny.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/swin_300e.py',
    '../_base_/runtime_cls.py',
]

train_dataloader = dict(batch_size=64)
model = dict(
    head=dict(type='LinearClsHead'),
    train_cfg=dict(
        _delete_=True,
        augments=[
            dict(type='mmtlalign.CutMix', alpha=1.0),
            dict(type='mmtlalign.Mixup', alpha=0.8),
        ],
        probs=[0.5, 0.5],
    ),
)
