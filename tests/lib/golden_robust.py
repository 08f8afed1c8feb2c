"""Golden numbers of ImageNet-C's errors, out of distribution, calibration, subsets."""

import re

import numpy as np
import torch
from golden_files import close

from mmtlalign.evaluation.accuracy import accuracy, correct_in_top, has_label, restrict
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
from mmtlalign.evaluation.corruptions import (
    ALEXNET_ERRORS,
    CORRUPTIONS,
    corruption_errors,
)
from mmtlalign.evaluation.out_of_distribution import detect_unknown


def near(ours, golden, tolerance=1e-6):
    close(np.asarray(ours, np.float64), golden, tolerance)


def check_robust(path):
    golden = np.load(path, allow_pickle=False)
    check_corruption_errors(golden)
    check_unknown(golden)
    check_calibration(golden)
    check_subset(golden)
    check_several_labels(golden)


def check_corruption_errors(golden):
    names = golden['mce/corruption_names'].tolist()
    assert set(names) == set(CORRUPTIONS)
    alexnet = np.array([ALEXNET_ERRORS[name] for name in names])
    near(alexnet, golden['mce/alexnet_error'])
    found = corruption_errors(
        dict(zip(names, golden['mce/error_15_severity_5'])),
        float(golden['mce/clean_error']),
        float(golden['mce/alexnet_clean_error']),
    )
    ce = np.array([found.by_corruption[name] for name in names])
    near(ce, golden['mce/ce_percent'])
    near(found.mce, golden['mce/mce_percent_official'])
    mean = golden['mce/mean_error_percent_unnormalised']
    near(100 * found.mean_error, mean)
    near(found.relative_mce, golden['mce/relative_mce_percent'])


def check_unknown(golden):
    found = detect_unknown(golden['ood/confidence_in'], golden['ood/confidence_out'])
    near(found.auroc, golden['ood/auroc_official'])
    near(found.aupr, golden['ood/aupr_official'])
    near(found.fpr, golden['ood/fpr95_official'])


def check_calibration(golden):
    scores = torch.from_numpy(golden['calib/logits'])
    labels = torch.from_numpy(golden['calib/label'])
    confidence, predicted = confidences(scores)
    correct = predicted == golden['calib/label']
    assert np.array_equal(correct, correct_in_top(scores, labels).numpy())
    near(correct.mean(), golden['calib/accuracy'])
    prefixes = {m[0] for m in map(re.compile(r'calib/bins\d+').match, golden) if m}
    assert prefixes
    for prefix in prefixes:
        bins = reliability_bins(confidence, correct, int(prefix[len('calib/bins') :]))
        assert np.array_equal(bins.count, golden[f'{prefix}/count'])
        for key in ('accuracy', 'confidence'):
            expected = golden[f'{prefix}/{key}_per_bin']
            assert np.array_equal(np.isnan(getattr(bins, key)), np.isnan(expected))
            near(np.nan_to_num(getattr(bins, key)), np.nan_to_num(expected))
        errors = calibration_errors(bins)._asdict()
        for (key, value), norm in zip(errors.items(), ('l1', 'l2', 'max')):
            near(value, golden[f'{prefix}/{key}'])
            near(value, golden[f'{prefix}/torchmetrics_{norm}'], 1e-5)
    size = int(golden['calib/beta'])
    near(
        adaptive_rms_error(confidence, correct, size),
        golden['calib/rms_adaptive'],
    )
    near(
        adaptive_rms_error(confidence, correct, size, official_last_bin=True),
        golden['calib/rms_adaptive_official_drops_last_bin'],
    )
    near(aurra(confidence, correct), golden['calib/aurra_official'])
    near(soft_f1(confidence, correct), golden['calib/soft_f1_official'])
    near(negative_log_likelihood(scores, labels), golden['calib/nll'])
    near(brier_score(scores, labels), golden['calib/brier'])


def check_subset(golden):
    scores = torch.from_numpy(golden['calib/logits'])
    labels = torch.from_numpy(golden['subset/label'])
    classes = golden['subset/classes'].tolist()
    right = correct_in_top(scores, labels, classes=classes)
    near(100 * accuracy(right).accuracy, golden['subset/top1_percent'])
    free = 100 * accuracy(correct_in_top(scores, labels)).accuracy
    near(free, golden['subset/top1_percent_without_restriction'])
    confidence, predicted = confidences(restrict(scores, labels, classes)[0])
    assert np.array_equal(np.array(classes)[predicted] == labels.numpy(), right.numpy())
    near(confidence, golden['subset/confidence'])
    size = int(golden['calib/beta'])
    error = adaptive_rms_error(confidence, right, size)
    near(error, golden['subset/rms_adaptive'])
    near(aurra(confidence, right), golden['subset/aurra'])


def check_several_labels(golden):
    scores = torch.from_numpy(golden['calib/logits'])
    labels = torch.from_numpy(golden['real/labels_padded'])
    counts = has_label(labels)
    assert int(counts.sum()) == int(golden['real/images_counted'])
    for k in (1, 5):
        found = accuracy(correct_in_top(scores, labels, k), counts)
        near(100 * found.accuracy, golden[f'real/top{k}_percent'])
        assert found.n == int(golden['real/images_counted'])
