# CASwin-B, Swin with class attention, on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/caswin/caswin-base-p4-w7_16xb64-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=128
#     (mmpretrain's 16 GPUs of 64; a batch of 1024 as in Swin's paper)
# Expected: no number from the authors.
# Measured: not yet.
# Cost: not measured by us.
# Source: Swin's own recipe (ICCV 2021, §A2.1), Mixup and CutMix in half of the batches
# each.
# Ours: the use of this recipe for this network; the TransMix paper describes neither
# its settings nor its network completely.
_base_ = [
    '../_base_/models/caswin_tiny.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/swin_300e.py',
    '../_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.5), head=dict(in_channels=1024)
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'.cls_token': dict(decay_mult=0.0)})
)
