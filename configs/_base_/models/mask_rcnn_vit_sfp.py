# Mask R-CNN on a plain DeiT-S with a simple feature pyramid: ViTDet (Li et al. 2022,
# arXiv 2203.16527; detectron2, common/models/mask_rcnn_vitdet). There is one more RPN
# convolution than usual, four convolutions before the one linear layer of the box head,
# and LayerNorm in all heads.
# Ours: no relative positions in attention, since classifiers are not trained with them.
_base_ = './mask_rcnn_swin_fpn.py'

norm = dict(type='mmpretrain.LN2d', eps=1e-6)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmtlalign.WindowedViT',
        arch='deit-small',
        # The size of pretraining; position embeddings are resized for every image.
        img_size=224,
        patch_size=16,
        window_size=14,
        global_layers=(2, 5, 8, 11),
        # LayerNorm's eps stays 1e-6, as in DeiT.
        drop_path_rate=0.1,
        # True saves memory but takes a third more time.
        with_cp=False,
        # Only for runs from random weights; the same as in mmpretrain's classifiers.
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
    roi_head=dict(
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm
        ),
        mask_head=dict(norm_cfg=norm),
    ),
)

# Reads the top-level `pretrained`. All of a classifier's ViT is used except the class
# token.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
