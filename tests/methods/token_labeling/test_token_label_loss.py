"""Losses of token labels: against plain formulas, in any form of the labels."""

import pytest
import torch
from label_samples import smooth

from mmtlalign.methods.token_labeling.loss import (
    DENSE_WEIGHTS,
    TokenLabelLoss,
    TopKLabels,
    cross_entropy,
    log_softmax,
    smooth_one_hot,
    smooth_soft_labels_official,
    soft_target_cross_entropy,
    trust_map,
)

B, N, K = 3, 5, 12


def by_formula(logits, target):
    """Minus sum of target times log-probability, row by row, in float64."""
    return -(target * logits.double().log_softmax(-1)).sum(-1)


def top_labels(k, form, shape=(B, N)):
    """Labels that name k of K classes, and the same with all columns."""
    indices = torch.rand(*shape, K).topk(k).indices
    values = torch.rand(*shape, k, dtype=torch.float64) * 3
    full = torch.zeros(*shape, K, dtype=torch.float64)
    if form == 'logits':
        return values, indices, full.scatter(-1, indices, values).softmax(-1)
    values = values / values.sum(-1, keepdim=True) * 0.8
    if k < K:
        full = full + 0.2 / (K - k)
    return values, indices, full.scatter(-1, indices, values)


@pytest.mark.parametrize('form', ['logits', 'probabilities'])
@pytest.mark.parametrize('k', [1, 4, K - 1])
@pytest.mark.parametrize('smoothing', [0, 0.1])
def test_labels_that_name_few_classes_are_those_of_all(form, k, smoothing):
    values, indices, dense = top_labels(k, form)
    labels = getattr(TopKLabels, f'from_{form}')(values, indices, K)
    labels, dense = labels.smoothed(smoothing, K), smooth(dense, smoothing, K)
    torch.testing.assert_close(labels.dense(K), dense)
    surplus = smoothing / K
    torch.testing.assert_close(dense.sum(-1), torch.full((B, N), 1 + surplus).double())
    logits = torch.randn(B, N, K).double().requires_grad_()
    loss = cross_entropy(log_softmax(logits), labels)
    torch.testing.assert_close(loss, by_formula(logits, dense))
    torch.testing.assert_close(loss, cross_entropy(log_softmax(logits), dense))
    (sparse,) = torch.autograd.grad(loss.sum(), logits)
    (full,) = torch.autograd.grad(by_formula(logits, dense).sum(), logits)
    torch.testing.assert_close(sparse, full)


def test_the_two_smoothings_differ_in_their_sum():
    """Labels of images sum to 1; those of maps to 1 + s/K, as in the official code."""
    labels = torch.eye(K).double()
    image = smooth_one_hot(labels, 0.2, K)
    off, on = 0.2 / K, 1 - 0.2 + 0.2 / K  # the numbers of a class and of others
    torch.testing.assert_close(image, labels * (on - off) + off)
    torch.testing.assert_close(image.sum(-1), torch.ones(K).double())
    of_map = smooth_soft_labels_official(labels, 0.2, K)
    torch.testing.assert_close(of_map, smooth(labels, 0.2, K))
    torch.testing.assert_close(of_map, labels * on + off)
    torch.testing.assert_close(of_map.sum(-1), torch.full((K,), 1 + off).double())


def test_classes_that_are_not_named_keep_their_mass():
    """1000 classes, five of them at 10: the others hold 995 of 995 + 5 e^10."""
    values = torch.full((1, 5), 10.0, dtype=torch.float16)
    labels = TopKLabels.from_logits(values, torch.arange(5).short()[None], 1000)
    expected = 1 / (995 + 5 * torch.tensor(10.0).exp())
    torch.testing.assert_close(labels.rest, expected[None])
    assert labels.excess.dtype == torch.float32 and labels.indices.dtype == torch.int64


def test_certain_logits_do_not_overflow():
    """A hard label among maps: float16's 30000 for the class, then zeros."""
    values = torch.tensor([[30000.0, 0, 0]], dtype=torch.float16)
    labels = TopKLabels.from_logits(values, torch.tensor([[7, 0, 0]]), K)
    hard = torch.nn.functional.one_hot(torch.tensor([7]), K).float()
    torch.testing.assert_close(labels.dense(K), hard)


@pytest.mark.parametrize('form', ['logits', 'probabilities'])
def test_fewer_classes_than_columns(form):
    values, indices, _ = top_labels(3, form)
    values[0, 0, 2], indices[0, 0, 2] = 5.0, -1  # the value must not be read
    make = getattr(TopKLabels, f'from_{form}')
    labels, alone = make(values, indices, K), make(values[..., :2], indices[..., :2], K)
    logits = log_softmax(torch.randn(B, N, K))
    torch.testing.assert_close(labels.dense(K)[0, 0], alone.dense(K)[0, 0])
    torch.testing.assert_close(
        labels.cross_entropy(logits)[0, 0], alone.cross_entropy(logits)[0, 0]
    )


def test_no_tensor_of_all_classes_is_made_for_the_labels():
    """Few classes are read; only the scores have as many columns as classes."""
    shapes = []
    values, indices, _ = top_labels(2, 'logits')

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if torch.is_tensor(out):
                shapes.append(tuple(out.shape))
            return out

    with Watch():
        labels = TopKLabels.from_logits(values, indices, K).smoothed(0.1, K)
        assert shapes and not any(K in shape for shape in shapes)
        TokenLabelLoss(1, 0)(None, None, torch.randn(B, N, K), labels)
    assert sum(shape == (B, N, K) for shape in shapes) == 2  # scores, log-softmax


@pytest.mark.parametrize('hard', [True, False])
@pytest.mark.parametrize('sparse', [True, False])
def test_tokens_of_two_images(hard, sparse):
    """Each token's label is its own image's and the partner's, by share."""
    share = torch.rand(B, N).double()
    share = share.round() if hard else share
    partner = torch.tensor([2, 0, 1])
    values, indices, dense = top_labels(3, 'logits')
    labels = TopKLabels.from_logits(values, indices, K) if sparse else dense
    scores = torch.randn(B, N, K).double()
    loss = TokenLabelLoss(2.0, 0)(None, None, scores, labels, partner, share)
    mixed = (1 - share[..., None]) * dense + share[..., None] * dense[partner]
    expected = 2 * by_formula(scores, mixed).mean()
    torch.testing.assert_close(loss['loss_dense'], expected)
    assert set(loss) == {'loss_dense'}


def test_one_label_for_all_tokens():
    labels = torch.rand(B, 1, K).double().softmax(-1)
    scores = torch.randn(B, N, K).double()
    loss = TokenLabelLoss(1, 0)(None, None, scores, labels)['loss_dense']
    torch.testing.assert_close(loss, by_formula(scores, labels).mean())


def test_map_is_trusted_more_where_it_disagrees():
    """The official numbers, the reverse of the official comment."""
    true = torch.eye(K)[:2].double()
    blended = trust_map(torch.stack([true[0], true[0]]), true)
    assert blended[0, 0] == 1
    torch.testing.assert_close(blended[1], 0.9 * true[0] + 0.1 * true[1])
    soft = 0.7 * true[1] + 0.3 / K
    torch.testing.assert_close(
        trust_map(soft[None], true[1:])[0], 0.5 * (soft + true[1])
    )


def test_repeated_batches():
    target = torch.rand(B, K).double().softmax(-1)
    scores = torch.randn(2 * B, K).double()
    expected = by_formula(scores, torch.cat([target, target])).mean()
    torch.testing.assert_close(soft_target_cross_entropy(scores, target), expected)


@pytest.mark.parametrize('shape', [(4, K), (1, K), (B, K + 1)])
def test_scores_that_do_not_fit(shape):
    with pytest.raises(ValueError, match='the number of classes must agree'):
        soft_target_cross_entropy(torch.zeros(shape), torch.zeros(B, K))


def test_both_weights_have_names():
    assert DENSE_WEIGHTS == {'paper': 0.5, 'code': 1.0}
    assert TokenLabelLoss('paper').dense_weight == 0.5
    assert TokenLabelLoss().dense_weight == TokenLabelLoss('code').dense_weight == 1.0
    assert TokenLabelLoss(0.25).dense_weight == 0.25


@pytest.mark.parametrize(
    ('weights', 'message'),
    [(('beta',), "'paper': 0.5"), ((-1,), 'not be negative'), ((0, 0), 'above 0')],
)
def test_weights_that_cannot_be(weights, message):
    with pytest.raises(ValueError, match=message):
        TokenLabelLoss(*weights)


def test_single_precision_under_autocast():
    """Scores in half precision; from there on all is float32."""
    values, indices, dense = top_labels(3, 'logits')
    labels = TopKLabels.from_logits(values.half(), indices.short(), K)
    scores = (10 * torch.randn(B, N, K)).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        loss = TokenLabelLoss()(
            scores[:, 0], labels.dense(K)[:, 0], scores, labels.smoothed(0.1, K)
        )
    expected = by_formula(scores, smooth(labels.dense(K).double(), 0.1, K)).mean()
    assert {value.dtype for value in loss.values()} == {torch.float32}
    torch.testing.assert_close(loss['loss_dense'].double(), expected, rtol=1e-5, atol=0)
