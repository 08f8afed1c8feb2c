"""LV-ViT: mmpretrain's attention behind a stem, in layers of weaker branches."""

from .row import Row

LVVIT = dict(
    type='mmtlalign.LVViT',
    arch=dict(
        embed_dims=32,
        num_layers=3,
        num_heads=4,
        feedforward_channels=48,
        skip_lam=2,
        stem_channels=8,
    ),
    img_size=32,
    patch_size=8,
)

ROWS = {
    'LV-ViT': Row(LVVIT, (32, 32), 8, 'class'),
    'LV-ViT, any size': Row(LVVIT, (36, 52), 8, 'class'),
    'LV-ViT, non-square': Row(LVVIT, (32, 48), 8, 'class', same_graph=True),
    'LV-ViT, attention dropout': Row(
        dict(LVVIT, attn_drop_rate=0.3), (32, 32), 8, 'class', same_graph=True
    ),
}
# Its attention is that of `mmpretrain_vit.py`.
HOOKS = {}
