"""The label microscope has the numbers of the tracer and of the heads."""

import random

import numpy as np
import oracles
import pytest
import torch
from contract_rows import HOOKS, ROWS
from label_samples import label_samples
from microscope_parts import (
    CLASSES,
    DHVT,
    DISTILLED,
    SWIN,
    VIT,
    Pictures,
    classifier,
    collate,
    row_pairs,
)
from mmengine.registry import MODELS
from token_label_nets import build as token_label_model

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.microscope import collect_pairs, make_pairs
from mmtlalign.evaluation.microscope.collect import layer_names
from mmtlalign.evaluation.microscope.source import draw_mix, own_draws
from mmtlalign.mixing.augments import Mixup
from mmtlalign.mixing.cutmix import CutMix, ResizeMix
from mmtlalign.mixing.fmix import FMix
from mmtlalign.modes import eval_mode
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import crop_to_tokens, start_share, trace


def batch_of(size, count=4, augment=None):
    torch.manual_seed(2)
    np.random.seed(5)
    images = torch.randn(count, 3, *size)
    labels = torch.eye(CLASSES)[torch.arange(count)]
    return (augment or CutMix()).mix(images, labels), images


# --------------------------------------------------------------------------- numbers


@pytest.mark.parametrize('row', ROWS)
def test_shares_are_those_of_the_tracer(row):
    """Every token of every layer, and what is read of it, for all known networks."""
    model, mix, _, (geometry, pairs) = row_pairs(row)
    backbone, output = model.backbone, ROWS[row].output
    torch.manual_seed(1)
    with eval_mode(model), torch.no_grad(), trace(backbone, mix) as traced:
        backbone(mix.images)
    spec = backbone_spec(backbone)
    history = [start_share(backbone, mix), *traced.history]
    # A special token starts at the area of the pixels that are in a patch.
    seen = crop_to_tokens(mix, geometry.grids[0], spec.patch(backbone)).area()
    arrived = traced.output_shares(output)[0][:, 0]
    assert len(geometry.names) == len(history) == len(pairs[0].shares)
    assert len(pairs[0].read) == len(pairs[0].transmix) == len(history)
    assert geometry.grids[1:] == tuple(map(tuple, traced.grids))
    for index, pair in enumerate(pairs):
        for layer, share in enumerate(history):
            h, w = geometry.grids[layer]
            assert len(pair.shares[layer]) == geometry.special[layer] + h * w
            expected = (255 * share[index, :, 0]).round().numpy()
            # Kernels of equal numbers may differ in the last bit of a float.
            assert np.abs(pair.shares[layer] - expected).max() <= 1
            assert (pair.shares[layer] == expected).mean() > 0.99
        assert pair.read[-1] == pytest.approx(float(arrived[index]), abs=1e-6)
        assert pair.read[0] == pytest.approx(
            float(history[0][index, geometry.special[0] :].mean())
            if output == 'mean' or not spec.prefix(backbone)
            else float(seen[index]),
            abs=1e-6,
        )
        assert pair.rules[0].share == pytest.approx(float(mix.area()[index]))
        # The last attention is the one that TransMix reads.
        assert pair.transmix[-1] == pytest.approx(pair.rules[1].share)


@pytest.mark.parametrize(
    'row', ['ViT', 'DeiT, distilled', 'DHVT', 'Swin', 'Swin, any size', 'PVT', 'XCiT']
)
def test_attention_of_every_layer_is_the_dense_one(row):
    """TransMix's formula with each layer's attention, against whole matrices."""
    model, mix, _, (geometry, pairs) = row_pairs(row)
    spec, output = backbone_spec(model.backbone), ROWS[row].output
    with eval_mode(model):
        events = oracles.dense_events(model.backbone, mix.images, HOOKS)
    if output == 'mean':
        events = [event for event in events if event[0] != 'look']
    ends = [
        number
        for number, (kind, _) in enumerate(events)
        if kind in ('attention', 'layer', 'look')
        and (number + 1 == len(events) or events[number + 1][0] != 'look')
    ]
    assert len(ends) == len(geometry.names) - 1 and pairs[0].transmix[0] is None
    for layer, end in enumerate(ends, 1):
        prefix = geometry.special[layer]
        if output == 'class' and not prefix:
            assert pairs[0].transmix[layer] is None
            continue
        look, merges = oracles.last_look(events[: end + 1])
        step, grid = ROWS[row].patch * 2**merges, geometry.grids[layer]
        mask = mix.mask[0, 0, ::step, ::step][: grid[0], : grid[1]].double().flatten()
        if output == 'class':
            rows = look[:, 0, prefix:]
        else:
            rows = look[:, prefix:, prefix:].mean(dim=1)
        expected = (rows * mask).sum(-1) / rows.sum(-1)
        expected = (expected + mix.area()) / 2
        found = torch.tensor([pair.transmix[layer] for pair in pairs])
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6)
    assert spec.prefix(model.backbone) == geometry.special[0]


def heads():
    """Name, backbone, method, size of the images, options of the head."""
    yield 'ViT', VIT, 'TLAlign', (32, 32), {}
    yield 'ViT, options', VIT, 'TLAlign', (32, 32), dict(layers=[-1], residual=False)
    yield 'ViT, TransMix', VIT, 'TransMix', (32, 32), dict(ratio=0.25)
    yield 'distilled, not square', DISTILLED, 'TLAlign', (32, 48), {}
    yield 'distilled, TransMix', DISTILLED, 'TransMix', (32, 48), {}
    yield 'Swin', dict(SWIN), 'TLAlign', (32, 48), dict(in_channels=64)
    received = dict(in_channels=64, attention='received')
    yield 'Swin, TransMix', dict(SWIN), 'TransMix', (32, 32), received
    yield 'DHVT', DHVT, 'TLAlign', (16, 24), dict(head_token_rule='flat')


@pytest.mark.parametrize('case', list(heads()), ids=lambda case: case[0])
def test_rules_are_those_of_the_heads(case):
    """Shares, targets and losses are what a head would train on."""
    _, backbone, kind, size, options = case
    width = options.pop('in_channels', 16)
    model = classifier(dict(backbone), kind, width, **options)
    mix, images = batch_of(size)
    _, pairs = collect_pairs(model, mix, images)
    assert model.training and model.backbone.training
    model.eval()
    with torch.no_grad():
        with model.head.trace(model.backbone, mix) as read:
            feats = model.extract_feat(mix.images)
        scores = model.head(feats)
    shares = model.head.partner_shares(mix, read)
    name = dict(TLAlign='TL-Align', TransMix='TransMix')[kind]
    for index, pair in enumerate(pairs):
        mine = [rule for rule in pair.rules if rule.trained]
        assert len(mine) == model.head.outputs == len(shares)
        assert all(rule.name.startswith(name) for rule in mine)
        for rule, share in zip(mine, shares):
            target = mix.target(share)[index]
            assert rule.share == pytest.approx(float(share[index]), abs=1e-6)
            assert rule.own == pytest.approx(float(target[pair.own_class]), abs=1e-6)
            loss = torch.nn.functional.cross_entropy(scores[index], target)
            assert rule.loss == pytest.approx(float(loss), abs=1e-5)
        chances = scores[index].softmax(0)
        assert [n for n, _ in pair.best] == chances.topk(5).indices.tolist()
        assert pair.best[0][1] == pytest.approx(float(chances.max()), abs=1e-6)


@pytest.mark.parametrize('traced', ['share', 'labels', None])
def test_targets_of_label_maps(traced):
    kind = 'mmtlalign.TLAlignTokenLabelClsHead'
    options = dict(traced=traced)
    if traced is None:
        kind, options = 'mmtlalign.TokenLabelClsHead', {}
    model, images = token_label_model('LVViT', 'TokenCutMix', type=kind, **options)
    samples, _, _ = label_samples(4, 30, (4, 6), topk=5)
    labels = torch.stack([sample.gt_score for sample in samples])
    mix = CutMix().mix(images, labels)
    _, pairs = collect_pairs(model, mix, images, samples)
    model.eval()
    with torch.no_grad(), model.head.trace(model.backbone, mix, samples) as tokens:
        model.backbone(mix.images)
        smoothed = model.head.smooth_labels(labels)
        target = model.head.class_labels(samples, smoothed, mix, tokens)
    for index, pair in enumerate(pairs):
        rule = pair.rules[-1]
        assert rule.name == 'Token Labeling (map)' and rule.trained
        assert rule.own == pytest.approx(float(target[index, pair.own_class]), abs=1e-6)
        assert pair.files == (f'{index}.png', f'{3 - index}.png')
    # Without maps there is no such rule.
    _, plain = collect_pairs(model, mix, images)
    assert len(plain[0].rules) == len(pairs[0].rules) - 1


def test_tokens_mixed_behind_the_embedding():
    """MixToken: images stay whole, the page shows the tokens' images."""
    model, _ = token_label_model('LVViT')
    data = Pictures((32, 48))
    pairs = make_pairs(model, data, collate, 4)[1]
    for pair in pairs:
        assert pair.mixed is None and len(pair.rules) == 3
        start = pair.mask[::8, ::8].flatten()
        np.testing.assert_array_equal(pair.shares[0][1:], 255 * start)


def test_pictures_are_those_of_the_data_set():
    data = Pictures()
    geometry, pairs = make_pairs(classifier(), data, collate, 4, seed=3)
    assert geometry.size == (32, 32) and geometry.patch == (8, 8)
    for pair in pairs:
        for shown, name in zip((pair.own, pair.partner), pair.files):
            stored = data.pixels[int(name.split('.')[0])].transpose(1, 2, 0)
            np.testing.assert_array_equal(shown, stored[..., ::-1])
        assert pair.mixed is None and 0 < pair.area < 1
    assert pairs[0].files == pairs[1].files[::-1]


@pytest.mark.parametrize(
    'augment, own', [(CutMix(), 0), (Mixup(1.0), 0), (FMix(), 0), (ResizeMix(), 1)]
)
def test_mixed_picture_is_stored_where_it_is_not_composed(augment, own):
    model = classifier()
    draw = np.random.default_rng(1)
    pixels = torch.from_numpy(draw.integers(0, 255, (4, 3, 32, 32))).float()
    pre = model.data_preprocessor
    images = (pixels - pre.mean) / pre.std
    np.random.seed(8)
    mix = augment.mix(images, torch.eye(CLASSES)[:4])
    _, pairs = collect_pairs(model, mix, images)
    assert (pairs[0].mixed is not None) == bool(own)


def test_names_of_layers():
    assert layer_names([(2, 2)] * 3) == ('input', 'layer 1', 'layer 2')
    staged = layer_names([(4, 4), (4, 4), (4, 4), (2, 2)])
    assert staged == ('input', 'stage 1 block 1', 'stage 1 block 2', 'stage 2 block 1')


# --------------------------------------------------------------------- models and data


def test_draws_of_the_process_stay():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    one = make_pairs(classifier(), Pictures(), collate, 3)[1]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    model = classifier()
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    np.random.seed(1)
    two = make_pairs(model, Pictures(), collate, 3)[1]
    after = random.getstate(), np.random.get_state()[1], torch.get_rng_state()
    assert before[0] == states[0] == after[0]
    assert (after[1] == before[1]).all() and torch.equal(states[2], after[2])
    assert [p.area for p in one] == [p.area for p in two] and len(one) == 3
    other = make_pairs(model, Pictures(), collate, 3, seed=1)[1]
    assert [p.files for p in one] != [p.files for p in other]


def test_own_draws_end_with_an_error():
    np.random.seed(4)
    state = np.random.get_state()[1].copy()
    with pytest.raises(KeyError), own_draws():
        np.random.rand(5)
        raise KeyError
    assert (np.random.get_state()[1] == state).all()


def test_network_that_is_not_attached_stays_so():
    model = classifier(kind='')
    make_pairs(model, Pictures(), collate, 2)
    assert getattr(model.backbone, 'trace_context', None) is None
    assert model.training


def test_images_without_class_have_the_model_s():
    pairs = make_pairs(classifier(), Pictures(labelled=False), collate, 4)[1]
    assert all(0 <= pair.own_class < CLASSES for pair in pairs)


@pytest.mark.parametrize(
    'augment, data, message',
    [
        (dict(type='Mixup', alpha=1.0), Pictures(), 'gave no mixed pair'),
        (None, Pictures(count=1), 'a pair needs two'),
    ],
)
def test_nothing_to_show(augment, data, message):
    with pytest.raises(InputError, match=message):
        make_pairs(classifier(kind='', augments=augment), data, collate)


def test_pictures_of_two_sizes():
    data = Pictures()
    data.pixels[2:] = Pictures((48, 48)).pixels[2:]
    with pytest.raises(InputError, match='Images of 32x32 and 48x48 pixels'):
        make_pairs(classifier(SWIN, width=64), data, collate, 6)


def test_a_class_that_the_model_does_not_have():
    model = classifier()
    model.head.num_classes = 2
    with pytest.raises(InputError, match='the model has 2 classes'):
        make_pairs(model, Pictures(), collate)


def test_network_that_cannot_be_traced():
    model = classifier(kind='')
    model.backbone = MODELS.build(dict(type='ResNet', depth=18))
    with pytest.raises(UnsupportedError, match='ResNet cannot be traced'):
        make_pairs(model, Pictures(), collate)


def test_model_without_mixer_takes_boxes_of_tokens():
    model = classifier(kind='')
    model.mixer = None
    mix = draw_mix(model, torch.rand(2, 3, 32, 32), torch.eye(CLASSES)[:2])
    assert mix.partner.tolist() == [1, 0]
