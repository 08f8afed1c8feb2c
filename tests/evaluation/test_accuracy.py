"""Accuracy of best classes, subsets, several labels; paired comparison."""

import pytest
import torch
from scipy.stats import binomtest

from mmtlalign.errors import InputError
from mmtlalign.evaluation.accuracy import (
    accuracy,
    compare_paired,
    correct_in_top,
    has_label,
    restrict,
)
from mmtlalign.evaluation.conditions import Predictions, score

SEEDS = range(5)


def draw(seed, n=60, classes=12):
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, classes, generator=random)
    return scores, torch.randint(classes, (n,), generator=random)


@pytest.mark.parametrize('k', [1, 3, 12])
@pytest.mark.parametrize('seed', SEEDS)
def test_best_classes(seed, k):
    scores, labels = draw(seed)
    expected = (scores.topk(k).indices == labels[:, None]).any(1)
    assert torch.equal(correct_in_top(scores, labels, k), expected)


@pytest.mark.parametrize('seed', SEEDS)
def test_the_subset_of_all_classes_is_plain_accuracy(seed):
    scores, labels = draw(seed)
    every = torch.randperm(12).tolist()
    for k in (1, 4):
        plain = correct_in_top(scores, labels, k)
        assert torch.equal(correct_in_top(scores, labels, k, every), plain)


@pytest.mark.parametrize('seed', SEEDS)
def test_a_subset_is_chosen_from_alone(seed):
    scores, _ = draw(seed)
    classes = [7, 1, 4]
    places = torch.randint(3, (len(scores),))
    labels = torch.tensor(classes)[places]
    narrow, renumbered = restrict(scores, labels, classes)
    assert torch.equal(renumbered, places)
    expected = narrow.argmax(1) == places
    assert torch.equal(correct_in_top(scores, labels, 1, classes), expected)


def test_equal_scores_and_nan():
    scores = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [torch.nan] * 3])
    labels = torch.tensor([0, 1, 0])
    assert correct_in_top(scores, labels, 1).tolist() == [True, False, False]
    assert correct_in_top(scores, labels, 2).tolist() == [True, True, False]


def test_any_of_several_labels():
    scores = torch.eye(4)
    labels = torch.tensor([[3, 0], [0, -1], [-1, -1], [1, 2]])
    assert correct_in_top(scores, labels).tolist() == [True, False, False, False]
    found = accuracy(correct_in_top(scores, labels), has_label(labels))
    assert found.n == 3 and found.accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    'labels, classes, words',
    [
        ([0, 12], None, 'Label 12 is out of range.*0 to 11'),
        ([0, -2], None, 'Label -2'),
        ([0, 1, 2], None, '3 labels for 2 rows'),
        ([0, 1], [0, 2], '1 labels are not among the 2 classes'),
        ([0, 0], [0, 12], 'Label 12 is out of range'),
        ([0, 0], [0, 0], 'lists a class twice'),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, classes, words):
    with pytest.raises(InputError, match=words):
        correct_in_top(torch.zeros(2, 12), torch.tensor(labels), 1, classes)


def test_labels_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match='give integers'):
        correct_in_top(torch.zeros(2, 3), torch.zeros(2))


def test_standard_error():
    found = accuracy(torch.arange(100) < 80)
    assert found == pytest.approx((100, 0.8, 0.04))
    with pytest.raises(InputError, match='All images are excluded'):
        accuracy(torch.zeros(0, dtype=torch.bool))


@pytest.mark.parametrize('seed', SEEDS)
def test_paired_comparison(seed):
    random = torch.Generator().manual_seed(seed)
    n = 300
    a = torch.rand(n, generator=random) < 0.7
    b = torch.where(torch.rand(n, generator=random) < 0.8, a, ~a)
    found = compare_paired(a, b)
    assert found.only_a == int((a & ~b).sum()) and found.only_b == int((b & ~a).sum())
    assert found.difference == pytest.approx(accuracy(a)[1] - accuracy(b)[1])
    # The standard error of the mean of the differences, with n in place of n - 1.
    spread = (a.double() - b.double()).std(correction=0) / n**0.5
    assert found.standard_error == pytest.approx(spread.item())
    exact = binomtest(found.only_a, found.only_a + found.only_b).pvalue
    assert found.p == pytest.approx(exact, rel=1e-9)
    swapped = compare_paired(b, a)
    assert swapped.p == found.p and swapped.difference == -found.difference


def test_models_that_agree_and_large_counts():
    same = torch.ones(5, dtype=torch.bool)
    assert compare_paired(same, same) == (0, 0, 0, 0, 1)
    many = torch.arange(50000)
    found = compare_paired(many % 2 == 0, (many % 2 == 1) & (many < 48000))
    exact = binomtest(found.only_a, found.only_a + found.only_b).pvalue
    assert found.p == pytest.approx(exact, rel=1e-6)
    with pytest.raises(InputError, match='5 and 4 images'):
        compare_paired(same, same[:4])
    with pytest.raises(InputError, match='0 and 0 images.*one or more'):
        compare_paired(same[:0], same[:0])


@pytest.mark.parametrize('classes', [3, 20])
def test_stored_predictions_know_five_classes(classes):
    logits, labels = torch.randn(200, classes), torch.randint(0, classes, (200, 1))
    found = Predictions(**score(logits, labels), labels=labels.numpy())
    for k in (1, 2, 5):
        right = correct_in_top(logits, labels, k).numpy()
        assert (found.correct(k) == right).all()
    with pytest.raises(InputError, match='k=6: only the 5 best'):
        found.correct(6)
