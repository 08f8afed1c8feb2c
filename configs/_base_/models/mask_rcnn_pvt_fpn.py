# Mask R-CNN with FPN on PVT-S (Wang et al. 2021; heads and FPN as there). mmdet
# 3.3.0 has RetinaNet on PVT only.
_base_ = './mask_rcnn_swin_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmtlalign.PVT',
        arch='small',
        # The size of pretraining; positions are resized to every picture.
        img_size=224,
        # The class token and the final norm are the classifier's alone: they are
        # left out when its checkpoint is loaded, as in the official code.
        with_cls_token=False,
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)

# Reads the top-level `pretrained`. All that is left was in the classifier.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
