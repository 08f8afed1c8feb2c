# Made by tools/configs/generate.py: change its tables, not this file.
# CIFAR-100 at 224 px: fine-tuning with SGD, from the DeiT-S pretrained with TL-Align on
# ImageNet-1k.
#   bash tools/dist_train.sh configs/transfer/deit-small-p16_tlalign-in1k-pre_sgd-1000e_cifar100-224px.py 8 --amp
#     (8 GPUs of 96 images; with another batch add --auto-scale-lr)
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_deit-small-p16_tlalign-in1k-pre_sgd-1000e_cifar100-224px \
#       --cfg-options pretrained=work_dirs/cutmix_deit-small-p16_8xb128-coslr-300e_in1k/epoch_300.pth
# Expected: no published number that we could confirm.
# Measured: not yet.
# Cost: not measured by us; 65,000 steps.
# Source: DeiT's author (facebookresearch/deit issue 45); see the _base_ files. Not
# confirmed for CIFAR-100: these are the values for CIFAR-10 and Cars.
# Ours: the choice of initial weights.
_base_ = [
    './_base_/deit_small.py',
    '../_base_/datasets/cifar100_224px_transfer.py',
    '../_base_/schedules/transfer_sgd_1000e.py',
    './_base_/runtime.py',
]

pretrained = 'work_dirs/tlalign_deit-small-p16_8xb128-coslr-300e_in1k/epoch_300.pth'
model = dict(backbone=dict(drop_path_rate=0.0), head=dict(num_classes=100))
