"""Calibration errors, and detection of images of no known class."""

import numpy as np
import pytest
import torch

from mmtlalign.errors import InputError
from mmtlalign.evaluation.calibration import (
    adaptive_rms_error,
    aurra,
    brier_score,
    calibration_errors,
    confidences,
    negative_log_likelihood,
    reliability_bins,
    soft_f1,
)
from mmtlalign.evaluation.out_of_distribution import detect_unknown, detection

SEEDS = range(5)


def draw(seed, n=1000):
    random = np.random.default_rng(seed)
    confidence = random.random(n)
    return confidence, random.random(n) < confidence**2


@pytest.mark.parametrize('seed', SEEDS)
def test_a_calibrated_model_has_no_error(seed):
    random = np.random.default_rng(seed)
    confidence = random.random(200_000)
    correct = random.random(len(confidence)) < confidence
    errors = calibration_errors(reliability_bins(confidence, correct))
    assert errors.ece < 0.01 and errors.mce < 0.03
    assert adaptive_rms_error(confidence, correct, 10_000) < 0.01


@pytest.mark.parametrize('bins', [1, 10, 15])
@pytest.mark.parametrize('seed', SEEDS)
def test_mean_is_below_rms_is_below_maximum(seed, bins):
    errors = calibration_errors(reliability_bins(*draw(seed), bins))
    assert errors.ece <= errors.rms + 1e-12 <= errors.mce + 2e-12


def test_edges_belong_to_the_bin_below():
    bins = reliability_bins([0, 0.1, 0.5, 1], [0, 1, 1, 1], 10)
    assert bins.count.tolist() == [2, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert bins.accuracy[0] == 0.5 and np.isnan(bins.accuracy[1])


@pytest.mark.parametrize('n', [1, 50, 100, 199, 200, 730])
def test_bins_of_equally_many(n):
    confidence, correct = draw(0, n)
    order = np.argsort(confidence)
    starts = [100 * i for i in range(max(n // 100, 1))]
    total = 0
    for start, stop in zip(starts, [*starts[1:], n]):
        part = order[start:stop]
        gap = confidence[part].mean() - correct[part].mean()
        total += len(part) / n * gap**2
    assert adaptive_rms_error(confidence, correct) == pytest.approx(total**0.5)
    official = adaptive_rms_error(confidence, correct, official_last_bin=True)
    assert official <= total**0.5


@pytest.mark.parametrize('seed', SEEDS)
def test_the_order_of_the_data_does_not_matter(seed):
    """Also where confidences are equal."""
    confidence, correct = draw(seed)
    confidence = confidence.round(1)
    order = np.random.default_rng(seed).permutation(len(confidence))
    for measure in (adaptive_rms_error, aurra, soft_f1):
        again = measure(confidence[order], correct[order])
        assert measure(confidence, correct) == pytest.approx(again, abs=1e-12)


def test_area_under_the_response_curve():
    # The surest is right, the next wrong: accuracies 1, 1/2, 2/3.
    assert aurra([0.2, 0.9, 0.5], [1, 1, 0]) == pytest.approx((1 + 1 / 2 + 2 / 3) / 3)
    assert aurra([0.5, 0.5], [1, 0]) == 0.5


def test_soft_f1_of_the_extremes():
    assert soft_f1([1, 0], [1, 0]) == 1
    assert soft_f1([1, 1], [1, 0]) == 0
    assert soft_f1([1, 1], [1, 1]) == 0


def test_likelihood_and_brier():
    scores = torch.tensor([[0.0, 0.0], [0.0, 50.0]])
    labels = torch.tensor([0, 1])
    assert negative_log_likelihood(scores, labels) == pytest.approx(np.log(2) / 2)
    assert brier_score(scores, labels) == pytest.approx(0.25)
    assert brier_score(scores, 1 - labels) == pytest.approx((0.5 + 2) / 2)
    confidence, predicted = confidences(scores)
    assert confidence == pytest.approx([0.5, 1]) and predicted[1] == 1


@pytest.mark.parametrize(
    'confidence, correct, words',
    [
        ([0.5, 1.5], [0, 1], 'in 0.5...1.5: give probabilities'),
        ([0.5, np.nan], [0, 1], 'give probabilities'),
        ([0.5], [0, 1], 'for the same images'),
        ([], [], 'one or more'),
    ],
)
def test_what_is_no_confidence_is_refused(confidence, correct, words):
    with pytest.raises(InputError, match=words):
        reliability_bins(confidence, correct)
    with pytest.raises(InputError, match=words):
        aurra(confidence, correct)


@pytest.mark.parametrize('decimals', [1, 16])
@pytest.mark.parametrize('seed', SEEDS)
def test_detection_is_scikit_learn_s(seed, decimals):
    metrics = pytest.importorskip('sklearn.metrics')
    random = np.random.default_rng(seed)
    known = random.beta(5, 2, 150).round(decimals)
    unknown = random.beta(2, 2, 40).round(decimals)
    truth, score = np.repeat([0, 1], [150, 40]), -np.append(known, unknown)
    found = detect_unknown(known, unknown)
    exact = metrics.average_precision_score(truth, score)
    assert found.aupr == pytest.approx(exact, abs=1e-12)
    assert found.auroc == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-12)
    assert found.base_rate == pytest.approx(40 / 190)
    rates = metrics.roc_curve(truth, score, drop_intermediate=False)[:2]
    near = np.abs(rates[1] - 0.95)
    assert found.fpr in rates[0][np.isclose(near, near.min())]


@pytest.mark.parametrize('rate', [0.1, 0.5])
def test_detection_of_the_perfect_and_of_the_constant(rate):
    positive = np.arange(100) < 100 * rate
    perfect = detection(positive + np.linspace(0, 0.1, 100), positive)
    assert perfect[:3] == (1, 1, 0)
    constant = detection(np.zeros(100), positive)
    assert constant.aupr == pytest.approx(rate)
    assert constant.auroc == pytest.approx(0.5) and constant.fpr == 1


def test_detection_needs_both_kinds():
    with pytest.raises(InputError, match='0 of 3 images are positive'):
        detect_unknown([0.1, 0.2, 0.3], [])
    with pytest.raises(InputError, match='finite'):
        detect_unknown([0.1], [np.nan])
