"""PVTs for tests: small ones, and published stages with fewer layers."""

import pytest
from contract_rows.pvt import TINY
from torch import nn

from mmtlalign.backbones.pvt import PVT
from mmtlalign.checkpoint.convert import convert

ARCH = TINY['arch']
LAYERS = (1, 1, 1, 2)
WIDE = dict(PVT.arch_zoo['tiny'], num_layers=LAYERS)


def small(**options):
    return PVT(**dict(dict(arch=ARCH, img_size=32), **options)).eval()


def dense(**options):
    return small(**dict(dict(out_type='featmap', out_indices=(0, 1, 2)), **options))


def wide(**options):
    """Build stages as published, fewer layers, weights far from their start."""
    net = PVT(**dict(dict(arch=WIDE, img_size=64), **options)).eval()
    for name, parameter in net.named_parameters():
        std = 0.3 if 'pos_embed' in name or 'cls_token' in name else 0.05
        nn.init.normal_(parameter, mean=float(name.endswith('norm.weight')), std=std)
    return net


def official(net):
    ours = {f'backbone.{k}': v for k, v in net.state_dict().items()}
    return convert(ours, 'pvt', reverse=True)


def mmdet_pvt(**options):
    pytest.importorskip('mmdet')
    from mmdet.models.backbones import PyramidVisionTransformer

    usual = dict(pretrain_img_size=64, num_layers=list(LAYERS), drop_path_rate=0.0)
    return PyramidVisionTransformer(**dict(usual, **options)).eval()
