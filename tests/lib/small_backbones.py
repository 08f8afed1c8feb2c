"""Backbones of a few thousand parameters, and checkpoints of them."""

import torch
from mmpretrain.models import SwinTransformer, VisionTransformer

SWIN = dict(embed_dims=16, depths=[2, 2], num_heads=[2, 4])
VIT = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)


def swin(dense=False, **options):
    usual = dict(arch=SWIN, img_size=56, window_size=7, out_indices=(1,))
    if dense:
        usual.update(out_indices=(0, 1), pad_small_map=True)
    return SwinTransformer(**dict(usual, **options))


def vit(img_size=32, arch=None, **kwargs):
    return VisionTransformer(
        arch=arch or VIT, img_size=img_size, patch_size=8, out_type='featmap', **kwargs
    )


def randomise(module):
    """Give every parameter, norms included, a value of its own."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def save(backbone, path, prefix='backbone.', **others):
    tensors = {prefix + k: v for k, v in backbone.state_dict().items()}
    tensors.update({'head.fc.weight': torch.zeros(3, 3)} if prefix else {})
    torch.save(dict(state_dict=tensors, **others), path)
    return str(path)


def assert_same(target, source):
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name
