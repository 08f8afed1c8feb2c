"""Token Labeling and ReLabel: controls, where fine-tuning starts, real images."""

import copy
import logging
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from imagenette import IMAGENETTE
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope
from mmengine.runner import Runner
from token_label_recipes import (
    CONFIGS,
    FINE_TUNING,
    FOLDER,
    MIXTOKEN,
    NAME,
    PRETRAINING,
    SMALL_S,
    build,
    load,
    parsed,
)
from torch.nn.functional import interpolate

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.targets import batch_map
from mmtlalign.validation.config import load_config

RELABEL_DEIT = 'relabel_deit-small-p16_8xb128-coslr-300e_in1k'


@pytest.fixture(autouse=True)
def _without_a_line_for_every_parameter():
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


# ------------------------------------------------------------- methods and controls

WITHOUT_MAP = dict(
    FlipWithMap='mmtlalign.RandomFlip',
    RandAugmentWithMap='mmtlalign.RandAugment',
    RandomResizedCropWithMap='mmtlalign.RandomResizedCrop',
)
MAP_STEPS = ('LoadLabelMap', 'PoolLabelMap', 'ReLabel')


def without_maps(node):
    """A config with the host's own steps, and without those that read maps."""
    if isinstance(node, dict):
        kept = {k: without_maps(v) for k, v in node.items() if k != 'algorithm_keys'}
        kind = str(kept.get('type')).removeprefix('mmtlalign.')
        return dict(kept, type=WITHOUT_MAP[kind]) if kind in WITHOUT_MAP else kept
    if isinstance(node, (list, tuple)):
        kinds = [str(n.get('type')) if isinstance(n, dict) else '' for n in node]
        pairs = zip(node, kinds)
        return [without_maps(n) for n, kind in pairs if not kind.endswith(MAP_STEPS)]
    return node


def without_labels(name, path=None):
    """A config without what says which labels are learnt."""
    cfg = copy.deepcopy(parsed(path or CONFIGS[name])).to_dict()
    if cfg['model']['head']['type'].endswith('TokenLabelClsHead'):
        for key in ('type', 'class_target', 'traced'):
            cfg['model']['head'].pop(key, None)
        del cfg['model']['head']['loss']['dense_weight']
    for key in ('pretrained', 'label_map_root'):
        cfg.pop(key, None)
    return without_maps({k: v for k, v in cfg.items() if not k.startswith('_')})


@pytest.mark.parametrize('control', MIXTOKEN)
def test_control_differs_in_nothing_but_labels(control):
    name = control.replace('mixtoken_', 'token-label_')
    assert without_labels(name) == without_labels(control)
    cfg, method = load(control), load(name)
    assert cfg.model.head.class_target == 'label'
    assert cfg.model.head.loss.dense_weight == 0
    assert 'Map' not in repr(cfg.train_dataloader.dataset.pipeline)
    # No classifier of tokens that nothing trains.
    names = {n for n, _ in build(method).named_parameters()}
    assert names - {n for n, _ in build(cfg).named_parameters()} == {
        'head.layers.aux_head.weight',
        'head.layers.aux_head.bias',
    }
    if 'pretrained' in cfg:
        stem = method.pretrained.replace('token-label_', 'mixtoken_')
        assert cfg.pretrained == stem


def test_what_is_traced_is_the_only_difference():
    name = f'tlalign-{SMALL_S}'
    cfg = load(name)
    assert without_labels(name) == without_labels(SMALL_S)
    given = dict(cfg.model.head, type='mmtlalign.TokenLabelClsHead')
    assert given.pop('traced') == 'share'
    assert given == load(SMALL_S).model.head
    assert build(cfg).traces


RELABEL = {
    'relabel_resnet50_8xb128-coslr-300e_in1k': 'relabel/resnet50',
    'relabel-cutmix_resnet50_8xb128-coslr-300e_in1k': 'relabel/cutmix_resnet50',
    RELABEL_DEIT: 'cutmix/cutmix_deit-small-p16',
}


@pytest.mark.parametrize('name', RELABEL)
def test_relabel_differs_in_nothing_but_labels(name):
    control = FOLDER / f'{RELABEL[name]}_8xb128-coslr-300e_in1k.py'
    assert without_labels(name) == without_labels(name, control)
    assert 'Map' not in repr(parsed(control).train_dataloader.dataset.pipeline)
    kinds = [step.type for step in load(name).train_dataloader.dataset.pipeline]
    # The label is of the crop; a flip may follow.
    assert kinds[1:5] == [
        'mmtlalign.LoadLabelMap',
        'mmtlalign.RandomResizedCropWithMap',
        'mmtlalign.ReLabel',
        'mmtlalign.RandomFlip',
    ]


def test_recipes_of_relabel():
    plain, cutmix = (load(name) for name in list(RELABEL)[:2])
    assert plain.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True
    )
    assert 'train_cfg' not in plain.model and 'custom_hooks' not in plain
    model = MODELS.build(
        dict(cutmix.model, data_preprocessor=dict(cutmix.data_preprocessor))
    )
    wrapper = build_optim_wrapper(model, cutmix.optim_wrapper)
    optimizer = wrapper.optimizer
    assert (type(optimizer).__module__, type(optimizer).__name__) == (
        'timm.optim.adamp',
        'AdamP',
    )
    (group,) = optimizer.param_groups
    assert (group['lr'], group['weight_decay'], group['nesterov']) == (2e-3, 0.01, True)
    (augment,) = model.data_preprocessor.batch_augments.augments
    assert type(augment).__name__ == 'CutMix' and augment.alpha == 1.0
    (hook,) = [HOOKS.build(h) for h in cutmix.custom_hooks]
    runner = SimpleNamespace(model=model, logger=logging.getLogger())
    for runner.epoch in range(300):
        hook.before_train_epoch(runner)
        off = model.data_preprocessor.batch_augments is None
        assert off == (runner.epoch >= 295)


@pytest.mark.parametrize('name', FINE_TUNING)
def test_fine_tuning_starts_where_pretraining_ends(name):
    cfg = load(name)
    work_dir, run, file = cfg.pretrained.split('/')
    assert run in PRETRAINING
    assert (work_dir, file) == ('work_dirs', 'epoch_310.pth')
    written = load(run).model
    assert dict(written.backbone, img_size=cfg.model.backbone.img_size) == (
        cfg.model.backbone
    )
    assert written.head == cfg.model.head


PLAIN = {
    repr(parsed(CONFIGS[n])[f'{split}_dataloader'].dataset.pipeline): (n, split)
    for n in CONFIGS
    for split in ('train', 'val')
    if split == 'val' or n.startswith(('mixtoken_', 'resnet50_'))
}


@pytest.mark.parametrize('name, split', PLAIN.values())
def test_pictures_come_out_in_the_size_of_the_recipe(name, split, tmp_path):
    pipeline = Compose(load(name)[f'{split}_dataloader'].dataset.pipeline)
    side = int(NAME.fullmatch(name)['px'] or 224)
    file = str(tmp_path / 'picture.jpg')
    picture = np.random.randint(0, 256, (24, 32, 3), np.uint8)
    cv2.imwrite(file, cv2.resize(picture, (320, 240)))
    for _ in range(5):  # some steps happen at random
        packed = pipeline(dict(img_path=file, gt_label=3))
        assert packed['inputs'].shape == (3, side, side)
        assert packed['inputs'].dtype is torch.uint8


# ---------------------------------------------------------- small networks of them

ARCH = dict(
    lvvit=dict(
        embed_dims=24,
        num_layers=2,
        num_heads=3,
        feedforward_channels=72,
        skip_lam=2,
        stem_channels=8,
    ),
    deit=dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48),
    dhvt=dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48),
)


def shrink(cfg, name):
    """A network of a few thousand parameters in place of the recipe's."""
    if 'resnet' in name:
        cfg.model.backbone.update(depth=18, base_channels=8, stem_channels=8)
        cfg.model.head.in_channels = 64
        return
    cfg.model.backbone.arch = ARCH[NAME.fullmatch(name)['net'].split('-')[0]]
    cfg.model.head.in_channels = 24


def small_model(name):
    cfg = load(name)
    shrink(cfg, name)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def start(name, file):
    """A network of a config after its hook has read a file."""
    model = small_model(name)
    (hook,) = [HOOKS.build(dict(h)) for h in load(name).custom_hooks]
    runner = SimpleNamespace(
        iter=0,
        _load_from=None,
        cfg=Config(dict(pretrained=str(file))),
        model=model,
        logger=logging.getLogger('start'),
    )
    hook.before_train(runner)
    return model


@pytest.mark.parametrize('method', ['token-label', 'mixtoken'])
def test_fine_tuning_takes_the_whole_classifier(method, tmp_path):
    source = small_model(SMALL_S.replace('token-label', method))
    file = tmp_path / 'epoch_310.pth'
    torch.save(dict(state_dict=source.state_dict()), file)
    name = f'{method}_lvvit-small-p16_in1k-pre_8xb64-coslr-30e_in1k-384px'
    given, model = source.state_dict(), start(name, file)
    assert given.keys() == model.state_dict().keys()
    assert ('head.layers.aux_head.weight' in given) == (method == 'token-label')
    for key, tensor in model.state_dict().items():
        if key != 'backbone.pos_embed':
            assert tensor.equal(given[key]), key
    positions = given['backbone.pos_embed']
    grid = positions[:, 1:].mT.unflatten(2, (14, 14))
    grid = interpolate(grid, (24, 24), mode='bicubic', align_corners=False)
    wanted = torch.cat([positions[:, :1], grid.flatten(2).mT], dim=1)
    torch.testing.assert_close(model.backbone.pos_embed, wanted)


def test_a_start_without_the_classifier_of_tokens_is_refused(tmp_path):
    control = small_model(SMALL_S.replace('token-label', 'mixtoken'))
    torch.save(dict(state_dict=control.state_dict()), tmp_path / 'epoch_310.pth')
    with pytest.raises(InputError, match='not in the file .*aux_head'):
        start(FINE_TUNING[-1], tmp_path / 'epoch_310.pth')


def imagenette(name, unpack):
    """The recipe's own pipeline on ten classes of ImageNet and the shipped maps."""
    images = unpack('imagenette224') / 'train'
    roots = dict(
        label_map_root=str(unpack('imagenette224_labelmaps') / 'train'),
        data_root=str(images.parent),
    )
    cfg = load_config(str(CONFIGS[name]), roots)
    init_default_scope(cfg.default_scope)
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type.endswith('LoadLabelMap'):
            step.class_ids = [IMAGENETTE[n] for n in sorted(IMAGENETTE)]
        elif step.type.endswith(MAP_STEPS):
            step.num_classes = 10
            if 'topk' in step:
                step.topk = 5
    loader = cfg.train_dataloader
    loader.dataset = dict(
        type='CustomDataset',
        data_root=str(images),
        pipeline=loader.dataset.pipeline,
    )
    loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    loader.sampler = dict(type='DefaultSampler', shuffle=True)
    cfg.model.head.num_classes = cfg.data_preprocessor.num_classes = 10
    return cfg


REAL = [
    SMALL_S,
    f'tlalign-{SMALL_S}',
    FINE_TUNING[-1],
    'token-label_deit-small-p16_8xb128-coslr-300e_in1k',
    'token-label_dhvt-small-p16_2xb128-coslr-300e_in1k',
    *list(RELABEL)[1:],
]


@pytest.mark.real_data
@pytest.mark.parametrize('name', REAL)
def test_a_step_on_real_images_and_maps_as_the_recipe_says(name, unpack):
    cfg = imagenette(name, unpack)
    shrink(cfg, name)
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model = revert_sync_batchnorm(model).train()
    cfg.optim_wrapper.optimizer.lr = 1e-3
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = copy.deepcopy(model.state_dict())
    sample = batch['data_samples'][0]
    logged = model.train_step(batch, wrapper)
    assert all(value.isfinite() for value in logged.values())
    moved = {k for k, p in model.named_parameters() if not p.equal(before[k])}
    assert moved == {name for name, _ in model.named_parameters()}
    assert sample.img_path.endswith('.JPEG')
    if name in RELABEL:
        assert logged.keys() == {'loss'}
        assert sample.gt_score.shape == (10,) and sample.gt_score.max() < 1
        assert sample.gt_score.sum() == pytest.approx(1)
    else:
        assert logged.keys() == {'loss', 'loss_cls', 'loss_dense'}
        side = cfg.model.backbone.get('img_size', 224) // 16
        maps = batch_map(batch['data_samples'], 'gt_label_map')
        assert maps.values.shape == (4, 5, side, side) and maps.index.max() < 10
        assert maps.present.all() and (maps.values != 0).any()
