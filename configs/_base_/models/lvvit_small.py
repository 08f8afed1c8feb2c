# LV-ViT-S (NeurIPS 2021) with token labels and MixToken; the other sizes change arch,
# in_channels and drop_path_rate; other networks change the backbone.
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='mmtlalign.LVViT',
        arch='small',
        img_size=224,
        patch_size=16,
        out_type='raw',  # all tokens
        drop_path_rate=0.1,
    ),
    head=dict(
        type='mmtlalign.TokenLabelClsHead',
        num_classes=1000,
        in_channels=384,
        # 'code' is 1.0, the value that the released weights were trained with;
        # dense_weight='paper' is 0.5, the paper's beta.
        loss=dict(type='mmtlalign.TokenLabelLoss', dense_weight='code', cls_weight=1.0),
        class_target='map',
        label_smooth_val=0.1,
    ),
    # Every batch is mixed, as in the released code.
    train_cfg=dict(
        augments=[dict(type='mmtlalign.MixToken', alpha=1.0, patch_size=16)],
        probs=None,
    ),
)
