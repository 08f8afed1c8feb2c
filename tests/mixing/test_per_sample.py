"""Masks of their own for every image or pair, and augments chosen image by image."""

from functools import partial

import batch_mode
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtlalign.errors import InputError
from mmtlalign.methods.mixer import BatchMixer
from mmtlalign.mixing.augments import Mixup
from mmtlalign.mixing.cutmix import CutMix, ResizeMix
from mmtlalign.mixing.fmix import FMix
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.mixtoken import MixToken
from mmtlalign.mixing.token_mix import GridMix, TokenCutMix, TokenMix

AUGMENTS = {
    'mixup': partial(Mixup, 0.8),
    'cutmix': CutMix,
    'minmax': partial(CutMix, cutmix_minmax=(0.2, 0.8)),
    'resizemix': ResizeMix,
    'fmix': FMix,
    'fmix soft': partial(FMix, max_soft=0.3),
    'gridmix': partial(GridMix, grid=4),
    'tokencutmix': partial(TokenCutMix, patch_size=8),
    'tokenmix': partial(TokenMix, patch_size=8),
    'tokenmix random': partial(TokenMix, patch_size=8, mask_type='random'),
}
every_augment = pytest.mark.parametrize('name', AUGMENTS)


def batch(count, height=24, width=40):
    images = torch.arange(count * 3 * height * width).float()
    return images.view(count, 3, height, width), torch.eye(9)[:count]


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(sorted(AUGMENTS)),
    st.sampled_from(['elem', 'pair']),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(1, 7),
    st.integers(0, 2**32 - 1),
)
def test_record_says_what_was_done(name, mode, prob, count, seed):
    np.random.seed(seed)
    images, labels = batch(count)
    before = images.clone()
    mix = AUGMENTS[name](prob=prob, mode=mode).mix(images, labels)
    assert torch.equal(images, before)
    mask = mix.mask.expand(count, -1, -1, -1)
    assert mask.min() >= 0 and mask.max() <= 1
    torch.testing.assert_close(mix.area(), mask.mean((1, 2, 3)))
    if name != 'resizemix':
        expected = before + (before[mix.partner] - before) * mask
        torch.testing.assert_close(mix.images, expected, rtol=1e-5, atol=1e-2)
    own = mask.expand(-1, 3, -1, -1) == 0
    assert torch.equal(mix.images[own], before[own])
    if mode == 'pair':
        # The middle image of an odd batch meets itself.
        assert torch.equal(mask, mask.flip(0))
    target = mix.target(mix.area())
    torch.testing.assert_close(target.sum(1), torch.ones(count))


@every_augment
def test_images_differ_and_empty_ones_stay(name):
    np.random.seed(2)
    images, labels = batch(8)
    mix = AUGMENTS[name](prob=0.5, mode='elem').mix(images, labels)
    areas = mix.area()
    assert len(set(areas.tolist())) > 2
    assert torch.equal(mix.images[areas == 0], images[areas == 0])
    pairs = AUGMENTS[name](mode='pair').mix(images, labels)
    assert len(set(pairs.area()[:4].tolist())) > 2


@every_augment
def test_one_image_of_its_own_is_a_batch_of_one(name, monkeypatch):
    """With the same share the same mask is drawn."""
    images, labels = batch(1)
    masks = []
    for mode in ('batch', 'elem', 'pair'):
        augment = AUGMENTS[name](mode=mode)
        lams = np.array([0.4])
        monkeypatch.setattr(augment, 'draw_lams', lambda batch, lams=lams: lams)
        np.random.seed(4)
        masks.append(augment.mix(images, labels).mask)
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[0], masks[2])


@pytest.mark.parametrize('mode', ['elem', 'pair'])
@every_augment
def test_in_place_gives_the_same_and_nothing_is_read_back(name, mode):
    images, labels = batch(5)
    mixes = []
    for inplace in (False, True):
        np.random.seed(3)
        given_images = images.clone()
        mix = AUGMENTS[name](mode=mode).mix(given_images, labels, inplace=inplace)
        assert (mix.images is given_images) == inplace
        mixes.append(mix)
    assert torch.equal(mixes[0].images, mixes[1].images)
    mix = AUGMENTS[name](mode=mode).mix(images.to('meta'), labels.to('meta'))
    assert mix.images.is_meta


@pytest.mark.parametrize('mode', ['elem', 'pair'])
def test_resizemix_shows_each_whole_partner(mode):
    np.random.seed(5)
    images, labels = torch.randn(5, 3, 24, 40), torch.eye(5)
    mix = ResizeMix(mode=mode, pairing='flip').mix(images, labels)
    for own, other, mixed, mask in zip(images, images.flip(0), mix.images, mix.mask):
        inside = mask[0] > 0
        size = int(inside.any(1).sum()), int(inside.any(0).sum())
        small = F.interpolate(other[None], size, mode='bilinear')[0]
        torch.testing.assert_close(mixed[:, inside], small.flatten(1))
        assert torch.equal(mixed[:, ~inside], own[:, ~inside])


@pytest.mark.parametrize('mode', ['elem', 'pair'])
def test_augments_are_chosen_image_by_image(mode):
    np.random.seed(1)
    images, labels = torch.randn(8, 3, 24, 40), torch.eye(8)
    augments = [CutMix(), Mixup(0.8), ResizeMix(prob=0.5)]
    mix = BatchMixer(augments, [0.3, 0.3, 0.3], mode=mode)(images.clone(), labels)
    kinds = set()
    for own, other, mixed, mask in zip(images, images.flip(0), mix.images, mix.mask):
        values = mask.unique()
        hard = set(values.tolist()) <= {0.0, 1.0}
        kinds.add('box' if hard and len(values) == 2 else 'all' if hard else 'blend')
        assert torch.equal(mixed[:, mask[0] == 0], own[:, mask[0] == 0])
        if not hard:
            torch.testing.assert_close(mixed, torch.lerp(own, other, mask))
    assert {'box', 'blend'} <= kinds
    never = BatchMixer(augments, [0.0, 0.0, 0.0], mode=mode)
    assert torch.equal(never(images.clone(), labels).images, images)


@pytest.mark.parametrize('mode', ['elem', 'pair'])
def test_a_batch_of_one_gets_the_augment_that_was_drawn(mode):
    images, labels = torch.randn(1, 3, 24, 40), torch.eye(4)[:1]
    np.random.seed(0)
    mixer = BatchMixer([ResizeMix(), Mixup(0.8)], [0.0, 1.0], mode=mode)
    mix = mixer(images.clone(), labels)
    assert 0 < mix.mask.min() == mix.mask.max() < 1
    torch.testing.assert_close(mix.images, images)  # it is its own partner


@pytest.mark.parametrize('head', ['TLAlign', 'TransMix'])
def test_shares_of_many_masks_are_those_of_each(head):
    np.random.seed(6)
    net = batch_mode.model(head, dict(type='CutMix', mode='elem'), None).eval()
    images, labels = batch_mode.images(), torch.eye(7)[:5]
    mix = CutMix(mode='elem').mix(images, labels)

    def shares(record):
        with net.head.trace(net.backbone, record) as trace:
            net.extract_feat(record.images)
        return net.head.partner_shares(record, trace)[0]

    together = shares(mix)
    for i in range(5):
        # One image beside itself: the batch must be as large as its partners.
        alone = Mix(
            mix.images[[i, i]],
            labels[[i, 4 - i]],
            torch.tensor([1, 0]),
            mix.mask[[i]],
        )
        torch.testing.assert_close(shares(alone)[0], together[i], rtol=0, atol=1e-6)
    assert together.std() > 0.01
    loss = net.train()(images, batch_mode.samples(), mode='loss')['loss']
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize(
    'make, message',
    [
        (partial(CutMix, mode='half'), "mode='half'.*CutMix has batch and elem and"),
        (partial(CutMix, mode='pair', pairing='random'), "pairing='flip', or mode="),
        (
            partial(MixToken, mode='elem'),
            "mode='elem'.*MixToken has batch; leave mode out",
        ),
        (partial(BatchMixer, [CutMix()], mode='each'), "mode='each'"),
        (
            partial(BatchMixer, [MixToken()], mode='elem'),
            'MixToken cannot draw the mask.*batch',
        ),
        (
            partial(BatchMixer, [CutMix(mode='pair')], mode='elem'),
            "mode='pair'.*remove both options",
        ),
        (
            partial(BatchMixer, [CutMix(pairing='random')], mode='elem'),
            "pairing='random'.*remove both options",
        ),
        (
            partial(BatchMixer, [dict(type='CutMix', alpha=1.0)], mode='elem'),
            'CutMix cannot draw the mask',
        ),
    ],
)
def test_modes_that_cannot_be(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_weights_that_do_not_sum_to_one():
    images, labels = batch(3)
    mix = Mix(images, labels, torch.tensor([2, 1, 0]), torch.ones(1, 1, 24, 40))
    own, share = torch.tensor([0.5, 0.1, 1.0]), torch.tensor([0.2, 0.2, 0.0])
    expected = own[:, None] * labels + share[:, None] * labels.flip(0)
    assert torch.equal(mix.target(share, own), expected)
    torch.testing.assert_close(mix.target(share, 1 - share), mix.target(share))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.booleans())
def test_source_is_where_the_partners_tokens_come_from(seed, patch, resized):
    """Against a loop over the tokens of labels that are pasted like pixels."""
    rng = np.random.RandomState(seed)
    grid, count = (5, 6), 3
    tokens = torch.arange(grid[0] * grid[1]).view(grid)
    boxes, sources = [], []
    for _ in range(count):
        high, wide = rng.randint(1, grid[0] + 1), rng.randint(1, grid[1] + 1)
        top, left = rng.randint(grid[0] - high + 1), rng.randint(grid[1] - wide + 1)
        boxes.append((top, top + high, left, left + wide))
        if resized:
            high, wide = rng.randint(1, grid[0] + 1), rng.randint(1, grid[1] + 1)
        top, left = rng.randint(grid[0] - high + 1), rng.randint(grid[1] - wide + 1)
        sources.append((top, top + high, left, left + wide))
    mask = torch.zeros(count, 1, *grid)
    for i, (top, bottom, left, right) in enumerate(boxes):
        mask[i, :, top:bottom, left:right] = 1
    pixels = mask.repeat_interleave(patch, -1).repeat_interleave(patch, -2)
    mix = Mix(
        torch.zeros(count, 3, *pixels.shape[-2:]),
        torch.eye(count),
        torch.arange(count),
        pixels,
        source=torch.tensor(sources) * patch,
    )
    index = mix.token_source(grid, (patch, patch))
    taken = mix.pasted_share(grid, (patch, patch))
    for i, (box, source) in enumerate(zip(boxes, sources)):
        expected = tokens.clone()
        part = tokens[source[0] : source[1], source[2] : source[3]]
        if not resized:
            expected[box[0] : box[1], box[2] : box[3]] = part
            assert torch.equal(index[i].view(grid), expected)
        inside = mask[i, 0] > 0
        assert set(index[i].view(grid)[inside].tolist()) <= set(part.flatten().tolist())
        where = torch.zeros(grid)
        where[source[0] : source[1], source[2] : source[3]] = 1
        torch.testing.assert_close(taken[i].view(grid), where)
    in_place = Mix(mix.images, mix.labels, mix.partner, pixels)
    assert in_place.token_source(grid, (patch, patch)) is None
    torch.testing.assert_close(in_place.pasted_share(grid), mask.flatten(1))


def test_a_source_of_another_form():
    images, labels = batch(3)
    with pytest.raises(InputError, match=r'source of shape \(4,\)'):
        Mix(
            images,
            labels,
            torch.arange(3),
            torch.ones(1, 1, 24, 40),
            source=torch.zeros(4),
        )
