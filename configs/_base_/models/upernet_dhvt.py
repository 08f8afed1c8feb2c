# UPerNet with MultiLevelNeck on DHVT-S. Ours: DHVT's paper has no dense task; the
# neck and heads are those of DeiT-S, whose width and token grid are the same.
_base_ = './upernet_deit.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmtlalign.DHVT',
        arch='small-imagenet',
        patch_size=16,
        out_type='featmap',
        # The last of the four maps passes the final norm, as in DeiT-S.
        out_indices=(2, 5, 8, 11),
        drop_path_rate=0.1,
        # Ours: batch norm is across GPUs in the feed-forward as well, since two images
        # per GPU are few.
        patch_norm_cfg=dict(type='SyncBN'),
        ffn_norm_cfg=dict(type='SyncBN'),
    )
)
