# Made by tools/configs/generate.py: change its tables, not this file.
# CIFAR-10 at 224 px: fine-tuning with AdamW, without label maps, from the LV-ViT-S
# pretrained with token labels on ImageNet-1k.
#   bash tools/dist_train.sh configs/transfer/lvvit-small-p16_token-label-in1k-pre_adamw-1000e_cifar10-224px.py 8 --amp
#     (8 GPUs of 96 images; with another batch add --auto-scale-lr)
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_lvvit-small-p16_token-label-in1k-pre_adamw-1000e_cifar10-224px \
#       --cfg-options pretrained=work_dirs/mixtoken_lvvit-small-p16_8xb128-coslr-310e_in1k/epoch_310.pth
# Expected: no published number that we could confirm.
# Measured: not yet.
# Cost: not measured by us; 65,000 steps.
# Source: DeiT's author (facebookresearch/dino issue 81); see the _base_ files.
# Ours: the use of this recipe for LV-ViT-S, and the choice of initial weights.
_base_ = [
    './_base_/lvvit_small.py',
    '../_base_/datasets/cifar10_224px_transfer.py',
    '../_base_/schedules/transfer_adamw_1000e.py',
    './_base_/runtime.py',
]

pretrained = (
    'work_dirs/token-label_lvvit-small-p16_8xb128-coslr-310e_in1k/epoch_310.pth'
)
model = dict(backbone=dict(drop_path_rate=0.1), head=dict(num_classes=10))
