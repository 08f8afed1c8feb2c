# EsViT (ICLR 2022) with DHVT-S (NeurIPS 2022), a combination that is in neither paper:
# the class token is the view, the other tokens are the regions. DHVT has no position
# embedding. Large and small views have separate batch statistics, as with the backbones
# of the official code.
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
