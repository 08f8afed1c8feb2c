"""Segmentation recipes shrunk eightfold, pictures in their layouts, a known answer."""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import MODELS, init_default_scope
from repository import ROOT

from mmtlalign.validation.config import load_config

SEGMENTATION = ROOT / 'configs' / 'segmentation'
CONFIGS = {path.stem: path for path in sorted(SEGMENTATION.glob('*.py'))}
# One recipe for every data set.
DATA = {
    'ade20k': 'segmenter-mask_8xb1-160k_ade20k-512x512',
    'pascal_context': 'segmenter-mask_8xb2-80k_pascal-context-480x480',
    'pascal_context_59': 'segmenter-mask_8xb2-80k_pascal-context59-480x480',
    'camvid': 'swin-tiny-p4-w7_tlalign-in1k-pre_upernet_1xb16-4k_camvid-360x360',
}
# Ids in the files: that of class 0, and one that is not learnt.
IDS = dict(ade20k=(1, 0), pascal_context=(0, 255), pascal_context_59=(1, 0))
IDS['camvid'] = (0, 11)
# RGB. Red and blue tell the two orders of channels apart.
COLOURS = np.array([[250, 10, 10], [10, 10, 250], [10, 250, 10], [240, 240, 240]])
SMALL_SWIN = dict(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
SMALL_VIT = dict(embed_dims=16, num_layers=12, num_heads=2, feedforward_channels=32)
SMALL_LVVIT = dict(SMALL_VIT, num_layers=16, skip_lam=2, stem_channels=8)


def config(name: str, options=None) -> Config:
    """The recipe whose file name holds ``name``."""
    (path,) = [path for stem, path in CONFIGS.items() if name in stem]
    cfg = load_config(str(path), options)
    init_default_scope('mmseg')
    return cfg


def classes_in_use(cfg: Config) -> list:
    """The four classes that the pictures show, the last one included."""
    return [0, 1, 5, cfg.model.decode_head.num_classes - 1]


def shrink(cfg: Config, factor: int = 8) -> Config:
    """Sizes of pictures, crops and windows divided by ``factor``, in place."""
    sizes = ('scale', 'crop_size', 'size', 'stride')

    def visit(node):
        for child in node.values() if isinstance(node, dict) else node:
            if isinstance(child, (dict, list, tuple)):
                visit(child)
        if isinstance(node, dict):
            for key in sizes:
                if isinstance(node.get(key), (tuple, list)):
                    node[key] = tuple(side // factor for side in node[key])

    for split in ('train', 'val', 'test'):
        visit(cfg[f'{split}_dataloader'].dataset.pipeline)
        cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    for name in ('train_pipeline', 'test_pipeline', 'tta_pipeline'):
        visit(cfg[name])
    visit(cfg.model.data_preprocessor)
    visit(cfg.model.test_cfg)
    return cfg


def small_model(cfg: Config) -> Config:
    """A narrow backbone with heads to match, in place."""
    model = cfg.model
    if 'Swin' in model.backbone.type:
        arch, widths = SMALL_SWIN, [16, 32, 64, 128]
    else:
        arch = SMALL_LVVIT if 'LVViT' in model.backbone.type else SMALL_VIT
        widths = [16] * 4
        # The grid of the recipe, with fewer pixels in a patch.
        model.backbone.update(img_size=model.backbone.img_size // 4, patch_size=4)
    model.backbone.arch = arch
    if 'neck' in model and 'LVViTNeck' in model.neck.type:
        widths = [16, 16, 16, 32]
        model.neck.update(in_channels=16, last_channels=32)
    elif 'neck' in model:
        model.neck.update(in_channels=widths, out_channels=16)
    heads = [model[key] for key in ('decode_head', 'auxiliary_head') if key in model]
    for head in heads:
        single = isinstance(head.in_channels, int)
        head.in_channels = widths[head.get('in_index', -1)] if single else widths
        head.channels = 16
        if 'embed_dims' in head:
            head.update(embed_dims=16, num_heads=2)
    return cfg


def write_data(kind: str, root: Path, classes: list) -> Path:
    """Two pictures a split: a quadrant a class, and a strip that is not learnt.

    The strip has the colour of a wrong class, so that counting it shows.

    Returns:
        Path: ``root``, with the layout of the data set.
    """
    zero, void = IDS[kind]
    quadrant = np.kron([[0, 1], [2, 3]], np.ones((48, 64), int))  # (96, 128)
    label = (np.array(classes) + zero)[quadrant].astype(np.uint8)
    label[:, 54:74] = void
    shown = quadrant.copy()
    shown[:, 54:74] = np.roll(quadrant, 48, 0)[:, 54:74]
    picture = COLOURS[shown][..., ::-1].astype(np.uint8)  # cv2 writes BGR
    for split in ('train', 'val'):
        images, labels = folders(kind, root, split)
        for folder in (images, labels):
            folder.mkdir(parents=True, exist_ok=True)
        for name in 'ab':
            quality = [cv2.IMWRITE_JPEG_QUALITY, 100]
            cv2.imwrite(str(images / f'{split}_{name}.jpg'), picture, quality)
            cv2.imwrite(str(labels / f'{split}_{name}.png'), label)
        if 'pascal' in kind:
            listed = root / 'ImageSets/SegmentationContext'
            listed.mkdir(parents=True, exist_ok=True)
            (listed / f'{split}.txt').write_text(f'{split}_a\n{split}_b\n')
    return root


def small_data(kind: str, root: Path) -> Config:
    """The recipe of a data set, shrunk, on pictures written in its layout."""
    cfg = config(DATA[kind], dict(data_root=str(root)))
    write_data(kind, root, classes_in_use(cfg))
    return shrink(cfg)


def folders(kind: str, root: Path, split: str):
    """Folder of the pictures, folder of the label maps."""
    if kind == 'ade20k':
        name = dict(train='training', val='validation')[split]
        return root / 'images' / name, root / 'annotations' / name
    if kind == 'camvid':
        return root / split, root / f'{split}annot'
    return root / 'JPEGImages', root / 'SegmentationClassContext'


class Pixels(BaseModule):
    """A backbone that hands the picture on."""

    def forward(self, images):
        return (images,)


def knows_the_answer(cfg: Config) -> Config:
    """A model that tells the class of a pixel by its colour, in place."""
    MODELS.register_module(name='PixelsOfTest', module=Pixels, force=True)
    head = cfg.model.decode_head
    cfg.model.backbone = dict(type='mmengine.PixelsOfTest')
    cfg.model.pop('auxiliary_head', None)
    cfg.model.decode_head = dict(
        type='FCNHead',
        in_channels=3,
        channels=3,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=head.num_classes,
    )
    return cfg


def answer(cfg: Config) -> dict:
    """Weights of :func:`knows_the_answer`: the nearest colour wins."""
    mean, std = (np.array(cfg.model.data_preprocessor[key]) for key in ('mean', 'std'))
    colours = torch.tensor((COLOURS - mean) / std, dtype=torch.float32)
    weight = torch.zeros(cfg.model.decode_head.num_classes, 3)
    bias = torch.full((len(weight),), -1e4)
    used = classes_in_use(cfg)
    # -|x - c|² / 2 without the |x|² that all classes share.
    weight[used], bias[used] = colours, -colours.square().sum(1) / 2
    return {
        'decode_head.conv_seg.weight': weight[..., None, None],
        'decode_head.conv_seg.bias': bias,
    }


def last_scores(work: Path) -> dict:
    """The figures of the last test in a work directory."""
    newest = max(work.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    return json.loads(newest.read_text().splitlines()[-1])
