"""Transfer classification: the configs, their data, one run on real images."""

import copy
import functools
import itertools
import logging
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmpretrain.datasets import RepeatAugSampler
from mmpretrain.models import ImageClassifier
from repository import ROOT
from scipy.io import savemat
from small_runs import losses, scores, train, without_memory
from weight_decay import check_optimiser

from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.validation.config import load_config

FOLDER = ROOT / 'configs'
CONFIGS = {path.stem: path for path in sorted((FOLDER / 'transfer').glob('*.py'))}

# ------------------------------------------------ each file is what its name says

BACKBONES = {
    'deit-tiny-p16': ('deit_tiny', 'deit-tiny-p16_8xb128'),
    'deit-small-p16': ('deit_small', 'deit-small-p16_8xb128'),
    'deit-base-p16': ('deit_base', 'deit-base-p16_8xb128'),
    'swin-tiny-p4-w7': ('swin_tiny', 'swin-tiny-p4-w7_16xb64'),
    'dhvt-small-p16': ('dhvt_small', 'dhvt-small-p16_2xb128'),
    'lvvit-small-p16': ('lvvit_small', 'lvvit-small-p16_8xb128'),
}
# What pretrains a backbone, its control, for how long, and the recipes that follow.
PRETRAINING = {
    'lvvit-small-p16': ('token-label', 'mixtoken', 310, ['adamw']),
    None: ('tlalign', 'cutmix', 300, ['sgd', 'adamw']),
}
# Data base, classes, images to train on (of DomainNet: clipart).
DATA = {
    'cifar10-224px': ('cifar10_224px_transfer', 10, 50_000),
    'cifar100-224px': ('cifar100_224px_transfer', 100, 50_000),
    'flowers102': ('flowers102_224', 102, 2040),
    'stanford-cars': ('stanford_cars_224', 196, 8144),
    'domainnet': ('domainnet_224_transfer', 345, 33_525),
}
RECIPES = dict(sgd=0.0, adamw=0.1)  # and their stochastic depth


def pretraining(backbone):
    return PRETRAINING.get(backbone, PRETRAINING[None])


NAMES = {
    f'{backbone}_{method}-in1k-pre_{recipe}-1000e_{data}': (backbone, recipe, data)
    for backbone in BACKBONES
    for method, _, _, recipes in [pretraining(backbone)]
    for recipe, data in itertools.product(recipes, DATA)
}


@pytest.fixture(autouse=True)
def _without_a_line_for_every_parameter():
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@functools.cache
def parsed(name):
    return Config.fromfile(CONFIGS[name])


def load(name):
    cfg = copy.deepcopy(parsed(name))
    init_default_scope(cfg.default_scope)
    return cfg


def test_every_backbone_meets_every_recipe_and_data_set():
    assert CONFIGS.keys() == NAMES.keys()


@functools.cache
def part(path):
    return Config.fromfile(FOLDER / path).to_dict()


@pytest.mark.parametrize('name', NAMES)
def test_the_file_is_what_its_name_says(name):
    backbone, recipe, data = NAMES[name]
    model, run = BACKBONES[backbone]
    base, classes, images = DATA[data]
    # Of the same recipe, but for its rate.
    rate = '_cifar100' if (recipe, data) == ('adamw', 'cifar100-224px') else ''
    parts = [
        part(f'transfer/_base_/{model}.py'),
        part(f'_base_/datasets/{base}.py'),
        part(f'_base_/schedules/transfer_{recipe}_1000e{rate}.py'),
        part('transfer/_base_/runtime.py'),
    ]
    composed = copy.deepcopy({k: v for settings in parts for k, v in settings.items()})
    composed['model']['backbone']['drop_path_rate'] = RECIPES[recipe]
    composed['model']['head']['num_classes'] = classes
    method, plain, epochs, _ = pretraining(backbone)
    ours, control = (f'{way}_{run}-coslr-{epochs}e_in1k' for way in (method, plain))
    composed['pretrained'] = f'work_dirs/{ours}/epoch_{epochs}.pth'
    given = load(name)
    assert given.to_dict() == composed
    assert given.data_preprocessor.num_classes == classes

    head = CONFIGS[name].read_text().split('_base_ =')[0]
    assert f' configs/transfer/{name}.py 8 --amp' in head
    assert f'pretrained=work_dirs/{control}/epoch_{epochs}.pth' in head
    assert recipe_file(control).is_file() and recipe_file(ours).is_file()
    assert f'{steps_of(given, images):,} steps' in head


def recipe_file(stem):
    (file,) = FOLDER.glob(f'*/{stem}.py')
    return file


def steps_of(cfg, images, gpus=8):
    """Steps of a run on so many GPUs: the full batches of one GPU's share."""
    sampler = 'mmpretrain.datasets.samplers.repeat_aug'
    with patch(f'{sampler}.get_dist_info', return_value=(0, gpus)):
        share = len(RepeatAugSampler(range(images), seed=0))
    assert cfg.train_dataloader.drop_last
    return share // cfg.train_dataloader.batch_size * cfg.train_cfg.max_epochs


def test_the_recipes_are_those_of_the_sources():
    sgd, adamw, cifar100 = (
        load(f'deit-small-p16_tlalign-in1k-pre_{rest}')
        for rest in (
            'sgd-1000e_stanford-cars',
            'adamw-1000e_cifar10-224px',
            'adamw-1000e_cifar100-224px',
        )
    )
    optimizer = sgd.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('SGD', 0.01, 1e-4)
    for cfg, rate in ((adamw, 7.5e-6), (cifar100, 5e-6)):
        optimizer = cfg.optim_wrapper.optimizer
        found = (optimizer.type, optimizer.lr, optimizer.weight_decay)
        assert found == ('AdamW', rate, 0.05)
    for cfg in (sgd, adamw, cifar100):
        warm_up, cosine = cfg.param_scheduler
        start = warm_up.start_factor * cfg.optim_wrapper.optimizer.lr
        assert start == pytest.approx(1e-6) and warm_up.end == cosine.begin == 5
        if cfg is sgd:
            assert cosine.eta_min < cfg.optim_wrapper.optimizer.lr
            continue
        # Whatever --auto-scale-lr makes of the rate, the cosine decreases.
        lowest = cosine.eta_min_ratio * cfg.optim_wrapper.optimizer.lr
        assert lowest == pytest.approx(1e-6) and cosine.eta_min_ratio < 1
        assert cfg.train_cfg.max_epochs == 1000
        # 8 GPUs.
        assert 8 * cfg.train_dataloader.batch_size == 768
        assert cfg.auto_scale_lr.base_batch_size == 768
        assert cfg.train_dataloader.sampler.type == 'RepeatAugSampler'
        steps = [step.type for step in cfg.train_dataloader.dataset.pipeline]
        assert 'mmtlalign.RandAugment' in steps and 'RandomErasing' not in steps
        assert cfg.model.head.loss.label_smooth_val == 0.1
        mixes = cfg.model.train_cfg.augments
        assert [(m.type, m.alpha) for m in mixes] == [('Mixup', 0.8), ('CutMix', 1.0)]


# ------------------------------------------------------------------- the model

DATA_OF = {data: name for name, (_, _, data) in NAMES.items()}
MODEL_OF = {(b, r): name for name, (b, r, _) in NAMES.items()}


def pretraining_of(cfg):
    return part(recipe_file(Path(cfg.pretrained).parent.name))['model']


@pytest.mark.parametrize('name', MODEL_OF.values())
def test_the_backbone_is_that_of_the_recipe_which_writes_the_checkpoint(name):
    cfg = load(name)
    given, own = pretraining_of(cfg)['backbone'], cfg.model.backbone.to_dict()
    assert dict(given, drop_path_rate=0) == dict(own, drop_path_rate=0)
    whole = dict(cfg.model, data_preprocessor=cfg.data_preprocessor)
    model = without_memory(whole)
    assert type(model) is ImageClassifier
    check_optimiser(model, cfg)


SMALL = {
    'deit-tiny-p16': dict(
        embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48
    ),
    'swin-tiny-p4-w7': dict(embed_dims=8, depths=[1] * 4, num_heads=[1, 2, 4, 8]),
    'dhvt-small-p16': dict(
        embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48
    ),
    'lvvit-small-p16': dict(
        embed_dims=24,
        num_layers=2,
        num_heads=3,
        feedforward_channels=72,
        skip_lam=2,
        stem_channels=8,
    ),
}
WIDTH = {
    'deit-tiny-p16': 24,
    'swin-tiny-p4-w7': 64,
    'dhvt-small-p16': 24,
    'lvvit-small-p16': 24,
}


@pytest.mark.parametrize('backbone', SMALL)
def test_a_pretraining_checkpoint_fills_the_backbone_and_no_head(backbone, tmp_path):
    cfg = load(MODEL_OF[backbone, 'adamw'])
    source, model = (
        MODELS.build(
            dict(
                settings,
                type='ImageClassifier',
                train_cfg=None,
                backbone=dict(settings['backbone'], arch=SMALL[backbone]),
                head=dict(
                    cfg.model.head, in_channels=WIDTH[backbone], num_classes=classes
                ),
            )
        )
        for settings, classes in ((pretraining_of(cfg), 1000), (cfg.model, 10))
    )
    for tensor in source.state_dict().values():
        if tensor.is_floating_point():
            tensor.fill_(0.25)
    file = tmp_path / 'epoch_300.pth'
    torch.save(dict(state_dict=source.state_dict()), file)
    before = copy.deepcopy(model.state_dict())
    lines = load_backbone(model.backbone, file)
    own = model.backbone.state_dict()
    assert f'{len(own)} of {len(own)} tensors' in lines[0] and len(lines) == 1
    for name, tensor in model.state_dict().items():
        if not name.startswith('backbone.'):
            assert tensor.equal(before[name]), name
        elif tensor.is_floating_point():
            assert (tensor == 0.25).all() and not tensor.equal(before[name]), name


def test_the_class_token_of_lvvit_learns_alone():
    cfg = load(MODEL_OF['lvvit-small-p16', 'adamw'])
    model = without_memory(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    assert not any('aux_head' in name for name, _ in model.named_parameters())
    assert (model.head.class_target, model.head.smoothing) == ('label', 0.1)
    assert 'LabelMap' not in repr(cfg.train_dataloader)


# -------------------------------------------------------------------- the data

RED = (200, 30, 10)


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('data', DATA_OF)
def test_a_red_picture_reaches_the_network_red(data, split, tmp_path):
    cfg = load(DATA_OF[data])
    steps = cfg[f'{split}_dataloader'].dataset.pipeline
    # What is drawn at random changes colours.
    kept = [s for s in steps if not s.type.endswith(('RandAugment', 'RandomFlip'))]
    side = 32 if 'cifar' in data else 300
    picture = np.full((side, side + side // 4, 3), RED, np.uint8)
    sample = dict(img=picture, gt_label=1)
    if 'cifar' not in data:
        file = str(tmp_path / 'red.png')
        cv2.imwrite(file, picture[..., ::-1])
        sample = dict(img_path=file, gt_label=1)
    packed = Compose(kept)(sample)
    assert packed['inputs'].shape == (3, 224, 224)
    preprocessor = MODELS.build(dict(cfg.data_preprocessor, type='ClsDataPreprocessor'))
    out = preprocessor(dict(inputs=[packed['inputs']], data_samples=None))['inputs'][0]
    mean, std = (torch.tensor(cfg.data_preprocessor[key]) for key in ('mean', 'std'))
    assert mean.tolist() == pytest.approx([123.675, 116.28, 103.53])  # RGB
    colours = out.mean(dim=(1, 2)) * std + mean
    torch.testing.assert_close(colours, torch.tensor(RED).float(), rtol=0, atol=0.5)


@pytest.mark.parametrize('data', DATA_OF)
def test_what_rotation_uncovers_is_the_mean_in_the_order_of_the_picture(data):
    cfg = load(DATA_OF[data])
    (augment,) = [
        step
        for step in cfg.train_dataloader.dataset.pipeline
        if step.type == 'mmtlalign.RandAugment'
    ]
    rgb = [round(value) for value in cfg.data_preprocessor.mean]
    own_order = rgb[::-1] if cfg.data_preprocessor.to_rgb else rgb
    assert augment.hparams.pad_val == own_order
    assert cfg.data_preprocessor.to_rgb is ('cifar' not in data)


@pytest.mark.parametrize('data', DATA_OF)
def test_augmented_pictures_have_the_size_of_the_recipe(data, tmp_path):
    pipeline = Compose(load(DATA_OF[data]).train_dataloader.dataset.pipeline)
    picture = np.random.randint(0, 256, (32, 32, 3), np.uint8)
    file = str(tmp_path / 'picture.jpg')
    cv2.imwrite(file, cv2.resize(picture, (320, 240)))
    for _ in range(5):
        inputs = pipeline(dict(img=picture, img_path=file, gt_label=3))['inputs']
        assert inputs.shape == (3, 224, 224) and inputs.dtype == torch.uint8


def write_flowers(folder):
    """The official lists in the official format, of the official sizes."""
    labels = np.arange(8189) % 102 + 1
    order = np.random.permutation(8189) + 1
    savemat(folder / 'imagelabels.mat', dict(labels=labels[None].astype(np.uint8)))
    ids = dict(trnid=order[:1020], valid=order[1020:2040], tstid=order[2040:])
    savemat(
        folder / 'setid.mat', {k: v[None].astype(np.uint16) for k, v in ids.items()}
    )
    return labels, ids


def build(cfg, split):
    return DATASETS.build(cfg[f'{split}_dataloader'].dataset)


def test_flowers_trains_on_both_lists_and_tests_on_the_third(tmp_path):
    labels, ids = write_flowers(tmp_path)
    name = DATA_OF['flowers102']
    cfg = load_config(str(CONFIGS[name]), dict(data_root=str(tmp_path)))
    init_default_scope('mmpretrain')
    train, test = build(cfg, 'train'), build(cfg, 'test')
    assert (len(train), len(test)) == (2040, 6149)
    assert cfg.test_dataloader == cfg.val_dataloader
    for dataset, numbers in (
        (train, np.concatenate([ids['trnid'], ids['valid']])),
        (test, ids['tstid']),
    ):
        last = dataset.get_data_info(len(dataset) - 1)
        assert last['img_path'] == f'{tmp_path}/jpg/image_{numbers[-1]:05d}.jpg'
        assert last['gt_label'] == labels[numbers[-1] - 1] - 1
        assert set(dataset.get_gt_labels()) == set(range(102))


def cars(train, test):
    """The annotations of that many pictures, as the official file has them."""
    count = train + test
    kind = [('relative_im_path', 'O'), ('class', 'u1'), ('test', 'u1')]
    table = np.zeros((1, count), dtype=kind)
    for i in range(count):
        table[0, i] = (f'car_ims/{i + 1:06d}.jpg', i % 196 + 1, i >= train)
    return table


def test_cars_trains_on_the_official_list_and_tests_on_the_other(tmp_path):
    table = cars(train=400, test=300)
    savemat(tmp_path / 'cars_annos.mat', dict(annotations=table))
    name = DATA_OF['stanford-cars']
    cfg = load_config(str(CONFIGS[name]), dict(data_root=str(tmp_path)))
    init_default_scope('mmpretrain')
    train, test = build(cfg, 'train'), build(cfg, 'test')
    assert (len(train), len(test)) == (400, 300)
    assert train.get_data_info(399)['img_path'] == f'{tmp_path}/car_ims/000400.jpg'
    assert test.get_data_info(0)['gt_label'] == 400 % 196
    assert set(train.get_gt_labels()) == set(range(cfg.model.head.num_classes))


def test_one_option_moves_every_path_of_the_data():
    for name in DATA_OF.values():
        cfg = load_config(str(CONFIGS[name]), dict(data_root='elsewhere'))
        for split in ('train', 'val', 'test'):
            assert cfg[f'{split}_dataloader'].dataset.data_root == 'elsewhere'


# ------------------------------------------------------------ one run, real images


@pytest.mark.real_data
def test_fine_tuning_on_cifar10_starts_from_the_checkpoint(unpack, tmp_path):
    cfg = load('deit-tiny-p16_tlalign-in1k-pre_adamw-1000e_cifar10-224px')
    arch = dict(embed_dims=96, num_layers=3, num_heads=3, feedforward_channels=192)
    cfg.model.backbone.update(arch=arch, patch_size=32)
    cfg.model.head.in_channels = 96
    dataset = dict(type='CustomDataset', data_root=str(unpack('cifar10')))
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        # The archive has files, where the recipe has arrays.
        steps = [dict(type='LoadImageFromFile'), *loader.dataset.pipeline]
        folder = 'train' if split == 'train' else 'test'
        loader.dataset = dict(dataset, data_prefix=folder, pipeline=steps)
    cfg.val_dataloader.dataset.indices = list(range(0, 10000, 100))
    cfg.data_preprocessor.to_rgb = True
    cfg.train_dataloader.batch_size = 32
    # A copy, since the host adds to the list of probabilities that it is given.
    start = MODELS.build(copy.deepcopy(cfg.model))
    cfg.pretrained = str(tmp_path / 'epoch_300.pth')
    torch.save(dict(state_dict=start.state_dict()), cfg.pretrained)

    runner = train(cfg, tmp_path / 'run', iterations=2, lr=7.5e-6)

    # AdamW moves no weight by much more than its rate, so two steps from the file
    # end beside it; the head began elsewhere.
    now = runner.model.state_dict()
    far = {
        name: (now[name] - tensor).abs().max().item()
        for name, tensor in start.state_dict().items()
    }
    assert all(0 < far[name] < 3 * 7.5e-6 for name in far if 'backbone.' in name)
    assert far['head.layers.head.weight'] > 1e-3
    assert np.isfinite(losses(tmp_path / 'run')).all()
    assert 0 <= scores(tmp_path / 'run')['accuracy/top1'] <= 100
