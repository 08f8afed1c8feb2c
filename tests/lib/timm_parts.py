"""Small timm backbones."""

import copy

import numpy as np
import timm
import torch
from contract_rows.timm import pvt, swin, vit
from mmengine.registry import MODELS

from mmtlalign.mixing.cutmix import CutMix

VIT, DEIT = 'vit_tiny_patch16_224', 'deit_tiny_distilled_patch16_224'
SWIN, SWINV2 = 'swin_tiny_patch4_window7_224', 'swinv2_tiny_window8_256'
SMALL = {
    'vit': vit(VIT),
    'mean': vit(VIT, global_pool='avg', reg_tokens=2),
    'distilled': vit(DEIT),
    'swin': swin(SWIN),
    'swinv2': swin(SWINV2),
    'pvt': pvt('pvt_v2_b0'),
}


def build(config, **options):
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy({**config, **options}))


def mixed(size=(32, 32), batch=2):
    torch.manual_seed(1)
    np.random.seed(3)
    return CutMix(pairing='flip').mix(torch.randn(batch, 3, *size), torch.eye(batch))


def bare(config, **options):
    """The timm model alone."""
    names = {k: v for k, v in config.items() if k != 'type'}
    torch.manual_seed(0)
    return timm.create_model(**{**names, **options})
