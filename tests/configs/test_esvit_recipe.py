"""The parts of the full recipes fit together: 224 and 96 pixels, 300 epochs."""

from pathlib import Path

import pytest
import torch
from esvit_parts import windows_of
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope
from repository import ROOT
from small_runs import without_memory

from mmtlalign.validation.config import load_config

ROOM = ROOT / 'configs/esvit'
CONFIGS = {path.stem: path for path in sorted(ROOM.glob('*_in1k.py'))}
PROBES = {path.stem: path for path in sorted(ROOM.glob('linear_probe/*.py'))}
# One of each kind; sizes S and B differ from T in nothing but widths and depths.
STEPS = [
    'dino_swin-tiny-p4-w7_16xb32-coslr-300e_in1k',
    'esvit_swin-tiny-p4-w7_16xb32-coslr-300e_in1k',
    'esvit_swin-tiny-p4-w14_dino-pre_16xb32-coslr-300e_in1k',
    'esvit_resnet50_dino-pre_16xb64-coslr-300e_in1k',
    'esvit_deit-small-p16_16xb32-coslr-300e_in1k',
    'esvit_dhvt-small-p16_16xb32-coslr-300e_in1k',
]
# Of the backbone, in millions; EsViT's README: 28, 49, 87 and 23 for ResNet-50.
SIZES = {
    'swin-tiny-p4-w7': 27.5,
    'swin-small-p4-w7': 48.8,
    'swin-base-p4-w7': 86.7,
    'swin-tiny-p4-w14': 27.6,
    'swin-small-p4-w14': 49.0,
    'swin-base-p4-w14': 86.9,
    'resnet50': 23.5,
    'deit-small-p16': 21.7,
    'dhvt-small-p16': 23.7,
}


def load(path):
    cfg = load_config(str(path))
    init_default_scope('mmpretrain')
    return cfg


def backbone_of(stem):
    return stem.split('_')[1]


def heads_of(model):
    return [head for head in (model.head, model.region_head) if head is not None]


@pytest.mark.parametrize('name', STEPS)
def test_recipe_builds_and_makes_a_step(name):
    cfg = load(CONFIGS[name])
    # 65,536 prototypes take a minute of memory traffic, and show nothing more.
    heads = heads_of(cfg.model)
    for head in heads:
        head.out_channels = 32
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model = revert_sync_batchnorm(model)  # as tools/train.py does without a GPU
    model.init_weights()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    model.teacher_temp = 0.04
    # All ten views of the main recipe.
    size = [224] * 2 + [96] * (8 if 'w7' in name else 1)
    raw = [torch.randint(0, 255, (2, 3, s, s), dtype=torch.uint8) for s in size]
    data = model.data_preprocessor(dict(inputs=raw, data_samples=[]), training=True)
    losses, log = model.parse_losses(model.loss(**data))
    losses.backward()
    expected = log['view_term']
    if len(heads) > 1:
        expected = 0.5 * (expected + log['region_term'])
    torch.testing.assert_close(log['loss'], expected)
    optimizer.step()
    model.after_step(0.996)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize('name', CONFIGS)
def test_every_recipe_builds(name):
    cfg = load(CONFIGS[name])
    model = without_memory(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    size = sum(param.numel() for param in model.backbone.parameters())
    assert round(size / 1e6, 1) == SIZES[backbone_of(name)]
    kinds = [type(HOOKS.build(hook)).__name__ for hook in cfg.custom_hooks]
    phases = '_dino-pre_' in name
    always = ['EsViTHook', 'TensorClipHook', 'KNNHook']
    fast = ('_swin-' in name) * ['FastAttentionHook']
    assert kinds == always + fast + phases * ['ContinueHook']
    # The batch that the rate was made for: 5e-4 for each 256 images.
    gpus, images = map(int, name.split('_')[-2].split('-')[0].split('xb'))
    batch = cfg.auto_scale_lr.base_batch_size
    assert (images, gpus * images) == (cfg.train_dataloader.batch_size, batch)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(5e-4 * batch / 256)


@pytest.mark.parametrize('name', [n for n in CONFIGS if n.startswith('esvit_')])
def test_control_differs_in_the_regions_alone(name):
    control = name.replace('esvit_', 'dino_').replace('_dino-pre', '')
    ours, views = (load(CONFIGS[n]).to_dict() for n in (name, control))
    assert ours['model']['region_head'].pop('in_channels') > 0
    phases = '_dino-pre_' in name
    if phases:
        assert ours['custom_hooks'].pop() == dict(type='mmtlalign.ContinueHook')
        # A file that the first phase writes, and does not remove.
        folder, run, file = ours['load_from'].split('/')
        saved = views['default_hooks']['checkpoint']
        epoch = int(file.removeprefix('epoch_').removesuffix('.pth'))
        assert (folder, run) == ('work_dirs', control)
        assert epoch in (180, 200)
        assert epoch % saved['interval'] == 0
        assert saved['max_keep_ckpts'] == -1
        assert f'epoch {epoch}' in CONFIGS[name].read_text()
    for cfg in (ours, views):
        cfg['model'].pop('region_head')
        cfg.pop('load_from')
        cfg.pop('head', None)  # a variable of the file
        cfg['model']['head'].pop('norm_last_layer', None)
    assert ours == views


def test_length_of_prototypes_is_held_in_the_one_run_whose_name_says_so():
    held = [
        name
        for name, path in CONFIGS.items()
        if any(h.get('norm_last_layer') for h in heads_of(load(path).model))
    ]
    assert held == ['esvit_swin-base-p4-w14_dino-pre_64xb8-coslr-300e_in1k']


@pytest.mark.parametrize('size', ['tiny', 'small', 'base'])
def test_window_14_has_the_official_geometry(size):
    (name,) = [n for n in CONFIGS if n.startswith(f'dino_swin-{size}-p4-w14')]
    backbone = MODELS.build(load(CONFIGS[name]).model.backbone)
    assert windows_of(backbone) == [(14, 7, 729)] * 2 + [(14, 0, 729), (7, 0, 169)]
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-6}
    with torch.no_grad():
        tokens = [backbone(torch.zeros(1, 3, s, s))[-1].shape[2:] for s in (224, 96)]
    assert tokens == [(7, 7), (3, 3)]


@pytest.mark.parametrize('name', PROBES)
def test_linear_evaluation_reads_the_pretrained_backbone(name):
    cfg = load(PROBES[name])
    run = Path(cfg.pretrained).parent.name
    trained = load(CONFIGS[run]).model.backbone
    given, own = (dict(b, drop_path_rate=0) for b in (trained, cfg.model.backbone))
    assert given == own
    assert backbone_of(run) == name.split('_')[0]
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    with torch.no_grad():
        features = model.extract_feat(torch.zeros(1, 3, 224, 224))[0]
    assert features.shape == (1, cfg.model.head.in_channels)
