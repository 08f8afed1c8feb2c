# Cascade Mask R-CNN as for COCO, but with fewer channels and proposals, and one class.
_base_ = '../../_base_/models/cascade_mask_rcnn_swin_fpn.py'

width = 48
box_heads = _base_.model.roi_head.bbox_head
for head in box_heads:
    head.update(
        num_shared_convs=1,
        in_channels=width,
        conv_out_channels=width,
        fc_out_channels=128,
        num_classes=1,
    )
samplers = _base_.model.train_cfg.rcnn
for stage in samplers:
    stage.sampler.update(num=32)

model = dict(
    neck=dict(out_channels=width),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head=box_heads,
        mask_roi_extractor=dict(out_channels=width),
        mask_head=dict(
            num_convs=1, in_channels=width, conv_out_channels=width, num_classes=1
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=64),
        rcnn=samplers,
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=50),
        rcnn=dict(max_per_img=20),
    ),
)
