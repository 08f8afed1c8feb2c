# EsViT (ICLR 2022) with ResNet-50, from the paper's ablation: the positions of the last
# map are the regions, its mean is the view. Batch norm across GPUs, as in the official
# code.
head = dict(type='mmtlalign.EsViTHead', in_channels=2048)
model = dict(
    type='mmtlalign.EsViT',
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(3,),
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        norm_eval=False,
    ),
    head=head,
    region_head=head,
    weighting='code',
)
