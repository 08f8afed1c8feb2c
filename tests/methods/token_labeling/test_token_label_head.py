"""The head of Token Labeling: scores, targets from maps, and what it refuses."""

import pytest
import torch
from label_samples import smooth
from mmengine.registry import MODELS, init_default_scope
from token_label_heads import (
    GRID,
    SIZE,
    B,
    K,
    features,
    hard_labels,
    head_of,
    model_of,
    samples_of,
    train_cfg,
)

from mmtlalign.methods.token_labeling.head import TokenLabelClsHead
from mmtlalign.methods.token_labeling.loss import trust_map


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def entropy(scores, target):
    return -(target * scores.double().log_softmax(-1)).sum(-1).mean()


def check_loss(head, feats, samples, cls_target, token_target, weight=1.0, **options):
    losses = head.loss(feats, samples, **options)
    cls, aux = head.scores(feats)
    for key, scores, target, scale in (
        ('loss_cls', cls, cls_target, 1.0),
        ('loss_dense', aux, token_target, weight),
    ):
        expected = scale * entropy(scores, target)
        torch.testing.assert_close(losses[key].double(), expected, rtol=1e-5, atol=1e-5)
    assert set(losses) == {'loss_cls', 'loss_dense'}


def test_evaluation_adds_half_of_the_best_token():
    head, feats = head_of(), features()
    tokens = feats[0] @ head.layers.aux_head.weight.T + head.layers.aux_head.bias
    first = feats[0][:, 0] @ head.layers.head.weight.T + head.layers.head.bias
    expected = first + 0.5 * tokens[:, 1:].max(dim=1).values
    torch.testing.assert_close(head(feats), expected)
    predicted = head.predict(feats)
    torch.testing.assert_close(predicted[1].pred_score, expected[1].softmax(0))
    assert predicted[1].pred_label == expected[1].argmax()


@pytest.mark.parametrize('topk', [None, 3])
@pytest.mark.parametrize('class_target', ['map', 'label', 'both'])
@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_loss_reads_the_maps(topk, class_target, smoothing):
    head = head_of(
        dict(dense_weight='paper'),
        class_target=class_target,
        label_smooth_val=smoothing,
    )
    samples, tokens, whole = samples_of(topk)
    true = hard_labels() * (1 - smoothing) + smoothing / K
    whole, tokens = smooth(whole, smoothing, K), smooth(tokens, smoothing, K)
    target = {'map': whole, 'label': true, 'both': trust_map(whole, true)}[class_target]
    check_loss(head, features(), samples, target, tokens, weight=0.5)


def test_maps_may_be_probabilities():
    samples, tokens, whole = samples_of()
    for sample, token, label in zip(samples, tokens.float(), whole.float()):
        sample.set_field(token.mT.unflatten(1, GRID), 'gt_label_map')
        sample.set_field(label, 'gt_map_label')
    check_loss(head_of(map_values='probabilities'), features(), samples, whole, tokens)


def test_numpy_maps():
    samples, tokens, whole = samples_of(topk=3, integer=torch.int32)
    for sample in samples:
        for key in ('gt_label_map', 'gt_label_map_index'):
            array = sample.get(key).numpy()
            sample.pop(key)
            sample.set_field(array, key)
    check_loss(head_of(), features(), samples, whole, tokens)


@pytest.mark.parametrize('topk', [None, 3])
@pytest.mark.parametrize('lacking', [(1, 2), tuple(range(B))])
def test_hard_labels_stand_in_for_maps(topk, lacking):
    samples, tokens, whole = samples_of(topk, lacking=lacking)
    for i in lacking:
        whole[i], tokens[i] = hard_labels()[i], hard_labels()[i]
    check_loss(head_of(missing='hard label'), features(), samples, whole, tokens)


@pytest.mark.parametrize('class_target', ['label', 'map'])
def test_without_weight_there_is_no_classifier_of_tokens(class_target):
    head, feats = head_of(dict(dense_weight=0), class_target=class_target), features()
    assert not any('aux' in name for name, _ in head.named_parameters())
    samples, _, whole = samples_of(lacking=() if class_target == 'map' else range(B))
    target = hard_labels() if class_target == 'label' else whole
    losses = head.loss(feats, samples)
    torch.testing.assert_close(
        losses['loss_cls'].double(), entropy(head(feats), target)
    )
    assert set(losses) == {'loss_cls'}


@pytest.mark.parametrize(
    'augment',
    [
        train_cfg('CutMix', cutmix_minmax=(0.4, 0.9)),
        train_cfg('Mixup', alpha=0.8),
        None,
    ],
)
@pytest.mark.parametrize('topk', [None, 3])
def test_tokens_of_mixed_images_learn_the_labels_of_their_images(augment, topk):
    model = model_of(train_cfg=augment).train()
    images = torch.randn(B, 3, *SIZE)
    samples, tokens, whole = samples_of(topk, scores=True)
    seen = {}
    stock = model.head.loss

    def loss(feats, data_samples, mix, trace):
        seen.update(feats=feats, mix=mix, trace=trace)
        return stock(feats, data_samples, mix, trace)

    model.head.loss = loss
    losses = model(images, samples, mode='loss')
    mix = seen['mix']
    area, share = mix.area().double(), mix.token_share(GRID).double()
    assert (area.max() > 0) == (augment is not None)
    target = whole + area[:, None] * (whole[mix.partner] - whole)
    mixed = tokens + share * (tokens[mix.partner] - tokens)
    model.head.loss = stock
    check_loss(
        model.head,
        seen['feats'],
        samples,
        target,
        mixed,
        mix=mix,
        trace=seen['trace'],
    )
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize('classifier', ['ImageClassifier', 'mmtlalign.MixClassifier'])
def test_both_classifiers_train_and_predict(classifier):
    model, images = model_of(classifier), torch.randn(B, 3, *SIZE)
    samples, _, _ = samples_of(topk=3, scores=classifier != 'ImageClassifier')
    losses = model.train()(images, samples, mode='loss')
    assert {'loss_cls', 'loss_dense'} == set(losses)
    predicted = model.eval()(images, samples, mode='predict')
    scores = model.head(model.extract_feat(images))
    torch.testing.assert_close(predicted[0].pred_score, scores[0].softmax(0))


def test_dhvt_and_its_maps():
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
    backbone = dict(type='mmtlalign.DHVT', arch=arch, patch_size=4, out_type='raw')
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=backbone,
            head=dict(
                type='mmtlalign.TokenLabelClsHead', num_classes=K, in_channels=16
            ),
            train_cfg=train_cfg('TokenCutMix', patch_size=4),
        )
    ).train()
    samples, _, _ = samples_of(topk=3, scores=True)
    losses = model(torch.randn(B, 3, 12, 20), samples, mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())


def test_single_precision_under_autocast():
    head, feats = head_of(), features()
    with torch.autocast('cpu', torch.bfloat16):
        losses = head.loss(feats, samples_of(topk=3)[0])
    assert {value.dtype for value in losses.values()} == {torch.float32}


# ------------------------------------------------------------------ what is refused


def without(field):
    samples = samples_of(topk=3)[0]
    samples[2].pop(field)
    return samples


def with_index(change):
    samples = samples_of(topk=3)[0]
    for sample in samples:
        index = change(sample.gt_label_map_index)
        sample.pop('gt_label_map_index')
        sample.set_field(index, 'gt_label_map_index')
    return samples


def other_shape():
    samples = samples_of(topk=3)[0]
    samples[3] = samples_of(topk=2)[0][3]
    return samples


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (
            lambda: without('gt_label_map'),
            r'pictures/2.png has no gt_label_map \(missing for 1',
        ),
        (lambda: without('gt_map_label'), r'pictures/2.png has no gt_map_label'),
        (lambda: without('gt_label_map_index'), 'have the same form'),
        (lambda: samples_of(grid=(5, 5))[0], r'Label maps of 5x5 cells for 15 tokens'),
        (
            lambda: samples_of(classes=K - 1)[0],
            '11 classes and the head num',
        ),
        (lambda: with_index(lambda i: i + K), r'num_classes=12: use maps'),
        (lambda: with_index(lambda i: i.half()), 'one class, an integer'),
        (other_shape, r'pictures/3.png has .* of shape'),
    ],
)
def test_maps_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        head_of().loss(features(), make())


def test_maps_that_lie_on_their_side():
    """As many cells as tokens, but rows and columns exchanged."""
    model = model_of().train()
    samples, _, _ = samples_of(topk=3, grid=GRID[::-1], scores=True)
    with pytest.raises(ValueError, match='Label maps of 5x3 cells for 3x5 tokens'):
        model(torch.randn(B, 3, *SIZE), samples, mode='loss')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(loss=dict(type='CrossEntropyLoss')), 'mmtlalign.TokenLabelLoss'),
        (dict(class_target='mean'), "'map', 'label' or 'both'"),
        (dict(missing='skip'), "'error' or 'hard label'"),
        (dict(map_values='scores'), 'logits'),
        (dict(label_smooth_val=1.0), '0.1 is usual'),
        (dict(cal_acc=True), 'no single true class'),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        TokenLabelClsHead(K, 16, **options)


@pytest.mark.parametrize('out_type', ['cls_token', 'featmap'])
def test_backbones_that_hide_their_tokens(out_type):
    with pytest.raises(ValueError, match="set out_type='raw'"):
        model_of(backbone=dict(out_type=out_type))
    model = model_of('ImageClassifier', backbone=dict(out_type=out_type))
    with pytest.raises(ValueError, match="set out_type='raw'"):
        model(torch.randn(B, 3, *SIZE), samples_of()[0], mode='loss')


def test_other_special_tokens_are_counted():
    distilled = dict(type='DistilledVisionTransformer', out_type='raw')
    with pytest.raises(ValueError, match='2 special tokens'):
        model_of(backbone=distilled)
    model = model_of(backbone=distilled, head=dict(num_extra_tokens=2)).train()
    samples, _, _ = samples_of(topk=3, scores=True)
    assert model(torch.randn(B, 3, *SIZE), samples, mode='loss')


def test_backbone_without_class_token():
    for special in (0, 1):
        with pytest.raises(
            ValueError, match='has 0 special tokens.*needs a class token'
        ):
            model_of(
                backbone=dict(with_cls_token=False, out_type='raw'),
                head=dict(num_extra_tokens=special),
            )


def test_labels_of_other_classes():
    samples, _, _ = samples_of()
    for sample in samples:
        sample.set_field(torch.eye(K + 1)[0], 'gt_score')
    with pytest.raises(ValueError, match='Labels of 13 classes'):
        head_of().eval().loss(features(), samples)


NO_MAPS = dict(
    class_target='label', loss=dict(type='mmtlalign.TokenLabelLoss', dense_weight=0)
)


def test_augments_that_do_not_say_where_tokens_come_from():
    augments = [dict(type='mmtlalign.CutMix'), dict(type='Mixup', alpha=0.8)]
    with pytest.raises(ValueError, match=r"\['Mixup'\] of mmpretrain do not record"):
        model_of(train_cfg=dict(augments=augments))
    # The class by area is right without maps.
    model = model_of(head=NO_MAPS, train_cfg=dict(augments=augments)).train()
    samples, _, _ = samples_of(lacking=range(B), scores=True)
    assert model(torch.randn(B, 3, *SIZE), samples, mode='loss')['loss_cls'].isfinite()


@pytest.mark.parametrize('augment', ['Mixup', 'mmtlalign.CutMix'])
def test_augments_of_a_stock_classifier(augment):
    def step(head):
        model = model_of(
            'ImageClassifier',
            head=head,
            data_preprocessor=dict(num_classes=K),
            train_cfg=dict(augments=dict(type=augment, alpha=0.8)),
        ).train()
        data = dict(inputs=torch.randn(B, 3, *SIZE), data_samples=samples_of(topk=3)[0])
        return model(**model.data_preprocessor(data, training=True), mode='loss')

    with pytest.raises(ValueError, match='train with mmtlalign.MixClassifier'):
        step(dict())
    assert step(NO_MAPS)['loss_cls'].isfinite()
