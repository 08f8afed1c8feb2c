"""Variants of a training step to compare: classifiers of mmpretrain and of timm.

All mix every batch by CutMix with alpha 1, with a box in pixels.
"""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from mmengine.registry import MODELS
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

import mmtlalign.backbones  # noqa: F401  (registers our own)
from mmtlalign.methods.mixer import BatchMixer
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.tracing.support import backbone_spec
from tools.benchmarks.reference.tl_align import ReferenceTLAlign
from tools.benchmarks.step.models import DROP_PATH, Network

CLASSES = 1000
# Ratios are taken to the faster of these two.
PLAIN = ('mmpretrain', 'timm')
OURS = ('control', 'transmix', 'tlalign', 'ema')
VARIANTS = {
    'mmpretrain': 'CutMix, mmpretrain',
    'timm': 'CutMix, timm',
    'control': 'CutMix, mmtlalign',
    'transmix': 'TransMix',
    'tlalign': 'TL-Align',
    'dense': 'TL-Align, dense',
    'ema': 'TL-Align, EMA',
}


def variants_of(network: Network) -> list[str]:
    """Return the names of the variants that a network has."""
    lacks = {'timm': network.timm is None, 'dense': not network.has_reference}
    return [name for name in VARIANTS if not lacks.get(name)]


class ReferenceClassifier(ImageClassifier):
    """Classifier of mmpretrain that learns the target of ``ReferenceTLAlign``.

    Its preprocessor makes the labels one-hot.

    Args:
        *args: Arguments of mmpretrain's ``ImageClassifier``.
        **kwargs: Arguments of mmpretrain's ``ImageClassifier``.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.mixer = BatchMixer([CutMix()])
        self.reference = ReferenceTLAlign(self.backbone)

    def loss(
        self, inputs: Tensor, data_samples: Sequence[DataSample]
    ) -> dict[str, Tensor]:
        """Return the loss of images (B, 3, H, W) and B samples with ``gt_score``."""
        labels = torch.stack([sample.gt_score for sample in data_samples])
        mix = self.mixer(inputs, labels.float())
        with self.reference.trace(mix) as traced:
            scores = self.head(self.extract_feat(mix.images))
        target = traced.target()
        return dict(loss=self.head.loss_module(scores, target, avg_factor=len(target)))


def build(network: Network, variant: str, size: int) -> nn.Module:
    """Build a classifier as mmpretrain does, for images of ``size`` pixels."""
    maps, output = _output(network)
    augment = dict(type='mmtlalign.CutMix')
    head = dict(type='LinearClsHead', num_classes=CLASSES, in_channels=maps.shape[1])
    config = dict(
        type='mmtlalign.MixClassifier',
        backbone=network.config(size),
        head=head,
        train_cfg=dict(augments=[augment]),
    )
    if maps.ndim == 4:
        config['neck'] = dict(type='mmtlalign.GlobalAveragePooling')
    if variant == 'transmix':
        attention = 'received' if output == 'mean' else 'cls'
        head.update(type='mmtlalign.TransMixLinearClsHead', attention=attention)
    elif variant in ('tlalign', 'ema'):
        head.update(type='mmtlalign.TLAlignLinearClsHead')
    elif variant in ('mmpretrain', 'dense'):
        stock = dict(type='mmpretrain.CutMix', alpha=1.0)
        config.update(
            type='ImageClassifier' if variant == 'mmpretrain' else ReferenceClassifier,
            train_cfg=dict(augments=stock) if variant == 'mmpretrain' else None,
            data_preprocessor=dict(
                type='ClsDataPreprocessor', num_classes=CLASSES, to_onehot=True
            ),
        )
    torch.manual_seed(0)
    model = MODELS.build(config)
    for module in model.modules():
        if hasattr(module, 'drop_prob'):
            # mmpretrain leaves NumPy floats here, which torch.compile rejects.
            module.drop_prob = float(module.drop_prob)
    model.train()  # returns nothing in some hosts
    return model


def build_timm(network: Network, size: int) -> nn.Module:
    """Build the same network in timm."""
    torch.manual_seed(0)
    return timm.create_model(
        network.timm, num_classes=CLASSES, drop_path_rate=DROP_PATH, img_size=size
    ).train()


def _output(network: Network) -> tuple[Tensor, str]:
    """Return the last feature of an image, (1, C) or (1, C, h, w), and its kind."""
    probe = MODELS.build(network.config(network.size))
    probe.eval()
    with torch.no_grad():
        last = probe(torch.zeros(1, 3, network.size, network.size))[-1]
    return last, backbone_spec(probe).output(probe)
