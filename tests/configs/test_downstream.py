"""Segmentation and detection: configs, checkpoints, one step of training."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_pictures import write_ade20k, write_coco
from mmengine import registry as roots
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmpretrain.models import ImageClassifier
from small_runs import (
    ROOT,
    few_boxes,
    load,
    losses,
    scores,
    small_pictures,
    train,
    without_memory,
)

from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.validation.config import load_config

CONFIGS = sorted(
    path
    for room in ('segmentation', 'detection')
    for path in (ROOT / 'configs' / room).glob('*.py')
)
# Millions of parameters of UperNet in the official tables of Swin, by size.
OFFICIAL_SIZES = {'swin-tiny': 60, 'swin-small': 81, 'swin-base': 121}


def pretraining_config(cfg):
    """The config that writes the file which ``pretrained`` names."""
    name = Path(cfg.pretrained).parent.name
    (path,) = (ROOT / 'configs').glob(f'*/{name}.py')
    return Config.fromfile(path)


@pytest.fixture(scope='module', params=CONFIGS, ids=lambda path: path.stem)
def built(request):
    cfg = Config.fromfile(request.param)
    init_default_scope(cfg.default_scope)
    return request.param, cfg, without_memory(cfg.model)


def test_there_are_segmentors_for_every_backbone():
    names = [
        re.split('_(8|1)xb', p.stem)[0] for p in CONFIGS if 'mask-rcnn' not in p.stem
    ]
    assert sorted(set(names)) == [
        'caswin-tiny-p4-w7_transmix-in1k-pre_upernet',
        'deit-base-p16-ln_tlalign-in1k-pre_mln-upernet',
        'deit-small-p16-ln_tlalign-in1k-pre_mln-upernet',
        'deit-small-p16_transmix-in1k-pre_linear',
        'deit-small-p16_transmix-in1k-pre_segmenter-mask',
        'dhvt-small-p16_tlalign-in1k-pre_mln-upernet',
        'lvvit-large-p16_token-label-in1k-pre_upernet',
        'lvvit-medium-p16_token-label-in1k-pre_upernet',
        'lvvit-small-p16_token-label-in1k-pre_upernet',
        'swin-base-p4-w7_tlalign-in1k-pre_upernet',
        'swin-small-p4-w7_tlalign-in1k-pre_upernet',
        'swin-tiny-p4-w7_esvit-in1k-pre_upernet',
        'swin-tiny-p4-w7_tlalign-in1k-pre_upernet',
    ]


def test_size_is_the_official_one(built):
    path, _, model = built
    for backbone, millions in OFFICIAL_SIZES.items():
        if path.stem.startswith(backbone):  # detectors: test_detection.py
            count = sum(parameter.numel() for parameter in model.parameters())
            assert round(count / 1e6) == millions


def remembering(model: dict, numbers: int):
    """A network whose state, buffers too, is drawn from a range of numbers."""
    network = without_memory(model).to_empty(device='cpu')
    for tensor in network.state_dict().values():
        tensor.random_(numbers)
    return network


def one_of_a_kind():
    """The first config of those that take the same file into the same backbone."""
    kinds = {}
    for path in CONFIGS:
        cfg = Config.fromfile(path)
        kind = repr((cfg.pretrained, cfg.model.backbone, cfg.custom_hooks))
        kinds.setdefault(kind, path)
    return kinds.values()


@pytest.mark.parametrize('path', one_of_a_kind(), ids=lambda path: path.stem)
def test_takes_the_pretraining_checkpoint_whole(path, tmp_path):
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    backbone = remembering(cfg.model.backbone, numbers=1)
    model = pretraining_config(cfg).model
    init_default_scope('mmpretrain')
    plain = dict(type='ImageClassifier', backbone=model.backbone, head=model.head)
    classifier = remembering(plain, numbers=1000)
    file = tmp_path / 'epoch_300.pth'
    torch.save(dict(state_dict=classifier.state_dict(), meta=dict(epoch=300)), file)

    hook = next(h for h in cfg.custom_hooks if 'Pretrained' in h['type'])
    lines = load_backbone(backbone, file, hook.get('new_layers', ()))
    file.unlink()
    given, own = classifier.backbone.state_dict(), backbone.state_dict()
    # Pyramids that windows or the last stage of PVT make have no class token, and maps
    # of LV-ViT no final norm.
    left_out = given.keys() - own.keys()
    assert all(re.search('cls_token|^norm|^ln1', name) for name in left_out)
    assert not left_out or re.search('_sfp_|pvt|lvvit', path.stem)
    kept = {name: value for name, value in given.items() if name in own}
    assert f'{len(kept)} of {len(own)} tensors' in lines[0]
    # Weight and bias of each.
    assert len(own) - len(kept) == 2 * len(hook.get('new_layers', ()))
    differing = {n for n, v in kept.items() if not v.equal(own[n])}
    assert all(name.endswith('pos_embed') for name in differing)
    if re.search('deit|lvvit', path.stem) and 'cls_token' in own:
        side = -(-cfg.model.backbone.img_size // 16)
        told = f'backbone: pos_embed resized from 14x14 to {side}x{side} tokens'
        assert lines[1:] == [told] and differing == {'pos_embed'}
        assert given['pos_embed'][:, 0].equal(own['pos_embed'][:, 0])
    elif not left_out:
        assert not differing


def test_norms_keep_the_eps_of_pretraining(built):
    _, cfg, model = built
    init_default_scope('mmpretrain')
    backbone = pretraining_config(cfg).model.backbone
    given, own = (
        {n: m.eps for n, m in network.named_modules() if hasattr(m, 'eps')}
        for network in (without_memory(backbone), model.backbone)
    )
    assert all(own[name] == eps for name, eps in given.items() if name in own)
    assert set(own.values()) == set(given.values())  # of new norms too


@pytest.mark.parametrize('name, sizes', [
    ('swin-tiny-p4-w7_tlalign', [(50, 84), (25, 42), (13, 21), (7, 11)]),
    ('caswin-tiny', [(50, 84), (25, 42), (13, 21), (7, 11)]),
    ('deit-small-p16-ln', [(13, 21)] * 4),
    ('dhvt-small', [(13, 21)] * 4),
    ('lvvit-small', [(13, 21)] * 4),
])  # fmt: skip
def test_backbone_takes_any_size(name, sizes):
    cfg = load(name + '*ade20k')
    init_default_scope('mmpretrain')
    backbone = revert_sync_batchnorm(roots.MODELS.build(cfg.model.backbone))
    maps = backbone(torch.randn(1, 3, 200, 333))
    assert [tuple(m.shape[-2:]) for m in maps] == sizes
    # A parameter without gradient stops distributed training.
    sum(m.square().mean() for m in maps).backward()
    trained = [(n, p) for n, p in backbone.named_parameters() if p.requires_grad]
    assert not [n for n, p in trained if p.grad is None]


def test_one_option_moves_the_data():
    (seg,) = [p for p in CONFIGS if p.match('swin-tiny*tlalign*ade20k*')]
    cfg = load_config(str(seg), dict(data_root='/elsewhere/ade'))
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/elsewhere/ade'
    (det,) = [p for p in CONFIGS if p.match('cascade-mask-rcnn_swin-tiny*tlalign*3x*')]
    cfg = load_config(str(det), dict(data_root='/elsewhere/coco'))
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/elsewhere/coco'
    wanted = '/elsewhere/coco/annotations/instances_val2017.json'
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == wanted


# ------------------------------------------------ one step, picture to loss


def save_pretraining_checkpoint(cfg, file):
    """A classification checkpoint such as pretraining leaves behind."""
    pretraining = pretraining_config(cfg)
    init_default_scope('mmpretrain')
    classifier = ImageClassifier(
        backbone=pretraining.model.backbone, head=pretraining.model.head
    )
    torch.save(dict(state_dict=classifier.state_dict()), file)
    return classifier.backbone.state_dict()


def one_step(path, tmp_path, change):
    """Run a config for one iteration of rate 0; returns runner and scores."""
    given = save_pretraining_checkpoint(Config.fromfile(path), tmp_path / 'pre.pth')
    options = dict(
        data_root=str(tmp_path / 'data'), pretrained=str(tmp_path / 'pre.pth')
    )
    cfg = load_config(str(path), options)
    change(cfg)
    runner = train(cfg, tmp_path / 'run', iterations=1, lr=0.0)
    assert np.isfinite(losses(tmp_path / 'run')).all()
    # At rate 0 only the running statistics of norms move.
    own = dict(runner.model.backbone.named_parameters())
    differing = [
        name for name in own if name in given and not own[name].equal(given[name])
    ]
    assert differing in ([], ['pos_embed'])  # the one that is resized
    modules = runner.model.modules()
    assert not [m for m in modules if isinstance(m, torch.nn.SyncBatchNorm)]
    return scores(tmp_path / 'run')


@pytest.mark.slow  # 60 M parameters on a CPU
@pytest.mark.parametrize(
    'name',
    ['swin-tiny*tl', 'caswin-tiny', 'deit-small-p16-ln', 'dhvt-small', 'lvvit-small'],
)
def test_upernet_trains_and_evaluates(name, tmp_path):
    write_ade20k(tmp_path / 'data')
    (path,) = [p for p in CONFIGS if p.match(f'{name}*ade20k*')]

    def change(cfg):
        small_pictures(cfg, 64, crop=64)
        cfg.model.data_preprocessor.size = (64, 96)  # filled up at the right

    result = one_step(path, tmp_path, change)
    assert 0 <= result['mIoU'] <= 100


@pytest.mark.slow  # 86 M parameters on a CPU
@pytest.mark.parametrize('name', ['swin-tiny*tlalign', 'dhvt-small'])
def test_cascade_trains_and_evaluates(name, tmp_path):
    pytest.importorskip('mmcv.ops', reason='detection needs the compiled mmcv')
    write_coco(tmp_path / 'data')
    (path,) = [p for p in CONFIGS if p.match(f'cascade-mask-rcnn_{name}*3x*')]

    def change(cfg):
        small_pictures(cfg, 64)
        few_boxes(cfg)
        # Untrained, no box is sure enough to be kept, and nothing is scored.
        cfg.model.test_cfg.rcnn.score_thr = 0.0

    result = one_step(path, tmp_path, change)
    assert 0 <= result['coco/bbox_mAP'] <= 1 and 0 <= result['coco/segm_mAP'] <= 1
