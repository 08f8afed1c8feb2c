# Mask R-CNN with FPN on PVT-S (Wang et al. 2021; heads and FPN as there). mmdet
# 3.3.0 has RetinaNet on PVT only.
_base_ = './mask_rcnn_swin_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmtlalign.PVT',
        arch='small',
        # The size of pretraining; position embeddings are resized for every image.
        img_size=224,
        # Only the classifier has the class token and the final norm: they are skipped
        # when its checkpoint is loaded, as in the official code.
        with_cls_token=False,
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)

# Reads the top-level `pretrained`. The classifier has all parameters of this backbone.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
