"""The ways of mixing that are compared: classifiers of mmpretrain, and timm's.

All mix every batch by CutMix, a box of pixels drawn with alpha 1.
"""

import timm
import torch
from mmengine.registry import MODELS
from mmpretrain.models import ImageClassifier
from torch import nn

import mmtlalign.backbones  # noqa: F401  (registers our own)
from mmtlalign.methods.classifier import BatchMixer
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.tracing.support import backbone_spec
from tools.benchmarks.reference.tl_align import Textbook
from tools.benchmarks.step.models import DROP_PATH, Network

CLASSES = 1000
# What is timed. The faster of the first two is what ratios are taken to.
PLAIN = ('mmpretrain', 'timm')
OURS = ('control', 'transmix', 'tlalign', 'ema')
VARIANTS = {
    'mmpretrain': 'CutMix, mmpretrain',
    'timm': 'CutMix, timm',
    'control': 'CutMix, mmtlalign',
    'transmix': 'TransMix',
    'tlalign': 'TL-Align',
    'textbook': 'TL-Align, textbook',
    'ema': 'TL-Align, EMA',
}


def variants_of(network: Network) -> list[str]:
    """Names of the variants that a network has."""
    lacks = {'timm': network.timm is None, 'textbook': not network.textbook}
    return [name for name in VARIANTS if not lacks.get(name)]


class TextbookClassifier(ImageClassifier):
    """CutMix and the textbook's target, in mmpretrain's classifier.

    Its preprocessor makes the labels one-hot; arguments as of the classifier.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mixer = BatchMixer([CutMix()])
        self.textbook = Textbook(self.backbone)

    def loss(self, inputs, data_samples):
        """Images (B, 3, H, W) and B samples with ``gt_score`` to the loss."""
        labels = torch.stack([sample.gt_score for sample in data_samples])
        mix = self.mixer(inputs, labels.float())
        with self.textbook.follow(mix) as traced:
            scores = self.head(self.extract_feat(mix.images))
        target = traced.target()
        return dict(loss=self.head.loss_module(scores, target, avg_factor=len(target)))


def build(network: Network, variant: str, size: int) -> nn.Module:
    """A classifier in mmpretrain's way, of images of ``size`` pixels."""
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
        looks = 'columns' if output == 'mean' else 'class'
        head.update(type='mmtlalign.TransMixLinearClsHead', looks=looks)
    elif variant in ('tlalign', 'ema'):
        head.update(type='mmtlalign.TLAlignLinearClsHead')
    elif variant in ('mmpretrain', 'textbook'):
        stock = dict(type='mmpretrain.CutMix', alpha=1.0)
        config.update(
            type='ImageClassifier' if variant == 'mmpretrain' else TextbookClassifier,
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
    """The same network in timm."""
    torch.manual_seed(0)
    return timm.create_model(
        network.timm, num_classes=CLASSES, drop_path_rate=DROP_PATH, img_size=size
    ).train()


def _output(network: Network) -> tuple[torch.Tensor, str]:
    """The last feature of one image (1, C) or (1, C, h, w), and where it is read."""
    probe = MODELS.build(network.config(network.size))
    probe.eval()
    with torch.no_grad():
        last = probe(torch.zeros(1, 3, network.size, network.size))[-1]
    return last, backbone_spec(probe).output(probe)
