"""Checkpoints of small models, and backbones exported from them."""

import torch
from convert_nets import far_from_start
from mmengine.config import Config

from mmtlalign.checkpoint.export import export_backbone

SETTINGS = dict(
    data_preprocessor=dict(num_classes=3, mean=[1.0] * 3, std=[2.0] * 3, to_rgb=True),
    train_dataloader=dict(
        dataset=dict(
            type='RepeatDataset',
            dataset=dict(
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='RandomResizedCrop', scale=128),
                    dict(type='PackInputs'),
                ]
            ),
        )
    ),
)


def settings_of(model):
    """Return the part of a config that a test needs, for a model of `convert_nets`."""
    backbone = dict(type=type(model.backbone).__name__, img_size=224)
    if backbone['type'] == 'PVT':
        backbone['arch'] = 'tiny'
    head = dict(type='mmtlalign.TLAlignLinearClsHead', num_classes=3)
    augments = [dict(type='mmtlalign.TokenCutMix', alpha=1.0)]
    parts = dict(backbone=backbone, head=head, train_cfg=dict(augments=augments))
    return dict(SETTINGS, model=dict(type='mmtlalign.MixClassifier', **parts))


def checkpoint(model, path, **content):
    """Write a training checkpoint of mmengine, the weights far from their start."""
    far_from_start(model, torch.float32)
    meta = dict(cfg=Config(settings_of(model)).pretty_text, epoch=7, iter=70, seed=3)
    content = dict(dict(meta=meta, optimizer={}, message_hub={}), **content)
    torch.save(dict(state_dict=model.state_dict(), **content), path)
    return str(path)


def exported(model, folder, suffix='.pth', **options):
    out = str(folder / f'backbone{suffix}')
    export_backbone(checkpoint(model, folder / 'epoch_7.pth'), out, **options)
    return out


@torch.no_grad()
def features(backbone, size):
    """Return those of the last layer; timm gives a tensor, ours a tuple."""
    backbone.eval()
    images = torch.linspace(-2, 2, 2 * 3 * size * size).sin().reshape(2, 3, size, size)
    out = backbone(images)
    out = out[-1] if isinstance(out, list | tuple) else out
    return out[-1] if isinstance(out, list | tuple) else out
