# Cascade Mask R-CNN on DHVT-S. Ours: DHVT's paper has no dense task; the heads are
# those of Swin-T. Four feature maps of one size are resampled to strides 4, 8, 16 and
# 32, as mmseg does for BEiT, and passed to the FPN. mmdet 3.3.0 has no such neck.
_base_ = './cascade_mask_rcnn_swin_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmtlalign.DHVT',
        arch='small-imagenet',
        patch_size=16,
        out_type='featmap',
        # The last of the four maps passes the final norm; the others do not.
        out_indices=(2, 5, 8, 11),
        drop_path_rate=0.1,
        # Ours: batch norm is across GPUs in the feed-forward as well, since two images
        # per GPU are few.
        patch_norm_cfg=dict(type='SyncBN'),
        ffn_norm_cfg=dict(type='SyncBN'),
    ),
    # The necks of the list run one after the other.
    neck=[
        dict(type='mmseg.Feature2Pyramid', embed_dim=384, rescales=[4, 2, 1, 0.5]),
        dict(
            type='FPN',
            in_channels=[384, 384, 384, 384],
            out_channels=256,
            num_outs=5,
        ),
    ],
)

# Reads the top-level `pretrained`. A classifier's DHVT has all parameters of this
# backbone.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
