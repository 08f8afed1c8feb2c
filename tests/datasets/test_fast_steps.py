"""Faster steps draw as the hosts' do, and make the same pictures of it."""

import copy

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.registry import FUNCTIONS, MODELS, TRANSFORMS, init_default_scope
from mmpretrain.datasets.transforms import auto_augment
from repository import ROOT, tool

from mmtlalign.datasets.transforms import BY_TABLE, RandAugment
from mmtlalign.errors import InputError

BASES = ROOT / 'configs/_base_/datasets'
with_host_steps = tool('benchmarks/benchmark_loader').with_host_steps


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def picture(height=90, width=120, seed=0):
    """Shapes, edges and noise, each channel with another range."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 400, (height, width, 3)), (0, 0), 5)
    img = 110 + noise + rng.normal(0, 8, noise.shape) + [0, 20, -20]
    img[height // 3 : height // 2] += 50
    return img.clip(10, 240).astype(np.uint8)


def both(kind, seed, img, **options):
    """What the host's step and ours make of a picture, and draw next."""
    made = []
    for name, backend in ((kind, 'pillow'), (f'mmtlalign.{kind}', 'torch')):
        given = dict(options, type=name)
        if kind == 'RandomResizedCrop':
            given['backend'] = backend
        step = TRANSFORMS.build(given)
        np.random.seed(seed)
        results = step(dict(img=img.copy()))
        made.append((results, np.random.rand()))
    (host, host_next), (ours, ours_next) = made
    assert host_next == ours_next
    assert host['img'].dtype == ours['img'].dtype == np.uint8
    assert host['img'].shape == ours['img'].shape
    return host, ours


# ------------------------------------------------------------------------- crops


# Both filters round their weights to integers, PyTorch to 16 bits or fewer, Pillow to
# 22: a value may come out one off, and two where it does so in both directions.
@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [(375, 500), (32, 32), (61, 1000)])
def test_crops_are_those_of_pillow(size, interpolation):
    share = []
    for seed in range(8):
        host, ours = both(
            'RandomResizedCrop',
            seed,
            picture(*size, seed),
            scale=64,
            interpolation=interpolation,
        )
        assert host['img_shape'] == ours['img_shape'] == (64, 64, 3)
        off = np.abs(host['img'].astype(int) - ours['img'])
        assert off.max() <= 2
        share.append((off > 0).mean())
    assert np.mean(share) < 0.03


@pytest.mark.parametrize('form', ['grey', 'grey plane', 'flipped', 'oblong'])
def test_crops_of_other_arrays(form):
    img, scale = picture(), (32, 32)
    if form == 'grey':
        img = img[..., 0]
    elif form == 'grey plane':
        img = img[..., :1]
    elif form == 'flipped':
        img = img[:, ::-1]
    else:
        scale = (40, 24)
    step = dict(type='mmtlalign.RandomResizedCrop', backend='torch')
    step = TRANSFORMS.build(dict(step, scale=scale, interpolation='bicubic'))
    results = step(dict(img=img))
    assert results['img'].shape == results['img_shape'] == scale + img.shape[2:]
    assert results['img'].flags.c_contiguous


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_other_backends_are_the_hosts(backend):
    found = []
    for kind in ('RandomResizedCrop', 'mmtlalign.RandomResizedCrop'):
        np.random.seed(1)
        step = TRANSFORMS.build(dict(type=kind, scale=32, backend=backend))
        found.append(step(dict(img=picture()))['img'])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(backend='torchvision'), "backend='torchvision': choose one of 'cv2'"),
        (dict(backend='torch', interpolation='area'), "takes 'bilinear' or 'bicubic'"),
    ],
)
def test_wrong_settings_of_a_crop(options, message):
    with pytest.raises(InputError, match=message):
        TRANSFORMS.build(dict(options, type='mmtlalign.RandomResizedCrop', scale=32))


# ------------------------------------------------------------------------- flips


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_flips_are_the_hosts_in_order(direction):
    flips = set()
    for seed in range(10):
        host, ours = both('RandomFlip', seed, picture(), prob=0.5, direction=direction)
        np.testing.assert_array_equal(host.pop('img'), ours['img'])
        assert ours.pop('img').flags.c_contiguous
        assert host == ours
        flips.add(ours['flip'])
    assert flips == {True, False}


def test_flip_moves_boxes_and_leaves_what_it_was_given():
    img = picture()
    flip = TRANSFORMS.build(dict(type='mmtlalign.RandomFlip', prob=1.0))
    given = dict(img=img, gt_bboxes=np.array([[0.0, 0, 20, 10]]))
    results = flip(given)
    assert results['gt_bboxes'].tolist() == [[100, 0, 120, 10]]
    np.testing.assert_array_equal(img, picture())
    assert flip(dict(img=img[..., 0]))['img'].shape == img.shape[:2]


# -------------------------------------------------------------------- RandAugment

OPTIONS = dict(
    policies='timm_increasing', num_policies=2, magnitude_level=9, magnitude_std=0.5
)


def test_rand_augment_makes_the_pixels_of_the_host():
    changed = 0
    for seed in range(150):
        img = picture(seed=seed)
        host, ours = both('RandAugment', seed, img, **OPTIONS)
        np.testing.assert_array_equal(host['img'], ours['img'])
        changed += (ours['img'] != img).any()
    assert 60 < changed < 145


HARD = {
    'picture': picture(),
    'one value': np.full((16, 16, 3), 77, np.uint8),
    'black': np.zeros((16, 16, 3), np.uint8),
    'two values': np.repeat(picture(16, 16)[..., :1] > 110, 3, axis=2) * np.uint8(255),
    'all values': np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, -1),
    'one channel': picture() * np.array([1, 0, 0], np.uint8),
    'noise': np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8),
    'flipped': picture()[:, ::-1],
}


@pytest.mark.parametrize('name', HARD)
@pytest.mark.parametrize('kind', BY_TABLE)
def test_tables_make_the_pixels_of_the_host(kind, name):
    amounts = np.linspace(-0.9, 0.9, 13) if kind is auto_augment.Contrast else [None]
    for amount in amounts:
        options = {} if amount is None else dict(magnitude=amount)
        step = kind(**options, prob=1.0)
        before = HARD[name].copy()
        np.random.seed(0)
        made = RandAugment.apply(step, dict(img=HARD[name]))['img']
        np.random.seed(0)
        np.testing.assert_array_equal(made, step(dict(img=HARD[name]))['img'])
        np.testing.assert_array_equal(before, HARD[name])  # which is left as it was


def test_no_table_for_what_is_no_picture_of_bytes():
    step = auto_augment.Contrast(magnitude=0.5, prob=0.0)
    for img in (picture()[..., 0], picture().astype(np.float32)):
        assert RandAugment.apply(step, dict(img=img))['img'] is img


# ------------------------------------------------------------------------ recipes

FILES = sorted(
    file.name for file in BASES.glob('*.py') if "'mmtlalign.Rand" in file.read_text()
)


@pytest.mark.parametrize('name', FILES)
def test_recipes_make_the_pictures_of_the_hosts_steps(name, tmp_path):
    cfg = Config.fromfile(BASES / name)
    steps = cfg.get('_plain_pipeline') or cfg.train_dataloader.dataset.pipeline
    # What it draws is tested by the host.
    steps = [dict(s) for s in steps if s.type not in ('RandomErasing', 'ColorJitter')]
    file = str(tmp_path / 'picture.png')
    cv2.imwrite(file, picture(188, 250))
    pipelines = [Compose(with_host_steps(steps)), Compose(steps)]
    assert 'mmtlalign.' not in repr(with_host_steps(steps))
    off = []
    for seed in range(12 if 'multicrop' not in name else 2):
        made = []
        for pipeline in pipelines:
            np.random.seed(seed)
            torch.manual_seed(seed)
            sample = dict(img=picture(32, 32), img_path=file, gt_label=3)
            inputs = pipeline(sample)['inputs']
            inputs = inputs if isinstance(inputs, list) else [inputs]
            made.append(torch.cat([one.flatten() for one in inputs]).int())
        off.append((made[0] - made[1]).abs())
    off = torch.cat(off)
    # What follows a crop stretches a difference of one, or takes it over a threshold.
    assert (off > 2).float().mean() < 0.01
    assert off.float().mean() < 0.15


def test_one_tensor_from_a_worker_is_the_batch_of_many():
    cfg = Config.fromfile(BASES / 'imagenet_224.py')
    for split in ('train', 'val'):
        collate = cfg[f'{split}_dataloader'].collate_fn.type
        assert FUNCTIONS.get(collate) is default_collate
    pack = TRANSFORMS.build(dict(type='PackInputs'))
    preprocess = MODELS.build(
        dict(cfg.data_preprocessor, type='mmtlalign.MixDataPreprocessor')
    )
    samples = [pack(dict(img=picture(seed=i), gt_label=i)) for i in range(3)]
    for training in (True, False):
        one, many = (
            preprocess(collate(copy.deepcopy(samples)), training)
            for collate in (default_collate, pseudo_collate)
        )
        assert torch.is_tensor(default_collate(samples)['inputs'])
        torch.testing.assert_close(one['inputs'], many['inputs'], rtol=0, atol=0)
        labels = [[int(s.gt_label) for s in d['data_samples']] for d in (one, many)]
        assert labels == [[0, 1, 2]] * 2
