"""MixToken as an augment: whole images in, tokens mixed inside, labels in place."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from small_backbones import VIT, randomise
from torch import nn
from torch.nn.functional import one_hot

from mmtlalign.methods.token_labeling.loss import TokenLabelLoss
from mmtlalign.mixing.cutmix import box_area, box_mask
from mmtlalign.mixing.mixtoken import MixToken, TokenSwap
from mmtlalign.tracing.trace import start_share

B, K, GRID = 4, 6, (4, 6)

BACKBONES = {
    'vit': dict(type='VisionTransformer', arch=VIT, img_size=(32, 48), patch_size=8),
    'dhvt': dict(type='mmtlalign.DHVT', arch=VIT, patch_size=4),
    'lvvit': dict(
        type='mmtlalign.LVViT',
        arch=dict(VIT, skip_lam=2, stem_channels=8),
        img_size=(32, 48),
        patch_size=8,
    ),
}


def build(backbone, head='TokenLabelClsHead', patch_size=None, **options):
    init_default_scope('mmpretrain')
    backbone = dict(BACKBONES[backbone], **options)
    patch = patch_size or backbone['patch_size']
    head = head if '.' in head else f'mmtlalign.{head}'
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=backbone,
            head=dict(type=head, num_classes=K, in_channels=16),
            train_cfg=dict(augments=dict(type='mmtlalign.MixToken', patch_size=patch)),
        )
    )
    images = torch.randn(B, 3, *(backbone['patch_size'] * side for side in GRID))
    return randomise(model).train(), images


def samples():
    drawn = []
    for i in range(B):
        sample = DataSample().set_gt_label(i).set_gt_score(one_hot(torch.tensor(i), K))
        sample.set_field(torch.randn(K, *GRID), 'gt_label_map')
        sample.set_field(torch.randn(K), 'gt_map_label')
        drawn.append(sample)
    return drawn


def draw(patch=8):
    """A record with a box that is neither empty nor all."""
    images = torch.randn(B, 3, *(patch * side for side in GRID))
    augment = MixToken(patch_size=patch)
    while True:
        record = augment.mix(images, torch.eye(K)[:B])
        if 0.2 < box_area(record.box, GRID) < 0.8:
            return record, images


def test_images_stay_whole_and_the_mask_is_the_box():
    record, images = draw()
    assert isinstance(record, TokenSwap) and record.images is images
    assert record.partner.tolist() == [3, 2, 1, 0]
    mask = torch.from_numpy(box_mask(record.box, GRID)).flatten()
    torch.testing.assert_close(record.token_share(GRID)[1, :, 0], mask)
    torch.testing.assert_close(record.area()[0].item(), box_area(record.box, GRID))


@pytest.mark.parametrize('name', BACKBONES)
def test_loss_is_the_official_one(name):
    """Scores of tokens put back, maps that are not mixed, the class by area."""
    model, images = build(name, out_type='raw')
    model.mixer = lambda inputs, labels: record
    patch = BACKBONES[name]['patch_size']
    record, images = draw(patch)
    drawn = samples()
    losses = model(images, drawn, mode='loss')

    top, bottom, left, right = record.box

    def exchange(tokens):
        maps = tokens.unflatten(1, GRID).clone()
        maps[:, top:bottom, left:right] = maps.flip(0)[:, top:bottom, left:right]
        return maps.flatten(1, 2)

    hook = model.backbone.patch_embed.register_forward_hook(
        lambda module, args, out: (exchange(out[0]), out[1])
    )
    (tokens,) = model.backbone(images)
    hook.remove()
    layers = model.head.layers
    whole = torch.stack([s.gt_map_label for s in drawn]).softmax(1)
    maps = torch.stack([s.gt_label_map for s in drawn]).softmax(1).flatten(2).mT
    lam = 1 - box_area(record.box, GRID)
    expected = TokenLabelLoss()(
        layers.head(tokens[:, 0]),
        lam * whole + (1 - lam) * whole.flip(0),
        exchange(layers.aux_head(tokens[:, 1:])),
        maps,
    )
    torch.testing.assert_close(losses, expected)
    # Nothing stays behind.
    assert not model.backbone.patch_embed._forward_hooks
    torch.testing.assert_close(
        model.eval()(images, mode='tensor'), model.eval()(images, mode='tensor')
    )


@pytest.mark.parametrize('head', ['mmpretrain.', 'mmtlalign.TLAlign'])
def test_other_heads_get_it_too(head):
    """A stock head: the labels by area. TL-Align: the box, traced."""
    model, _ = build('vit', f'{head}VisionTransformerClsHead')
    record, images = draw()
    model.mixer = lambda inputs, labels: record
    loss = model(images, samples(), mode='loss')['loss']
    with record.apply_in_backbone(model.backbone):
        scores = model.head(model.extract_feat(images))
    by_area = nn.functional.cross_entropy(scores, record.target(record.area()))
    assert torch.isclose(loss, by_area) == (head == 'mmpretrain.')
    share = start_share(model.backbone, record)[0, 1:, 0]
    np.testing.assert_array_equal(share, box_mask(record.box, GRID).ravel())


def test_a_probability_leaves_batches_as_they_are():
    images, labels = torch.randn(B, 3, 32, 48), torch.eye(K)[:B]
    record = MixToken(patch_size=8, prob=0.0).mix(images, labels)
    assert not isinstance(record, TokenSwap) and record.images is images
    assert record.area().sum() == 0


def test_another_patch_size_than_the_backbones():
    model, images = build('vit', patch_size=16, out_type='raw')
    images = torch.randn(B, 3, 48, 64)
    with pytest.raises(ValueError, match='3x4 tokens, the backbone has 6x8'):
        model(images, samples(), mode='loss')
    assert not model.backbone.patch_embed._forward_hooks


def test_what_cannot_mix_tokens():
    record, images = draw()
    with (
        pytest.raises(TypeError, match='no patch_embed'),
        record.apply_in_backbone(nn.ReLU()),
    ):
        pass
    plain = nn.Module()
    plain.patch_embed = nn.Identity()
    with (
        pytest.raises(TypeError, match='tokens and their grid'),
        record.apply_in_backbone(plain),
    ):
        plain.patch_embed(images)
    with pytest.raises(TypeError, match='MixClassifier alone'):
        MixToken()(images, record.labels)
