"""Metrics say what the rules say, whatever the batches and the processes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from metric_parts import ALL, figures, samples
from mmengine.registry import METRICS
from repository import ROOT

from mmtlalign.errors import InputError

GOLDEN = np.load(ROOT / 'tests/golden/robust_a.npz')
KINDS = [config['type'].rpartition('.')[2] for config in ALL]


def close(found, expected):
    assert found == pytest.approx(float(expected), rel=1e-6, abs=1e-6)


def golden_samples(labels, logits=GOLDEN['calib/logits']):
    scores = torch.from_numpy(logits).double().softmax(1)
    return [
        dict(pred_score=score, gt_label=torch.tensor([n for n in own if n >= 0]).long())
        for score, own in zip(scores, labels.reshape(len(labels), -1).tolist())
    ]


def evaluate(kind, given, **options):
    config = dict(type=f'mmtlalign.{kind}', **options)
    return figures(config, [given[:9], given[9:]], len(given))


# ---------------------------------------------------------------------- figures


def test_calibration_of_the_official_codes():
    given = golden_samples(GOLDEN['calib/label'])
    found = evaluate('Calibration', given, bin_size=int(GOLDEN['calib/beta']))
    for name, key in dict(
        accuracy='accuracy',
        ece='bins15/ece',
        max_error='bins15/mce',
        rms='rms_adaptive',
        aurra='aurra_official',
        soft_f1='soft_f1_official',
    ).items():
        close(found[f'calibration/{name}'], 100 * GOLDEN[f'calib/{key}'])
    for name in ('nll', 'brier'):
        close(found[f'calibration/{name}'], GOLDEN[f'calib/{name}'])
    found = evaluate('Calibration', given, bins=10, official_last_bin=True)
    close(found['calibration/ece'], 100 * GOLDEN['calib/bins10/ece'])
    last = GOLDEN['calib/rms_adaptive_official_drops_last_bin']
    close(found['calibration/rms'], 100 * last)


def test_subset_of_the_official_code():
    classes = GOLDEN['subset/classes'].tolist()
    given = golden_samples(GOLDEN['subset/label'])
    found = evaluate('SubsetAccuracy', given, classes=classes)
    close(found['subset/top1'], GOLDEN['subset/top1_percent'])
    share = found['subset/top1'] / 100
    error = 100 * (share * (1 - share) / len(given)) ** 0.5
    close(found['subset/standard_error'], error)
    every = evaluate('SubsetAccuracy', given)
    close(every['subset/top1'], GOLDEN['subset/top1_percent_without_restriction'])
    found = evaluate('Calibration', given, classes=classes)
    close(found['calibration/rms'], 100 * GOLDEN['subset/rms_adaptive'])
    close(found['calibration/aurra'], 100 * GOLDEN['subset/aurra'])


def test_several_labels():
    given = golden_samples(GOLDEN['real/labels_padded'])
    found = evaluate('ReaLAccuracy', given)
    for k in (1, 5):
        close(found[f'real/top{k}'], GOLDEN[f'real/top{k}_percent'])


def test_out_of_distribution_of_the_official_code():
    confidences = GOLDEN['ood/confidence_in'], GOLDEN['ood/confidence_out']
    given = []
    for out, own in enumerate(confidences):
        for value in own:
            # As the largest of many, so that each confidence can be had.
            scores = torch.full((101,), (1 - value) / 100, dtype=torch.float64)
            scores[0] = value
            label = torch.tensor([] if out else [0]).long()
            given.append(dict(pred_score=scores, gt_label=label, outside=bool(out)))
    for options in (dict(), dict(field='outside')):
        found = evaluate('OutOfDistribution', given, which=None, **options)
        for name in ('aupr', 'auroc', 'fpr95'):
            official = GOLDEN[f'ood/{name}_official']
            close(found[f'out_of_distribution/{name}'], 100 * official)


def corrupted_samples():
    """Samples with the errors of the golden file, a thousand a cell in twenty."""
    given, errors = [], {}
    for name, row in zip(
        GOLDEN['mce/corruption_names'].tolist(), GOLDEN['mce/error_15_severity_5']
    ):
        errors[name] = [round(20 * error) for error in row]
        for severity, wrong in enumerate(errors[name], 1):
            for number in range(20):
                label = torch.tensor([int(number < wrong)])
                fields = dict(gt_label=label, corruption=name, severity=severity)
                given.append(dict(fields, pred_score=torch.tensor([0.7, 0.3])))
    return given, {name: np.array(row) / 20 for name, row in errors.items()}


def test_mean_corruption_error_of_the_files_alone():
    given, errors = corrupted_samples()
    clean = dict(clean_error=0.2, alexnet_clean_error=0.43478)
    metric = METRICS.build(dict(type='mmtlalign.CorruptionError', **clean))
    alexnet = dict(
        zip(GOLDEN['mce/corruption_names'].tolist(), GOLDEN['mce/alexnet_error'])
    )
    for name in ('ImageNet-C', 'CIFAR-C', None):
        metric.dataset_meta = dict(dataset_name=name) if name else None
        metric.process(None, given)
        found = metric.evaluate(len(given))
        mean = 100 * np.mean(list(errors.values()))
        close(found['corruption/mean_error'], mean)
        close(found['corruption/error/fog'], 100 * errors['fog'].mean())
        ce = {n: 100 * own.mean() / alexnet[n] for n, own in errors.items()}
        if name != 'ImageNet-C':  # AlexNet's errors are of other pictures
            assert not any('ce' in key.split('/')[1] for key in found)
            continue
        close(found['corruption/mce'], np.mean(list(ce.values())))
        close(found['corruption/ce/fog'], ce['fog'])
        relative = [
            (own.mean() - 0.2) / (alexnet[n] - 0.43478) for n, own in errors.items()
        ]
        close(found['corruption/relative_mce'], 100 * np.mean(relative))
    metric.dataset_meta = dict(dataset_name='ImageNet-C')
    metric.process(None, given[:-20])  # a cell less
    assert 'corruption/mce' not in metric.evaluate(len(given) - 20)


def test_a_subset_of_all_classes_is_plain_accuracy():
    given = samples()
    every = evaluate('SubsetAccuracy', given, topk=(1, 2))
    assert evaluate('SubsetAccuracy', given, topk=(1, 2), classes=range(8)) == every
    accuracy = METRICS.build(dict(type='mmpretrain.Accuracy', topk=(1, 2)))
    accuracy.process(None, given)
    host = accuracy.evaluate(len(given))
    close(every['subset/top2'], host['accuracy/top2'])


def test_values_of_single_images_are_kept():
    given = samples()
    metric = METRICS.build(dict(type='mmtlalign.Calibration'))
    metric.process(None, given)
    found = metric.evaluate(len(given))
    assert metric.per_image.keys() == {'confidence', 'top1', 'nll', 'brier'}
    close(100 * metric.per_image['top1'].mean(), found['calibration/accuracy'])


# -------------------------------------------------------- batches and processes


@pytest.mark.parametrize('number', range(len(ALL)), ids=KINDS)
def test_batches_do_not_matter(number):
    given = samples(kind=KINDS[number])
    whole = figures(ALL[number], [given], len(given))
    parts = [given[:1], given[1:8], given[8:]]
    assert figures(ALL[number], parts, len(given)) == whole
    assert len(whole) > 2


@pytest.mark.slow
def test_two_processes_count_no_image_twice(tmp_path):
    path = os.pathsep.join(map(str, (ROOT, ROOT / 'tests/lib')))
    env = dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1')
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node=2']
    command += ['--master-port=29617', str(ROOT / 'tests/lib/metric_parts.py')]
    done = subprocess.run(
        command, env=env, cwd=tmp_path, text=True, capture_output=True, check=False
    )
    (line,) = [li for li in done.stdout.splitlines() if li.startswith('FIGURES')] or [
        done.stderr[-2000:]
    ]
    found = json.loads(line.removeprefix('FIGURES'))
    for config, kind in zip(ALL, KINDS):
        given = samples(kind=kind)
        assert figures(config, [given], len(given)) == found[kind], kind


# -------------------------------------------------------------------- bad input


def test_wrong_settings():
    with pytest.raises(InputError, match="which='a' names the classes.*leave classes"):
        METRICS.build(dict(type='mmtlalign.SubsetAccuracy', which='a', classes=[1]))
    with pytest.raises(InputError, match="which='b' is not a subset of ImageNet"):
        METRICS.build(dict(type='mmtlalign.Calibration', which='b'))
    with pytest.raises(InputError, match=r'topk=\(1, 5\) of 3 classes'):
        METRICS.build(dict(type='mmtlalign.SubsetAccuracy', classes=[1, 2, 3]))
    with pytest.raises(InputError, match='bins=0, bin_size=100: give 1 or more'):
        METRICS.build(dict(type='mmtlalign.Calibration', bins=0))


WRONG = {
    'other classes': (
        dict(type='mmtlalign.SubsetAccuracy', which='a'),
        'compares classes up to 988, but the model has 8',
    ),
    'label outside': (
        dict(type='mmtlalign.SubsetAccuracy', classes=[1, 2], topk=[1]),
        'labels are not among the 2 classes',
    ),
    'no field': (
        dict(type='mmtlalign.OutOfDistribution', which=None, field='out'),
        r"no field 'out'; add it with PackInputs\(meta_keys=",
    ),
    'one half': (
        dict(type='mmtlalign.OutOfDistribution', which=None),
        '0 of 23 images are out of distribution, but both kinds are needed; test on a '
        'ConcatDataset of both',
    ),
}


@pytest.mark.parametrize('name', WRONG)
def test_samples_that_do_not_fit(name):
    config, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        figures(config, [samples()], 23)


def test_samples_that_lack_something():
    with pytest.raises(InputError, match='has 0; use mmtlalign.ReaLAccuracy for'):
        figures(ALL[2], [samples(kind='OutOfDistribution')], 23)
    given = [{k: v for k, v in one.items() if k != 'severity'} for one in samples()]
    with pytest.raises(InputError, match='no fields corruption and severity; set Pack'):
        figures(ALL[3], [given], 23)
    given = [dict(gt_label=torch.tensor([1]))]
    with pytest.raises(InputError, match='reads pred_score, the probabilities of all'):
        figures(ALL[0], [given], 1)
