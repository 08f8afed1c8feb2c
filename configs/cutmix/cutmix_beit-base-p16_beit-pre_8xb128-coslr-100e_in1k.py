# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: BEiT-B, pretrained by masked image modelling, fine-tuned
# with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/cutmix/cutmix_beit-base-p16_beit-pre_8xb128-coslr-100e_in1k.py 8 --amp
#   ... --cfg-options model.backbone.init_cfg.checkpoint=FILE.pth    other weights
#   ... --cfg-options model.backbone.init_cfg=None    random weights
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control.
_base_ = '../tlalign/tlalign_beit-base-p16_beit-pre_8xb128-coslr-100e_in1k.py'

model = dict(
    head=dict(type='LinearClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
