# EsViT (ICLR 2022) with DHVT-S (NeurIPS 2022), which is in neither paper: the class
# token is the view, the other tokens are the regions. It has no position embedding.
# Batch norm sees large and small views apart, as the official code's backbones do.
head = dict(type='mmtlalign.EsViTHead', in_channels=384)
model = dict(
    type='mmtlalign.EsViT',
    backbone=dict(
        type='mmtlalign.DHVT',
        arch='small-imagenet',
        patch_size=16,
        drop_path_rate=0.1,  # of the student; the teacher has none
        patch_norm_cfg=dict(type='SyncBN'),
        out_type='raw',
    ),
    head=head,
    region_head=head,
    weighting='code',
)
