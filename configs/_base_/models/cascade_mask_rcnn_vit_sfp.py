# Cascade Mask R-CNN on a plain DeiT-S with a simple feature pyramid: ViTDet (Li et al.
# 2022; detectron2, cascade_mask_rcnn_vitdet_b_100ep): backbone, pyramid and norms as in
# mask_rcnn_vit_sfp.py.
# Ours: the losses of the boxes are those of Swin's cascade (GIoU), and there are no
# relative positions in attention.
_base_ = './cascade_mask_rcnn_swin_fpn.py'

norm = dict(type='mmpretrain.LN2d', eps=1e-6)
box_heads = _base_.model.roi_head.bbox_head
for head in box_heads:
    head.norm_cfg = norm
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmtlalign.WindowedViT',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        window_size=14,
        global_layers=(2, 5, 8, 11),
        drop_path_rate=0.1,
        with_cp=False,
        init_cfg=[
            dict(type='TruncNormal', layer='Linear', std=0.02),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ],
    ),
    neck=dict(
        _delete_=True,
        type='mmtlalign.SimpleFeaturePyramid',
        in_channels=384,
        out_channels=256,
    ),
    rpn_head=dict(num_convs=2),
    roi_head=dict(bbox_head=box_heads, mask_head=dict(norm_cfg=norm)),
    # As in detectron2. With 0, the value of the cascade, a jittered image that is
    # smaller than every anchor would stop the run.
    train_cfg=dict(rpn=dict(allowed_border=-1)),
)

# Reads the top-level `pretrained`. All of a classifier's ViT is used except the class
# token.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
