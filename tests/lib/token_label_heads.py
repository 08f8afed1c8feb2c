"""A head of Token Labeling, a model with it, features and samples."""

import torch
from label_samples import label_samples
from mmengine.registry import MODELS
from small_backbones import VIT, randomise

from mmtlalign.methods.token_labeling.head import TokenLabelClsHead

B, K, GRID = 4, 12, (3, 5)
SIZE = (24, 40)  # pixels, patches of 8
N = GRID[0] * GRID[1]


def head_of(loss=None, **options):
    loss = dict(dict(type='mmtlalign.TokenLabelLoss'), **(loss or {}))
    return randomise(TokenLabelClsHead(K, VIT['embed_dims'], loss=loss, **options))


def model_of(classifier='mmtlalign.MixClassifier', backbone=None, head=None, **options):
    backbone = dict(
        dict(type='VisionTransformer', arch=VIT, img_size=SIZE, patch_size=8),
        **(backbone or dict(out_type='raw')),
    )
    head = dict(
        dict(type='mmtlalign.TokenLabelClsHead', num_classes=K, in_channels=16),
        **(head or {}),
    )
    model = MODELS.build(dict(type=classifier, backbone=backbone, head=head, **options))
    return randomise(model)


def features():
    return (torch.randn(B, 1 + N, VIT['embed_dims']),)


def samples_of(topk=None, grid=GRID, classes=K, scores=False, **options):
    named = torch.arange(classes)
    return label_samples(B, K, grid, topk, named=named, scores=scores, **options)


def hard_labels():
    return torch.eye(K).double()[:B]


def train_cfg(kind, **options):
    return dict(augments=dict(type=f'mmtlalign.{kind}', **options))
