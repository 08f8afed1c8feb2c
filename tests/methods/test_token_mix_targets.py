"""The targets of TokenMix: how much of each object is visible, read from label maps."""

import numpy as np
import pytest
import torch
from golden_mixers_tokenmix import head
from label_samples import label_samples
from mmengine.registry import MODELS, init_default_scope
from small_backbones import VIT, randomise

from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import Mixup
from mmtlalign.mixing.cutmix import CutMix, ResizeMix
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.salient import SMMix
from mmtlalign.mixing.token_mix import MaskMix, TokenMix

K, GRID, SIZE = 5, (3, 5), (24, 40)


def samples_of(count, topk=None, **options):
    torch.manual_seed(2)
    return label_samples(count, K, GRID, topk, **options)[0]


def labels_of(count):
    return torch.eye(K)[torch.arange(count) % K]


def full_map(sample, label):
    """Values of a class in each cell, spelt out."""
    values = sample.get('gt_label_map').float()
    if 'gt_label_map_index' not in sample:
        return values[label]
    return (values * (sample.get('gt_label_map_index') == label)).sum(0)


AUGMENTS = {
    'cutmix': CutMix(),
    'elem': CutMix(mode='elem'),
    'mixup': Mixup(1.0),
    'tokenmix': TokenMix(patch_size=8, share=4 / 7),
    'maskmix': MaskMix(cell=8),
    'resizemix': ResizeMix(mode='elem'),
    'smmix': SMMix(patch_size=8),
}


@pytest.mark.parametrize('count', [1, 4, 5])
@pytest.mark.parametrize('topk', [None, 3])
@pytest.mark.parametrize('name', AUGMENTS)
def test_weights_are_what_pasted_maps_say(name, topk, count):
    """The maps are enlarged to pixels, pasted as the images are, and summed."""
    ours = head(K)
    samples = samples_of(count, topk)
    images, labels = torch.randn(count, 3, *SIZE), labels_of(count)
    np.random.seed(1)
    torch.manual_seed(1)
    mix = AUGMENTS[name].mix(
        images,
        labels,
        guide=lambda images, labels: GuideOutput(torch.rand(len(images), *GRID)),
    )
    with ours.trace(None, mix, samples) as activation:
        pass
    ((own, partner),) = ours.label_weights(mix, activation, ())
    maps = [full_map(s, int(y.argmax())) for s, y in zip(samples, labels)]
    maps = [m.repeat_interleave(8, 0).repeat_interleave(8, 1) for m in maps]
    masks = mix.mask.expand(count, -1, -1, -1)[:, 0]
    for i, mask in enumerate(masks):
        other = maps[mix.partner[i]]
        kept = float(((1 - mask) * maps[i]).sum() / maps[i].sum())
        if mix.source is None:
            shown = float((mask * other).sum() / other.sum())
        else:
            top, bottom, left, right = mix.source[i].tolist()
            part = other[top:bottom, left:right].sum()
            shown = float(part / other.sum()) if mask.any() else 0.0
        if float(maps[i].sum()) > 0:
            np.testing.assert_allclose(float(own[i]), kept, atol=2e-6)
        if float(other.sum()) > 0:
            np.testing.assert_allclose(float(partner[i]), shown, atol=2e-6)


def uniform(count, label=None):
    """Samples whose map says one class, or its own, alike in every cell."""
    samples = samples_of(count)
    for i, sample in enumerate(samples):
        values = torch.zeros(K, *GRID)
        values[i % K if label is None else label] = 2.0
        sample.set_field(values, 'gt_label_map')
    return samples


@pytest.mark.parametrize('normalise', [True, False])
def test_alike_in_every_cell_is_the_area(normalise):
    ours = head(K, normalise=normalise)
    np.random.seed(0)
    mix = CutMix().mix(torch.randn(5, 3, *SIZE), labels_of(5))
    with ours.trace(None, mix, uniform(5)) as seen:
        pass
    ((own, partner),) = ours.label_weights(mix, seen, ())
    torch.testing.assert_close(own, 1 - mix.area())
    torch.testing.assert_close(partner, mix.area())
    assert ours.extra_losses((), mix, seen, ())['without_activation'] == 0


def test_a_class_that_is_nowhere_weighs_as_its_area_and_is_counted():
    ours = head(K)
    np.random.seed(0)
    mix = CutMix().mix(torch.randn(4, 3, *SIZE), labels_of(4))
    samples = uniform(4)
    half = torch.zeros(K, *GRID)
    half[0, :, 0] = 1  # the first image's class, in the left column alone
    samples[0].set_field(half, 'gt_label_map')
    samples[3].set_field(torch.zeros(K, *GRID), 'gt_label_map')  # its partner's
    with ours.trace(None, mix, samples) as seen:
        pass
    ((own, partner),) = ours.label_weights(mix, seen, ())
    area = mix.area()
    left = (1 - mix.mask[0, 0, :, :8]).mean()
    torch.testing.assert_close(own[0], left)
    torch.testing.assert_close(partner[0], area[0])
    torch.testing.assert_close(own[3], 1 - area[3])
    torch.testing.assert_close(partner[3], 1 - left)
    assert ours.extra_losses((), mix, seen, ())['without_activation'] == 0.25
    # Values below 0 are none.
    samples[3].set_field(-torch.ones(K, *GRID), 'gt_label_map')
    with ours.trace(None, mix, samples) as again:
        pass
    assert torch.equal(seen, again)


@pytest.mark.parametrize('share', [0.0, 1.0])
def test_empty_and_full_masks(share):
    ours = head(K)
    images, labels = torch.randn(3, 3, *SIZE), labels_of(3)
    mask = torch.full((1, 1, *SIZE), share)
    mix = Mix(images, labels, torch.tensor([2, 1, 0]), mask)
    with ours.trace(None, mix, samples_of(3)) as seen:
        pass
    ((own, partner),) = ours.label_weights(mix, seen, ())
    torch.testing.assert_close(own, torch.full((3,), 1 - share))
    torch.testing.assert_close(partner, torch.full((3,), share))


def test_weights_are_divided_by_their_sum_for_a_softmax():
    ours = head(K, normalise=True)
    left = torch.zeros(K, *GRID)
    left[:, :, 0] = 1
    samples = samples_of(2)
    for sample in samples:
        sample.set_field(left, 'gt_label_map')
    mask = torch.zeros(1, 1, *SIZE)
    for wide, expected in ((0, 0.0), (8, 1.0), (4, 0.5)):
        mask[..., :wide] = 1
        mask[..., wide:] = 0
        mix = Mix(torch.randn(2, 3, *SIZE), labels_of(2), torch.tensor([1, 0]), mask)
        with ours.trace(None, mix, samples) as seen:
            pass
        ((own, partner),) = ours.label_weights(mix, seen, ())
        torch.testing.assert_close(partner, torch.full((2,), expected))
        torch.testing.assert_close(own + partner, torch.ones(2))
    # What hides both objects is the area: the right of A hidden by the left of B.
    right = left.flip(-1)
    samples[1].set_field(right, 'gt_label_map')
    mask[..., :8], mask[..., 8:] = 1, 0
    mix = Mix(torch.randn(2, 3, *SIZE), labels_of(2), torch.tensor([1, 0]), mask)
    with ours.trace(None, mix, samples) as seen:
        pass
    ((own, partner),) = ours.label_weights(mix, seen, ())
    torch.testing.assert_close(partner[0], mix.area()[0])
    torch.testing.assert_close(partner[1], torch.tensor(0.5))  # both are whole


def model_of(augment, loss=None, backbone=None, **options):
    init_default_scope('mmpretrain')
    backbone = backbone or dict(
        type='VisionTransformer', arch=VIT, img_size=SIZE, patch_size=8
    )
    kind = 'Linear' if backbone['type'] == 'ResNet' else 'VisionTransformer'
    return randomise(
        MODELS.build(
            dict(
                type='mmtlalign.MixClassifier',
                backbone=backbone,
                neck=dict(type='GlobalAveragePooling') if kind == 'Linear' else None,
                head=dict(
                    type=f'mmtlalign.TokenMix{kind}ClsHead',
                    num_classes=K,
                    in_channels=512 if kind == 'Linear' else 16,
                    loss=loss or dict(type='CrossEntropyLoss', use_soft=True),
                    **options,
                ),
                train_cfg=dict(augments=[augment]),
            )
        )
    ).train()


RESNET = dict(type='ResNet', depth=18, base_channels=64)
BINARY = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1 / K)


@pytest.mark.parametrize('backbone', [None, RESNET], ids=['vit', 'resnet'])
@pytest.mark.parametrize('loss', [None, BINARY], ids=['softmax', 'binary'])
def test_a_step(backbone, loss):
    model = model_of(dict(type='mmtlalign.TokenMix', patch_size=8), loss, backbone)
    assert model.head.normalise == (loss is None)
    losses = model(torch.randn(4, 3, *SIZE), samples_of(4, topk=2), mode='loss')
    total, logged = model.parse_losses(losses)
    total.backward()
    assert torch.equal(total, losses['loss_cls'])  # the count is logged alone
    assert 0 <= logged['without_activation'] <= 1
    assert all(p.grad.isfinite().all() for p in model.head.parameters())


def test_images_without_map_weigh_as_their_area():
    cutmix = dict(type='mmtlalign.CutMix')
    model = model_of(cutmix, missing='hard label')
    lacking = samples_of(4, lacking=(0, 1, 2, 3))
    losses = model(torch.randn(4, 3, *SIZE), lacking, mode='loss')
    assert losses['without_activation'] == 1
    samples = samples_of(4, lacking=(2,))
    losses = model(torch.randn(4, 3, *SIZE), samples, mode='loss')
    assert losses['without_activation'] == 0.25
    with pytest.raises(InputError, match='pictures/2.png has no gt_label_map') as said:
        strict = model_of(cutmix)
        strict(torch.randn(4, 3, *SIZE), samples, mode='loss')
    assert 'dense_weight' not in str(said.value)


@pytest.mark.parametrize(
    'make, message',
    [
        (
            lambda: model_of(dict(type='CutMix', alpha=1.0)),
            r"reads the label map of each image.*'CutMix'.*of mmpretrain",
        ),
        (
            lambda: model_of(dict(type='mmtlalign.CutMix'), normalise=False),
            'normalise=False.*use_sigmoid=True',
        ),
        (lambda: TokenMix(share=0), 'share=0'),
        (lambda: TokenMix(share=1.5), 'share=1.5.*4/7'),
        (lambda: model_of(dict(type='mmtlalign.CutMix'), missing='x'), "missing='x'"),
    ],
)
def test_what_cannot_be_is_said_when_the_model_is_built(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_switch_to_an_augment_without_record_is_refused():
    from mmpretrain.models.utils.batch_augments import RandomBatchAugment

    model = model_of(dict(type='mmtlalign.CutMix'))
    with pytest.raises(InputError, match="'Mixup'.*of mmpretrain"):
        model.switch_augments(RandomBatchAugment([dict(type='Mixup', alpha=1.0)]))


def test_a_fixed_share_is_reached_whatever_is_drawn():
    augment = TokenMix(patch_size=16, share=4 / 7)
    for seed in range(5):
        np.random.seed(seed)
        mix = augment.mix(torch.randn(2, 3, 224, 224), labels_of(2))
        assert int(mix.token_mask((14, 14)).sum()) == 112
