# Made by tools/configs/generate.py: change its tables, not this file.
# CIFAR-10 at 224 px: fine-tuning with AdamW, from the DeiT-B pretrained with TL-Align
# on ImageNet-1k.
#   bash tools/dist_train.sh configs/transfer/deit-base-p16_tlalign-in1k-pre_adamw-1000e_cifar10-224px.py 8 --amp
#     (8 GPUs of 96 images; with another batch add --auto-scale-lr)
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_deit-base-p16_tlalign-in1k-pre_adamw-1000e_cifar10-224px \
#       --cfg-options pretrained=work_dirs/cutmix_deit-base-p16_8xb128-coslr-300e_in1k/epoch_300.pth
# Expected: no published number that we could confirm.
# Measured: not yet.
# Cost: not measured by us; 65,000 steps.
# Source: DeiT's author (facebookresearch/dino issue 81); see the _base_ files.
# Ours: the choice of initial weights.
_base_ = [
    './_base_/deit_base.py',
    '../_base_/datasets/cifar10_224px_transfer.py',
    '../_base_/schedules/transfer_adamw_1000e.py',
    './_base_/runtime.py',
]

pretrained = 'work_dirs/tlalign_deit-base-p16_8xb128-coslr-300e_in1k/epoch_300.pth'
model = dict(backbone=dict(drop_path_rate=0.1), head=dict(num_classes=10))
