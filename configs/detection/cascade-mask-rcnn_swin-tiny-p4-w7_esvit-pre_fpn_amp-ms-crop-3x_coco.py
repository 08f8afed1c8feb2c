# COCO 2017 detection and instance segmentation: Cascade Mask R-CNN, 36 epochs (3x), on
# the Swin-T backbone pretrained with EsViT on ImageNet-1k, without labels: the teacher
# of that run.
#   bash tools/dist_train.sh configs/detection/cascade-mask-rcnn_swin-tiny-p4-w7_esvit-pre_fpn_amp-ms-crop-3x_coco.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
#   ... --cfg-options custom_hooks.0.weights=student    the student instead of the teacher
#   ... --cfg-options optim_wrapper.type=OptimWrapper    without a GPU
# The matched control, with the view loss alone, which differs only in these weights:
#   ... --work-dir work_dirs/control_cascade-mask-rcnn_swin-tiny-p4-w7_esvit-pre_fpn_amp-ms-crop-3x_coco \
#       --cfg-options pretrained=work_dirs/dino_swin-tiny-p4-w7_16xb32-coslr-300e_in1k/epoch_300.pth
# Expected: official numbers for the same recipe from supervised ImageNet-1k weights:
# box AP 50.4, mask AP 43.7. According to a summary of EsViT's paper, its Swin-T with 3x
# is about equal to supervised weights; we know neither its table nor the detector.
# Measured: not yet.
# Cost: not measured by us.
# Source: official Swin detection code (Liu et al. 2021); see the _base_ files.
# Ours: the eps of pretraining. The windows of the last stage are shifted, as in that
# code, since its map is larger than a window here.
_base_ = [
    '../_base_/models/cascade_mask_rcnn_swin_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/cascade_3x.py',
    '../_base_/runtime_det.py',
]

pretrained = 'work_dirs/esvit_swin-tiny-p4-w7_16xb32-coslr-300e_in1k/epoch_300.pth'
eps = dict(norm_cfg=dict(type='LN', eps=1e-6))
model = dict(
    backbone=dict(
        **eps, patch_cfg=eps, stage_cfgs=dict(block_cfgs=eps, downsample_cfg=eps)
    )
)
