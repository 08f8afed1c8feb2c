# EsViT (ICLR 2022) with DeiT-S: the class token is the view, the other tokens are the
# regions. The position embedding is resized for small views, as in DINO.
head = dict(type='mmtlalign.EsViTHead', in_channels=384)
model = dict(
    type='mmtlalign.EsViT',
    backbone=dict(
        type='VisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,  # of the student; the teacher has none
        out_type='raw',
    ),
    head=head,
    region_head=head,
    weighting='code',
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
)
