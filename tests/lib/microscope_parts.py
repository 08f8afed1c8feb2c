"""Small classifiers, data and pages for the tests of the label microscope."""

import numpy as np
import torch
from contract_rows import ROWS
from contract_steps import build
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from torch import nn

from mmtlalign.evaluation.microscope import Page, collect_pairs
from mmtlalign.mixing.cutmix import CutMix

CLASSES = 7
NAMES = [f'kind {number}' for number in range(CLASSES)]
# Far from zero and one, and not the same for all channels.
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 70.0]
VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32),
    img_size=32,
    patch_size=8,
)
DISTILLED = dict(VIT, type='DistilledVisionTransformer', img_size=(32, 48))
SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=16, depths=[2, 2, 2], num_heads=[1, 2, 4]),
    img_size=32,
    patch_size=2,
    window_size=4,
    out_indices=(2,),
)
DHVT = dict(
    type='mmtlalign.DHVT',
    arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32),
    patch_size=4,
)


class RowModel(nn.Module):
    """A backbone of the tracing contract with classes, as a classifier is called."""

    def __init__(self, row):
        super().__init__()
        self.backbone, self.head = build(row), None
        self.data_preprocessor = None
        self.weight = torch.randn(CLASSES, 4096)

    def forward(self, images, mode='tensor'):
        out = self.backbone(images)
        last = out[-1] if isinstance(out, (tuple, list)) else out
        last = last[0] if isinstance(last, (tuple, list)) else last
        flat = last.flatten(1)
        return flat[:, :4096] @ self.weight[:, : flat[:, :4096].shape[1]].T


def classifier(backbone=VIT, kind='TLAlign', width=16, augments=None, **head):
    """A MixClassifier whose attention is far from uniform."""
    init_default_scope('mmpretrain')
    torch.manual_seed(7)
    stock = 'VisionTransformerClsHead'
    if backbone['type'] == 'SwinTransformer':
        stock = 'LinearClsHead'
    if backbone['type'].startswith('Distilled'):
        stock = 'DeiTClsHead'
    prefix = f'mmtlalign.{kind}' if kind else ''
    patch = backbone['patch_size']
    model = dict(
        type='mmtlalign.MixClassifier',
        backbone=backbone,
        head=dict(type=prefix + stock, num_classes=CLASSES, in_channels=width, **head),
        train_cfg=dict(
            augments=augments or dict(type='mmtlalign.TokenCutMix', patch_size=patch)
        ),
        data_preprocessor=dict(mean=MEAN, std=STD, to_rgb=True),
    )
    if stock == 'LinearClsHead':
        model['neck'] = dict(type='GlobalAveragePooling')
    built = MODELS.build(model)
    for parameter in built.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    return built.train()


class Pictures:
    """A data set of painted pictures, each with a class; BGR, as hosts read them."""

    metainfo = dict(classes=NAMES)

    def __init__(self, size=(32, 32), count=6, labelled=True):
        draw = np.random.default_rng(0)
        y, x = np.mgrid[: size[0], : size[1]]
        self.pixels = [
            np.stack([
                (128 + 100 * np.sin(x / a + y / b)).astype(np.uint8)
                for a, b in draw.uniform(3, 12, (3, 2))
            ])
            for _ in range(count)
        ]  # fmt: skip
        self.labelled = labelled

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        sample = DataSample(metainfo=dict(img_path=f'folder/{index}.png'))
        if self.labelled:
            sample.set_gt_label(index % CLASSES)
        return dict(inputs=torch.from_numpy(self.pixels[index]), data_samples=sample)


def collate(items):
    return dict(
        inputs=[item['inputs'] for item in items],
        data_samples=[item['data_samples'] for item in items],
    )


def row_pairs(row, batch=4):
    """Model, mix and what is collected of a row of the tracing contract."""
    torch.manual_seed(1)
    np.random.seed(3)
    model = RowModel(row)
    images = torch.rand(batch, 3, *ROWS[row].size) * 255
    mix = CutMix().mix(images, torch.eye(CLASSES)[torch.arange(batch) % CLASSES])
    return model, mix, images, collect_pairs(model, mix, images)


def page(geometry, pairs, names=None, **about):
    return Page(geometry, pairs, names or NAMES, dict(dict(config='a.py'), **about))
