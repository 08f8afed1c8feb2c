"""Token Labeling and ReLabel: each config is what its name and its recipe say.

Controls, starts and real images: see test_token_label_starts.py.
"""

import logging
import math

import numpy as np
import pytest
import torch
from lvvit_sizes import VARIANTS
from mmengine.registry import PARAM_SCHEDULERS
from token_label_recipes import (
    CONFIGS,
    FINE_TUNING,
    LVVIT,
    MIXTOKEN,
    NAME,
    PRETRAINING,
    RESNET,
    SMALL_S,
    TOKEN_LABELS,
    build,
    load,
)
from weight_decay import check_optimiser


@pytest.fixture(autouse=True)
def _without_a_line_for_every_parameter():
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


def steps_of(cfg, split='train'):
    """The steps of a pipeline by the end of their types, one level down."""
    found = {}
    for step in cfg[f'{split}_dataloader'].dataset.pipeline:
        for one in [step, *[each for (each,) in step.get('transforms', [])]]:
            found.setdefault(one.type.split('.')[-1], []).append(one)
    return found


# ------------------------------------------------ each file is what its name says


@pytest.mark.parametrize('name', CONFIGS)
def test_the_file_is_what_its_name_says(name):
    cfg, said = load(name), NAME.fullmatch(name).groupdict()
    gpus, batch, side = int(said['gpus']), int(said['batch']), int(said['px'] or 224)
    command = f'configs/{CONFIGS[name].parent.name}/{name}.py {gpus} --amp'
    assert command in CONFIGS[name].read_text().split('_base_ =')[0]
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch
    assert cfg.train_cfg.max_epochs == int(said['epochs'])
    train_steps, test_steps = steps_of(cfg), steps_of(cfg, 'test')
    crops = [c for k, v in train_steps.items() if 'RandomResizedCrop' in k for c in v]
    assert {crop.scale for crop in crops} == {side}
    assert test_steps['CenterCrop'][0].crop_size == side
    for step in train_steps.get('PoolLabelMap', []):
        assert (step.size, step.num_classes) == (side // 16, 1000)
    net = cfg.model.backbone
    if said['net'] != 'resnet50' and 'dhvt' not in name:  # which have no positions
        assert net.img_size == side
    arch, size = said['net'].split('-')[:2] if '-' in said['net'] else ('resnet', 50)
    kind = dict(lvvit='LVViT', deit='VisionTransformer', dhvt='DHVT', resnet='ResNet')
    assert net.type.split('.')[-1] == kind[arch]
    assert size in (net.get('depth'), *net.get('arch', '').split('-'))
    maps = 'LoadLabelMap' in train_steps
    assert maps == ('label' in (said['method'] or ''))
    assert ('ReLabel' in train_steps) == ('relabel' in name)
    assert ('PoolLabelMap' in train_steps) == ('token-label' in name)
    assert bool(cfg.get('pretrained')) == bool(said['pre'])


# Parameters with both classifiers of 1000 classes; share of the picture that tests
# see; rate, drop path and operations of RandAugment.
SIZES = {
    'tiny': (0.9, 1.6e-3, 0.1, 2),
    'small': (0.9, 1.6e-3, 0.1, 2),
    'medium': (1.0, 1.6e-3, 0.2, 2),
    'large': (1.0, 1e-3, 0.3, 3),
}


def test_every_size_is_there_and_has_a_control():
    found = [(load(n).model.backbone.arch, load(n).model.backbone.img_size)
             for n in LVVIT]  # fmt: skip
    # Of the sizes published, one has no recipe: L fine-tuned at 512 pixels.
    assert sorted(found) == sorted(set(VARIANTS) - {('large', 512)})
    other = {n.replace('token-label_', 'mixtoken_') for n in TOKEN_LABELS}
    assert other == set(MIXTOKEN)


@pytest.mark.parametrize('name', LVVIT)
def test_lvvit_has_the_published_parameters_and_settings(name):
    cfg = load(name)
    net, head = cfg.model.backbone, cfg.model.head
    model = build(cfg)
    count = sum(p.numel() for p in model.parameters())
    assert count == VARIANTS[net.arch, net.img_size]
    crop, rate, drop_path, operations = SIZES[net.arch]
    assert net.drop_path_rate == drop_path and net.out_type == 'raw'
    assert head.loss == dict(
        type='mmtlalign.TokenLabelLoss', dense_weight='code', cls_weight=1.0
    )
    assert model.head.loss_module.dense_weight == 1.0
    assert (head.class_target, head.label_smooth_val) == ('map', 0.1)
    (mix,) = model.mixer.augments
    assert (type(mix).__name__, mix.patch_size, mix.prob) == ('MixToken', 16, 1.0)
    assert model.mixer.probs is None
    optimizer = cfg.optim_wrapper.optimizer
    fine = name in FINE_TUNING
    wanted = ('AdamW', *((5e-6, 1e-8) if fine else (rate, 0.05)))
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == wanted
    assert (optimizer.betas, optimizer.eps) == ((0.9, 0.999), 1e-8)
    assert 'clip_grad' not in cfg.optim_wrapper
    check_optimiser(model, cfg)
    hook = dict(
        type='EMAHook', momentum=8e-5, update_buffers=True, priority='ABOVE_NORMAL'
    )
    if fine:
        hook = dict(type='mmtlalign.PretrainedBackboneHook', whole=True)
    assert cfg.custom_hooks == [hook]
    (resize,) = steps_of(cfg, 'val')['ResizeEdge']
    assert resize.scale == math.floor(net.img_size / crop)
    assert cfg.val_dataloader == cfg.test_dataloader
    (augment,) = steps_of(cfg)['RandAugmentWithMap']
    assert augment.num_policies == (2 if fine else operations)


def test_order_and_strength_of_the_augmentation():
    pipeline = load(SMALL_S).train_dataloader.dataset.pipeline
    kinds = [step.type.split('.')[-1] for step in pipeline]
    assert kinds == [
        'LoadImageFromFile',
        'LoadLabelMap',
        'FlipWithMap',
        'RandAugmentWithMap',
        'RandomChoice',
        'PoolLabelMap',
        'RandomErasing',
        'PackInputs',
    ]
    _, maps, flip, augment, crop, pool, erase, _ = pipeline
    assert (maps.root, maps.image_root) == ('data/imagenet_maps', 'data/imagenet/train')
    assert (maps.num_classes, maps.missing) == (1000, 'error')
    assert flip.prob == 0.5 and pool.get('legacy_axis_order') is None
    strength = augment.magnitude_level, augment.total_level, augment.magnitude_std
    assert (strength, augment.policies) == ((9, 10, 0.5), 'timm_increasing')
    # One of the two by chance, and both alike but for that.
    both = [(one.pop('interpolation'), one) for (one,) in crop.transforms]
    assert [kind for kind, _ in both] == ['bilinear', 'bicubic']
    assert both[0][1] == both[1][1] and 'prob' not in crop
    assert both[0][1].type == 'mmtlalign.RandomResizedCropWithMap'
    assert (erase.erase_prob, erase.mode) == (0.25, 'rand')


# ------------------------------------------------------------------- the schedules


def rates_of(cfg, steps=4):
    """The learning rate of every step of every epoch (epochs, steps)."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = []
    for given in cfg.param_scheduler:
        given = dict(dict(end=cfg.train_cfg.max_epochs), **given)
        kind = PARAM_SCHEDULERS.get(given.pop('type'))
        if given.pop('convert_to_iter_based', False):
            given['epoch_length'], kind = steps, kind.build_iter_from_epoch
        schedulers.append(kind(optimizer, **given))
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        rates.append([])
        for _ in range(steps):
            rates[-1].append(optimizer.param_groups[0]['lr'])
            optimizer.step()
            _advance(schedulers, by_epoch=False)
        _advance(schedulers, by_epoch=True)
    return np.array(rates)


def _advance(schedulers, by_epoch):
    for scheduler in schedulers:
        if scheduler.by_epoch is by_epoch:
            scheduler.step()


@pytest.mark.filterwarnings('ignore:Detected call of')
@pytest.mark.parametrize('name', PRETRAINING)
def test_rates_of_pretraining(name):
    cfg = load(name)
    peak, rates = cfg.optim_wrapper.optimizer.lr, rates_of(cfg)
    assert rates[0, 0] == pytest.approx(1e-6)
    assert (np.diff(rates[:5].ravel()) > 0).all()
    assert rates[5] == pytest.approx(peak) and rates.max() == pytest.approx(peak)
    epoch = np.arange(5, 300)
    ours = 1e-5 + (peak - 1e-5) * (1 + np.cos(np.pi * (epoch - 5) / 295)) / 2
    np.testing.assert_allclose(rates[5:300, 0], ours, rtol=1e-6)
    # The phase of the released code, which counts from epoch 0.
    released = 1e-5 + (peak - 1e-5) * (1 + np.cos(np.pi * epoch / 300)) / 2
    assert 0.015 < abs(rates[5:300, 0] - released).max() / peak < 0.016
    # The host ends one step early.
    assert rates[300:] == pytest.approx(1e-5, rel=5e-3) and len(rates) == 310


@pytest.mark.filterwarnings('ignore:Detected call of')
def test_rates_of_fine_tuning_and_of_relabel():
    for name in FINE_TUNING:
        rates = rates_of(load(name))
        assert rates[0, 0] == pytest.approx(1e-6) and len(rates) == 30
        assert (np.diff(rates[:5].ravel()) > 0).all()
        assert rates[5:] == pytest.approx(5e-6)
    for name in RESNET:
        cfg, steps = load(name), 4
        peak, rates = cfg.optim_wrapper.optimizer.lr, rates_of(cfg, steps).ravel()
        assert peak == (2e-3 if 'cutmix' in name else 0.1)
        step = np.arange(5 * steps)
        warm_up = peak * step / (5 * steps)
        np.testing.assert_allclose(rates[: 5 * steps], warm_up, atol=0.06 * peak)
        step = np.arange(295 * steps)
        cosine = peak * (1 + np.cos(np.pi * step / (295 * steps))) / 2
        np.testing.assert_allclose(rates[5 * steps :], cosine, rtol=1e-6, atol=1e-9)
