# ResNet-50 with ReLabel and CutMix on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/relabel/relabel-cutmix_resnet50_8xb128-coslr-300e_in1k.py 8 --amp
# Label maps: as for the base config.
# Expected: top-1 80.2 (CutMix alone: no number that we could confirm), from the
# authors' README, with label maps of their annotator.
# Measured: not yet.
# Cost: not measured by us.
# Source: the released config of this network with CutMix (naver-ai/relabel_imagenet):
# AdamP, every batch mixed except in the last five epochs.
# Ours: the same as in the base config, and timm's AdamP.
_base_ = './relabel_resnet50_8xb128-coslr-300e_in1k.py'

model = dict(train_cfg=dict(augments=[dict(type='CutMix', alpha=1.0)]))
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True,
        type='timm.optim.AdamP',
        lr=2e-3,
        betas=(0.9, 0.999),
        weight_decay=1e-2,
        nesterov=True,
    )
)
# No mixing from epoch 296 on, counted from 1.
custom_hooks = [
    dict(
        type='SwitchRecipeHook',
        schedule=[dict(action_epoch=296, batch_augments=None)],
    )
]
