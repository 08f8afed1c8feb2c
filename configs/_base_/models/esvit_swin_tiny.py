# EsViT (ICLR 2022) with Swin-T, window 7, view and region loss.
#
# The backbone is mmpretrain's, with the geometry of the official code: window sizes are
# determined at 224 pixels and kept for smaller views, which are padded; the last stage
# is one window there and is never shifted; every LayerNorm has eps 1e-6.
eps = dict(norm_cfg=dict(type='LN', eps=1e-6))
stage = dict(block_cfgs=eps, downsample_cfg=eps)
last_stage = dict(block_cfgs=dict(shift=False, **eps))
head = dict(type='mmtlalign.EsViTHead', in_channels=768)
model = dict(
    type='mmtlalign.EsViT',
    backbone=dict(
        type='SwinTransformer',
        arch='tiny',
        img_size=224,
        window_size=7,
        drop_path_rate=0.1,  # of the student; the teacher has none
        pad_small_map=True,
        norm_cfg=eps['norm_cfg'],
        patch_cfg=eps,
        stage_cfgs=[stage, stage, stage, last_stage],
    ),
    head=head,
    region_head=head,
    weighting='code',
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
)
