"""Small classifiers with token labels: three backbones that output all tokens."""

import torch
from mmengine.registry import MODELS, init_default_scope

B, K, GRID, SMOOTHING = 4, 30, (4, 6), 0.1
N = GRID[0] * GRID[1]
ARCH = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)
LVVIT = dict(
    type='mmtlalign.LVViT',
    arch=dict(ARCH, skip_lam=2, stem_channels=8),
    img_size=(32, 48),
    patch_size=8,
    out_type='raw',
)
BACKBONES = {
    'ViT': dict(LVVIT, type='VisionTransformer', arch=ARCH),
    'DHVT': dict(type='mmtlalign.DHVT', arch=ARCH, patch_size=4, out_type='raw'),
    'LVViT': LVVIT,
}


def build(backbone, augment='MixToken', classifier='mmtlalign.MixClassifier', **head):
    """A model in training whose attention is far from uniform, and its images."""
    init_default_scope('mmpretrain')
    torch.manual_seed(3)
    options = {}
    patch = BACKBONES[backbone]['patch_size']
    if augment:
        augment = dict(type=f'mmtlalign.{augment}', patch_size=patch)
        options['train_cfg'] = dict(augments=augment)
    head = dict(
        dict(num_classes=K, in_channels=16, label_smooth_val=SMOOTHING),
        **dict(dict(type='mmtlalign.TLAlignTokenLabelClsHead'), **head),
    )
    model = MODELS.build(
        dict(type=classifier, backbone=BACKBONES[backbone], head=head, **options)
    )
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15 if 'patch' in name else 0.4)
    return model.train(), torch.randn(B, 3, *(patch * side for side in GRID))
