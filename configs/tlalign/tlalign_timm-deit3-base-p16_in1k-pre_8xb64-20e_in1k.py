# DeiT III-B, timm's model and weights, fine-tuned with TL-Align on ImageNet-1k. For any
# other ViT of timm, change the name and the width.
#   bash tools/dist_train.sh configs/tlalign/tlalign_timm-deit3-base-p16_in1k-pre_8xb64-20e_in1k.py 8 --amp
# Expected: no published number; without TL-Align 83.8 (the authors' repository).
# Measured: not yet.
# Cost: not measured by us.
# Source: the authors' command for fine-tuning this size at 224 px
# (facebookresearch/deit, README_revenge.md); its learning rate is also the minimum,
# hence constant after the warm-up.
# Ours: the use of this recipe for TL-Align, the start from weights that were already
# fine-tuned in this way, and the learning rate of the head, which is new. DeiT III from
# scratch gives every class in the image the full label, which leaves nothing to align.
_base_ = [
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/deit_300e.py',
    '../_base_/runtime_cls.py',
]

model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='mmtlalign.TIMMBackbone',
        model_name='deit3_base_patch16_224',
        pretrained=True,  # downloaded once
        drop_path_rate=0.2,
    ),
    head=dict(
        type='mmtlalign.TLAlignLinearClsHead',
        num_classes=1000,
        in_channels=768,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=16)],
        probs=None,
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-5, weight_decay=0.1),
    # timm's own head is not used.
    paramwise_cfg=dict(
        custom_keys={
            'head.fc.weight': dict(lr_mult=100),
            'head.fc.bias': dict(lr_mult=100, decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.1,
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=20)
auto_scale_lr = dict(base_batch_size=512)

# No random erasing.
train_pipeline = [
    step for step in _base_.train_pipeline if step['type'] != 'RandomErasing'
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
