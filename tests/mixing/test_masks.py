"""The mixers beside CutMix: each is a mask, so each can be traced."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models.utils import batch_augments as stock
from mmpretrain.registry import BATCH_AUGMENTS
from mmpretrain.structures import DataSample

import mmtlalign.mixing as ours
from mmtlalign.mixing.cutmix import ResizeMix
from mmtlalign.mixing.fmix import FMix, low_frequency_image
from mmtlalign.mixing.token_mix import GridMix, TokenMix

seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0, 1)
sides = st.integers(4, 40)
every_draw = settings(max_examples=100, deadline=None)

# Each fits images whose sides are multiples of 8, square or not.
MIXERS = {
    'ResizeMix': dict(),
    'ResizeMix one size': dict(scale=(0.5, 0.5)),
    'FMix': dict(),
    'FMix soft': dict(max_soft=0.3),
    'GridMix': dict(grid=5),
    'TokenMix': dict(patch_size=8),
    'TokenMix random': dict(patch_size=8, mask_type='random'),
}


def make(name, **options):
    return getattr(ours, name.split()[0])(**MIXERS[name], **options)


every_mixer = pytest.mark.parametrize('name', MIXERS)


def batch(count=5, height=24, width=40):
    images = torch.randn(count, 3, height, width)
    return images, torch.eye(7)[torch.arange(count) % 7]


@every_draw
@given(sides, sides, shares, seeds, st.floats(0, 0.5), st.floats(0, 4))
def test_fmix_takes_the_drawn_share_of_pixels(high, wide, lam, seed, soft, decay):
    np.random.seed(seed)
    mask = FMix(decay_power=decay).draw_mask((high, wide), lam)
    assert mask.shape == (high, wide) and mask.dtype == np.float32
    assert set(np.unique(mask)) <= {0, 1}
    assert abs(mask.sum() - (1 - lam) * high * wide) <= 0.5 + 1e-6
    mask = FMix(decay_power=decay, max_soft=soft).draw_mask((high, wide), lam)
    assert mask.min() >= 0 and mask.max() <= 1
    assert abs(mask.sum() - (1 - lam) * high * wide) <= 0.5 + 1e-3
    # Half of the soft pixels lie on either side of the threshold.
    blended = ((mask > 0) & (mask < 1)).sum()
    assert blended <= 2 * soft * high * wide + 1


@every_draw
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), shares, seeds)
def test_token_masks_take_the_drawn_share_of_tokens(rows, columns, patch, lam, seed):
    np.random.seed(seed)
    for mask_type in ('block', 'random'):
        augment = TokenMix(patch_size=patch, mask_type=mask_type)
        mask = augment.draw_mask((rows * patch, columns * patch), lam)
        assert mask.dtype == np.float32
        assert set(np.unique(mask)) <= {0, 1}
        # No token shows both images.
        tokens = mask.reshape(rows, patch, columns, patch).mean((1, 3))
        assert set(np.unique(tokens)) <= {0, 1}
        assert abs(tokens.sum() - (1 - lam) * rows * columns) <= 0.5 + 1e-6


@every_draw
@given(sides, sides, st.integers(2, 9), shares, seeds)
def test_grid_masks_take_the_drawn_share_of_cells(high, wide, grid, lam, seed):
    np.random.seed(seed)
    high, wide = max(high, grid), max(wide, grid)
    mask = GridMix(grid=grid).draw_mask((high, wide), lam)
    assert mask.shape == (high, wide) and mask.dtype == np.float32
    assert set(np.unique(mask)) <= {0, 1}
    count = round((1 - lam) * grid**2)
    small = (high // grid) * (wide // grid)
    large = -(-high // grid) * -(-wide // grid)
    # Cells are equal where the grid divides the image, or differ by one pixel.
    assert count * small <= mask.sum() <= count * large


@every_draw
@given(sides, sides, shares, seeds, st.floats(0.01, 1), st.floats(0.01, 1))
def test_resizemix_pastes_a_small_image_inside(high, wide, lam, seed, one, other):
    np.random.seed(seed)
    low, top = sorted((one, other))
    mask = ResizeMix(scale=(low, top)).draw_mask((high, wide), lam)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    scale = low + (top - low) * (1 - lam)
    assert len(rows) == max(round(scale * high), 1)
    assert len(columns) == max(round(scale * wide), 1)
    assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert mask.sum() == len(rows) * len(columns)


def test_resizemix_reaches_every_place():
    seen = np.zeros((8, 8))
    for _ in range(400):
        seen += ResizeMix(scale=(0.25, 0.25)).draw_mask((8, 8), 0.5)
    # A corner lies in one of the 49 boxes, the middle in four.
    assert seen.min() > 0
    assert seen[0, 0] < seen[4, 4]


def test_resizemix_shows_the_whole_partner():
    images, labels = batch(count=4)
    mix = ResizeMix(scale=(0.3, 0.8), pairing='random').mix(images, labels)
    inside = mix.mask[0, 0] > 0
    rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
    for own, partner, mixed in zip(images, images[mix.partner], mix.images):
        size = len(rows), len(columns)
        small = F.interpolate(partner[None], size, mode='bilinear')[0]
        torch.testing.assert_close(mixed[:, inside], small.flatten(1))
        assert torch.equal(mixed[:, ~inside], own[:, ~inside])


def test_fmix_spectrum_falls_with_the_frequency():
    """The power of the noise falls as frequency^(-2 * decay_power)."""
    for decay in (1.0, 3.0):
        power = np.mean(
            [
                abs(np.fft.rfft2(low_frequency_image((64, 48), decay))) ** 2
                for _ in range(60)
            ],
            axis=0,
        )
        frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(48))
        inner = np.s_[1:31, 1:23]  # the edges of the half plane are folded
        logs = np.log(frequency[inner].ravel()), np.log(power[inner].ravel())
        assert np.polyfit(*logs, 1)[0] == pytest.approx(-2 * decay, abs=0.1)


def borders(mask):
    return abs(np.diff(mask, axis=0)).sum() + abs(np.diff(mask, axis=1)).sum()


def test_smoother_masks_have_shorter_borders():
    def mean(augment):
        return np.mean([borders(augment.draw_mask((64, 64), 0.5)) for _ in range(20)])

    assert mean(FMix(decay_power=3)) < 0.5 * mean(FMix(decay_power=1))
    random = mean(TokenMix(patch_size=4, mask_type='random'))
    assert mean(TokenMix(patch_size=4)) < 0.75 * random


@pytest.mark.parametrize('mask_type', ['block', 'random'])
def test_token_masks_favour_no_corner(mask_type):
    """Mirrored masks are as likely: 600 draws, five deviations."""
    augment = TokenMix(patch_size=1, mask_type=mask_type)
    mean = np.mean([augment.draw_mask((6, 9), 0.5) for _ in range(600)], axis=0)
    bound = 5 * np.sqrt(2 * 0.25 / 600)
    assert abs(mean - mean[::-1]).max() < bound
    assert abs(mean - mean[:, ::-1]).max() < bound


@every_mixer
def test_draws_follow_numpys_seed(name):
    images, labels = batch()
    mixes = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        mixes.append(make(name).mix(images, labels))
    assert torch.equal(mixes[0].mask, mixes[1].mask)
    assert torch.equal(mixes[0].images, mixes[1].images)
    assert not torch.equal(mixes[0].mask, mixes[2].mask)


@every_mixer
@pytest.mark.parametrize('count', [1, 4, 5])
def test_batch_stays_as_it_is_and_labels_sum_to_one(name, count):
    images, labels = batch(count)
    before = images.clone(), labels.clone()
    for _ in range(10):
        mixed, target = make(name)(images, labels)
        assert torch.equal(images, before[0]) and torch.equal(labels, before[1])
        assert mixed.shape == images.shape and target.shape == labels.shape
        torch.testing.assert_close(target.sum(1), torch.ones(count))
    assert mixed.data_ptr() != images.data_ptr()


@every_mixer
def test_prob_zero_mixes_nothing(name):
    images, labels = batch()
    for _ in range(20):
        mixed, target = make(name, prob=0.0)(images, labels)
        assert torch.equal(mixed, images) and torch.equal(target, labels)


@pytest.mark.parametrize('lam, share', [(0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize('name', [n for n in MIXERS if 'Resize' not in n])
def test_all_or_nothing(name, lam, share, monkeypatch):
    augment = make(name)
    monkeypatch.setattr(augment, '_draw_lam', lambda: lam)
    images, labels = batch()
    mix = augment.mix(images, labels)
    assert mix.area().tolist() == [share] * 5
    assert torch.equal(mix.images, images.flip(0) if share else images)


@every_mixer
def test_no_value_is_read_back_from_the_device(name):
    """On the meta device there are none to read: reading one is an error."""
    images, labels = batch()
    for pairing in ('flip', 'random'):
        mixed, target = make(name, pairing=pairing)(
            images.to('meta'), labels.to('meta')
        )
        assert mixed.shape == images.shape and mixed.is_meta and target.is_meta


VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=32, num_layers=2, num_heads=1, feedforward_channels=32),
    img_size=32,
    patch_size=8,
)


def classifier(name, kind, head, backbone=VIT):
    init_default_scope('mmpretrain')
    config = dict(
        type=kind,
        backbone=backbone,
        head=dict(type=head, num_classes=7, in_channels=32),
        train_cfg=dict(
            augments=[dict(type=f'mmtlalign.{name.split()[0]}', **MIXERS[name])]
        ),
        data_preprocessor=dict(num_classes=7, to_onehot=True),
    )
    config['head']['loss'] = dict(type='CrossEntropyLoss', use_soft=True)
    return MODELS.build(copy.deepcopy(config)).train()


@every_mixer
@pytest.mark.parametrize(
    'kind, head',
    [
        ('ImageClassifier', 'LinearClsHead'),
        ('mmtlalign.MixClassifier', 'mmtlalign.TLAlignLinearClsHead'),
    ],
)
def test_one_training_step(name, kind, head):
    model = classifier(name, kind, head)
    samples = [DataSample().set_gt_label(y) for y in range(5)]
    data = dict(inputs=torch.randint(0, 255, (5, 3, 32, 32)), data_samples=samples)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.head.fc.weight.clone()
    loss = model(**model.data_preprocessor(data, training=True), mode='loss')['loss']
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert not torch.equal(model.head.fc.weight, before)


def only_looks_at_itself(backbone):
    """Every token has a code of its own, and attends to its code alone."""
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
        tokens = backbone.pos_embed.shape[1]
        backbone.pos_embed.copy_(torch.eye(tokens, 32))
        for layer in backbone.layers:
            layer.ln1.weight.fill_(1)
            layer.attn.qkv.weight[:64].copy_(10 * torch.eye(32).repeat(2, 1))


@every_mixer
@pytest.mark.parametrize('out_type', ['cls_token', 'avg_featmap'])
def test_attention_that_moves_nothing_leaves_the_area(name, out_type):
    model = classifier(
        name,
        'mmtlalign.MixClassifier',
        'mmtlalign.TLAlignLinearClsHead',
        dict(VIT, out_type=out_type),
    )
    only_looks_at_itself(model.backbone)
    mix = make(name).mix(*batch(4, 32, 32))
    with model.head.trace(model.backbone, mix) as seen:
        model.extract_feat(mix.images)
    (share,) = model.head.partner_shares(mix, seen)
    torch.testing.assert_close(share, mix.area())
    torch.testing.assert_close(mix.target(share), mix.target(mix.area()))


def test_names_are_ours_only_with_the_prefix():
    init_default_scope('mmpretrain')
    for name, default in (('ResizeMix', 1.0), ('CutMix', 1.0), ('Mixup', 0.8)):
        mine = BATCH_AUGMENTS.build(dict(type=f'mmtlalign.{name}', alpha=default))
        hosts = BATCH_AUGMENTS.build(dict(type=name, alpha=default))
        assert type(mine) is getattr(ours, name)
        assert type(hosts) is getattr(stock, name)


@pytest.mark.parametrize(
    'bad, message',
    [
        (partial(FMix, decay_power=-1), 'decay_power=-1.*0 or more'),
        (partial(FMix, decay_power=float('nan')), 'decay_power=nan.*0 or more'),
        (partial(FMix, max_soft=0.6), 'max_soft=0.6.*0 .hard edge. to 0.5'),
        (partial(FMix, alpha=0), 'alpha=0.*positive'),
        (partial(GridMix, grid=1), 'grid=1: .*2 or more'),
        (partial(GridMix, grid=2.5), 'grid=2.5: give integer'),
        (partial(ResizeMix, scale=(0.8, 0.1)), r'scale=\(0.8, 0.1\).*low <= high'),
        (partial(ResizeMix, scale=(0, 0.5)), r'scale=\(0, 0.5\).*0 < low'),
        (partial(ResizeMix, scale=(0.5, 2)), r'scale=\(0.5, 2\).*<= 1'),
        (partial(TokenMix, mask_type='blocks'), "'blocks'.*'block' or 'random'"),
        (partial(TokenMix, patch_size=1.5), 'patch_size=1.5.*integer number of pixels'),
        (lambda: TokenMix(patch_size=16)(*batch()), 'patch_size=16 does not.*24x40'),
        (lambda: GridMix(grid=30)(*batch()), 'grid=30 .*24x40.*coarser'),
    ],
)
def test_bad_arguments(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()
