# BEiT-B, pretrained by masked image modelling, fine-tuned with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/tlalign/tlalign_beit-base-p16_beit-pre_8xb128-coslr-100e_in1k.py 8 --amp
#   ... --cfg-options model.backbone.init_cfg.checkpoint=FILE.pth    other weights
#   ... --cfg-options model.backbone.init_cfg=None    random weights
# Expected: no published number; without TL-Align 83.1 (mmpretrain).
# Measured: not yet.
# Cost: not measured by us.
# Source: mmpretrain 1.2.0, beit/benchmarks/beit-base-p16_8xb128-coslr-100e_in1k.py.
# Ours: the use of this recipe for TL-Align, with CutMix in every batch and Mixup off,
# as for DeiT.
_base_ = [
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/beit_100e.py',
    '../_base_/runtime_cls.py',
]

data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='BEiTViT',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        out_type='avg_featmap',
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        # mmpretrain loads the file itself, since the layers in it share one position
        # table.
        init_cfg=dict(
            type='Pretrained',
            # A file of mmpretrain's model zoo: address and checksum in docs/addresses.md.
            checkpoint='data/weights/beit_vit-base-p16_8xb256-amp-coslr-300e_in1k_20221128-ab79e626.pth',
            prefix='backbone.',
        ),
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
