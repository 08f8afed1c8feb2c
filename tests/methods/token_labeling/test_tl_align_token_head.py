"""Token Labeling with TL-Align: against traces of all columns in float64."""

import numpy as np
import oracles
import pytest
import torch
from contract_rows import HOOKS
from label_samples import label_samples, smooth
from mmengine.registry import MODELS
from token_label_nets import BACKBONES, GRID, SMOOTHING, B, K, N, build
from torch.utils._python_dispatch import TorchDispatchMode

from mmtlalign.methods.mixer import BatchMixer
from mmtlalign.methods.token_labeling.loss import TopKLabels
from mmtlalign.methods.token_labeling.tl_align import LabelColumns
from mmtlalign.mixing.mix import Mix

every_backbone = pytest.mark.parametrize('name', BACKBONES)
every_augment = pytest.mark.parametrize('augment', ['MixToken', 'TokenCutMix', None])


def step(model, images, samples):
    """One step: losses, and the record, the target and the trace behind them."""
    seen = {}
    make = model.head.class_labels

    def class_labels(samples, labels, mix, tokens):
        seen.update(mix=mix, tracer=tokens.tracer)
        seen['target'] = make(samples, labels, mix, tokens)
        return seen['target']

    model.head.class_labels = class_labels
    np.random.seed(4)  # a box that is neither empty nor all
    losses = model(images, samples, mode='loss')
    model.head.class_labels = make
    return losses, seen


def way_to_class(model, name, mix, residual=1):
    """Weight of each token in the class token (B, 1 + N), from attention matrices."""
    stock = MODELS.build(BACKBONES[name])
    stock.load_state_dict(model.backbone.state_dict())
    stock.train()
    with mix.apply_in_backbone(stock):
        _, way = oracles.dense_rollout(stock, mix.images, HOOKS, residual)
    return way[:, 0]


def token_shares(mix, name):
    patch = BACKBONES[name]['patch_size']
    return oracles.start(mix.mask, patch, 1, B)


@every_backbone
@every_augment
def test_class_token_learns_by_the_share_that_arrives(name, augment):
    model, images = build(name, augment)
    samples, _, whole = label_samples(B, K, GRID, topk=3)
    losses, seen = step(model, images, samples)
    mix, target = seen['mix'], smooth(whole, SMOOTHING, K)
    shares = token_shares(mix, name)
    arrived = (way_to_class(model, name, mix)[:, None] @ shares).squeeze(1)
    expected = target + arrived * (target[mix.partner] - target)
    torch.testing.assert_close(seen['target'].double(), expected, rtol=0, atol=1e-6)
    # Not the area, where there is one.
    moved = (arrived[:, 0] - mix.area()).abs().max()
    assert moved > 1e-3 if augment else moved == 0
    assert set(losses) == {'loss_cls', 'loss_dense'}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def labels_that_arrive(model, name, mix, tokens, residual=1):
    """The same with a column for each class; smoothed labels of the tokens."""
    share = token_shares(mix, name)[:, 1:]
    tokens = tokens + share * (tokens[mix.partner] - tokens)
    columns = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
    way = way_to_class(model, name, mix, residual)
    return (way[:, None] @ columns).squeeze(1)


@every_backbone
@every_augment
@pytest.mark.parametrize('topk', [3, None])
def test_class_token_learns_the_labels_that_arrive(name, augment, topk):
    # All classes in columns of their own, and a few that are named.
    columns = 12 if topk else K - 2
    model, images = build(name, augment, traced='labels', columns=columns)
    few = torch.arange(5, 10) if topk else None
    samples, tokens, _ = label_samples(B, K, GRID, topk, named=few)
    losses, seen = step(model, images, samples)
    tokens = smooth(tokens, SMOOTHING, K)
    expected = labels_that_arrive(model, name, seen['mix'], tokens)
    torch.testing.assert_close(seen['target'].double(), expected, rtol=0, atol=1e-6)
    assert (expected - expected.roll(1, 0)).abs().max() > 1e-2
    mass = seen['target'].sum(1)
    torch.testing.assert_close(mass, torch.full((B,), 1 + SMOOTHING / K))
    sum(losses.values()).backward()


def test_whole_crops_are_not_asked_where_tokens_arrive():
    model, images = build('ViT', traced='labels')
    samples, _, _ = label_samples(B, K, GRID, topk=3)
    for sample in samples:
        sample.pop('gt_map_label')
    assert step(model, images, samples)[0]['loss_cls'].isfinite()


@pytest.mark.parametrize('lacking', [(1, 2), tuple(range(B))])
@pytest.mark.parametrize('topk', [3, None])
def test_hard_labels_stand_in_for_maps(lacking, topk):
    columns = 12 if topk else K - 2
    options = dict(traced='labels', columns=columns, missing='hard label')
    model, images = build('LVViT', **options)
    few = torch.arange(5, 10) if topk else None
    samples, tokens, _ = label_samples(B, K, GRID, topk, lacking, few)
    tokens = smooth(tokens, SMOOTHING, K)
    for i in lacking:
        tokens[i] = torch.eye(K)[i] * (1 - SMOOTHING) + SMOOTHING / K
    _, seen = step(model, images, samples)
    expected = labels_that_arrive(model, 'LVViT', seen['mix'], tokens)
    torch.testing.assert_close(seen['target'].double(), expected, rtol=0, atol=1e-6)


def test_no_map_at_all_and_a_thousand_classes():
    options = dict(num_classes=1000, traced='labels', missing='hard label')
    model, images = build('ViT', **options)
    samples, _, _ = label_samples(B, 1000, GRID, lacking=range(B))
    _, seen = step(model, images, samples)
    mix = seen['mix']
    share = token_shares(mix, 'ViT')
    share[:, 0] = share[:, 1:].mean(1)
    arrived = (way_to_class(model, 'ViT', mix)[:, None] @ share).squeeze(1)
    eye = torch.eye(1000, dtype=torch.float64)[:B] * 0.9 + 0.1 / 1000
    expected = eye + arrived * (eye[mix.partner] - eye)
    torch.testing.assert_close(seen['target'].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('columns', [1, 3])
def test_classes_without_a_column_are_spread_and_keep_their_mass(columns):
    labels = TopKLabels.from_probabilities(
        torch.rand(B, N, 4).softmax(-1) * 0.9, torch.rand(B, N, K).topk(4).indices, K
    )
    found = LabelColumns.from_labels(labels, columns, K)
    assert found.values.shape == (B, N, columns + 2)
    weights = torch.rand(B, 1, N).softmax(-1)
    exact = (weights @ labels.dense(K)).squeeze(1)
    ours = found.dense((weights @ found.values).squeeze(1))
    torch.testing.assert_close(ours.sum(1), exact.sum(1))
    # Those of most mass are exact but for what is spread, which is the same for all.
    mass = labels.dense(K).sum(1) - labels.rest.sum(1, keepdim=True)
    assert found.classes.sort().values.equal(mass.topk(columns).indices.sort().values)
    extra = (ours - exact).gather(1, found.classes)
    assert (extra > 0).all()
    torch.testing.assert_close(extra, extra[:, :1].expand(-1, columns))


def test_classes_below_those_not_named_have_columns_too():
    """Logits below zero: a class that is named and less likely than the others."""
    indices = torch.tensor([3, 7]).expand(B, N, 2)
    labels = TopKLabels.from_logits(torch.randn(B, N, 2) - 2, indices, K)
    found = LabelColumns.from_labels(labels, 2, K)
    arrived = found.dense(found.values.mean(1))
    torch.testing.assert_close(arrived, labels.dense(K).mean(1))


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that was made."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple) else (out,):
            if torch.is_tensor(tensor):
                self.size = max(self.size, tensor.numel())
        return out


@pytest.mark.parametrize('lacking', [(), (0,), tuple(range(B))])
def test_nothing_has_all_columns_of_all_tokens(lacking):
    classes = 4000
    options = dict(num_classes=classes, traced='labels', missing='hard label')
    model, images = build('ViT', **options)
    samples, _, _ = label_samples(B, classes, GRID, topk=3, lacking=lacking)
    head, labels = model.head, torch.stack([s.gt_score for s in samples])
    mix = Mix.unmixed(images, labels)
    with Largest() as largest:
        with head.trace(model.backbone, mix, samples) as seen:
            model.backbone(images)
        target = head.class_labels(samples, head.smooth_labels(labels), mix, seen)
    assert target.shape == (B, classes)
    assert B * classes <= largest.size < 3 * B * classes < B * N * classes


@pytest.mark.parametrize('traced', ['share', 'labels'])
def test_shares_stay_single_precision_without_gradient(traced):
    model, images = build('LVViT', traced=traced)
    samples, _, _ = label_samples(B, K, GRID, topk=3)
    exact, before = step(model, images, samples)
    with torch.autocast('cpu', torch.bfloat16):
        losses, seen = step(model, images, samples)
    for target in (before['target'], seen['target']):
        assert target.dtype == torch.float32 and not target.requires_grad
    assert {share.dtype for share in seen['tracer'].history} == {torch.float32}
    assert not any(share.requires_grad for share in seen['tracer'].history)
    for key, loss in losses.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, exact[key], rtol=0.05, atol=0.05)


def test_residual_and_layers_reach_the_trace():
    samples, tokens, _ = label_samples(B, K, GRID, 3, named=torch.arange(5, 10))
    model, images = build('LVViT', traced='labels', residual=2.0)
    _, seen = step(model, images, samples)
    tokens = smooth(tokens, SMOOTHING, K)
    expected = labels_that_arrive(model, 'LVViT', seen['mix'], tokens, residual=2)
    torch.testing.assert_close(seen['target'].double(), expected, rtol=0, atol=1e-6)
    model, images = build('LVViT', layers=[-1])
    tracer = step(model, images, samples)[1]['tracer']
    assert tracer.history[0].equal(tracer.history[1])
    assert not tracer.history[1].equal(tracer.history[2])


@pytest.mark.parametrize('traced', ['share', 'labels'])
def test_scores_of_evaluation_are_those_of_token_labels(traced):
    """And a loss in evaluation mixes nothing."""
    model, images = build('ViT', traced=traced)
    plain, _ = build('ViT')
    plain.head.__class__ = type(plain.head).__mro__[1]
    assert list(model.state_dict()) == list(plain.state_dict())
    scores = model.eval()(images, mode='tensor')
    torch.testing.assert_close(scores, plain.eval()(images, mode='tensor'))
    samples, _, _ = label_samples(B, K, GRID, topk=3)
    assert step(model, images, samples)[1]['mix'].area().sum() == 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(traced='all'), "'share' or 'labels'"),
        (dict(traced='labels', class_target='label'), 'the traced token labels'),
        (dict(traced='labels', class_target='both'), "class_target='both'"),
        (dict(traced='labels', columns=0), 'columns=0'),
        (dict(columns=8), "columns=8 with traced='share'"),
        (dict(residual=-1.0), 'a number of 0 or more'),
        (dict(layers=[3]), 'attentions 0 to 2'),
        (dict(head_token_rule='flat'), 'applies to head tokens'),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        build('ViT', **options)


def test_head_tokens_merge_as_asked():
    samples, _, _ = label_samples(B, K, GRID, topk=3)
    targets = []
    for merge in (None, 'nested', 'flat'):
        model, images = build('DHVT', head_token_rule=merge)
        targets.append(step(model, images, samples)[1]['target'])
    assert targets[0].equal(targets[1]) and not targets[1].equal(targets[2])


def test_maps_of_too_many_classes_name_the_remedy():
    model, images = build('ViT', traced='labels')
    samples, _, _ = label_samples(B, K, GRID)
    with pytest.raises(ValueError, match='topk=8 in PoolLabelMap, or set columns=28'):
        step(model, images, samples)


def test_a_stock_classifier_cannot_trace():
    model, images = build('ViT', None, classifier='ImageClassifier')
    samples, _, _ = label_samples(B, K, GRID, topk=3, scores=False)
    with pytest.raises(ValueError, match="type='mmtlalign.MixClassifier'"):
        model(images, samples, mode='loss')


@pytest.mark.parametrize('traced', ['share', 'labels'])
def test_other_special_tokens_are_followed_too(traced, monkeypatch):
    """The first is the class token; the second is no token of the image."""
    distilled = dict(BACKBONES['ViT'], type='DistilledVisionTransformer')
    monkeypatch.setitem(BACKBONES, 'distilled', distilled)
    model, images = build('distilled', num_extra_tokens=2, traced=traced)
    samples, _, whole = label_samples(B, K, GRID, topk=3)
    _, seen = step(model, images, samples)
    assert seen['tracer'].share.shape[1] == 2 + N
    if traced == 'share':
        way = way_to_class(model, 'distilled', seen['mix'])
        shares = oracles.start(seen['mix'].mask, 8, 2, B)
        arrived, target = (way[:, None] @ shares).squeeze(1), smooth(whole, 0.1, K)
        expected = target + arrived * (target[seen['mix'].partner] - target)
        torch.testing.assert_close(seen['target'].double(), expected, rtol=0, atol=1e-6)


def test_without_maps_any_augment_will_do():
    """A batch whose mixing left no record has the mixed label, as without a trace."""
    loss = dict(type='mmtlalign.TokenLabelLoss', dense_weight=0)
    model, images = build('ViT', class_target='label', loss=loss)
    model.mixer = BatchMixer(dict(type='Mixup', alpha=0.8))
    samples, _, _ = label_samples(B, K, GRID, lacking=range(B))
    losses, seen = step(model, images, samples)
    mixed = seen['mix'].labels * (1 - SMOOTHING) + SMOOTHING / K
    torch.testing.assert_close(seen['target'], mixed)
    assert (mixed.max(1).values < 0.9).any() and set(losses) == {'loss_cls'}
    augments = dict(augments=dict(type='Mixup', alpha=0.8))
    config = dict(type='mmtlalign.TLAlignTokenLabelClsHead', num_classes=K)
    with pytest.raises(ValueError, match=r"\['Mixup'\] of mmpretrain do not record"):
        MODELS.build(
            dict(
                type='mmtlalign.MixClassifier',
                backbone=BACKBONES['ViT'],
                head=dict(config, in_channels=16),
                train_cfg=augments,
            )
        )
