"""CIFAR-10 and a small trained network: accuracy falls with what is done to images."""

import cv2
import numpy as np
import pytest
import torch
from conftest import needs_corruptions
from torch import nn

from mmtlalign.evaluation.accuracy import accuracy, compare_paired, correct_in_top
from mmtlalign.evaluation.attack_checks import (
    AttackResult,
    first_step_warnings,
    table_warnings,
)
from mmtlalign.evaluation.attacks import EPSILONS, add_noise, fgsm, pgd
from mmtlalign.evaluation.corruptions import corrupt
from mmtlalign.evaluation.draws import generators, integer_seed
from mmtlalign.evaluation.occlusion import (
    drop_patches,
    random_patches,
    random_permutations,
    shuffle_cells,
)
from mmtlalign.evaluation.pixel_model import PixelModel

pytestmark = [pytest.mark.real_data, pytest.mark.slow]
# In one point steps; of 500 images one standard error is two points.
SLACK = 0.01


def read(folder, step):
    """Read every so many images: RGB (n, 3, 32, 32) in [0, 1], and labels."""
    images, labels = [], []
    for label, kind in enumerate(sorted(folder.iterdir())):
        for file in sorted(kind.iterdir())[::step]:
            images.append(cv2.imread(str(file))[..., ::-1].transpose(2, 0, 1))
            labels.append(label)
    return torch.from_numpy(np.stack(images)).float() / 255, torch.tensor(labels)


def block(inner, outer):
    return [nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU()]


@pytest.fixture(scope='module')
def trained(unpack):
    """A network of 45 thousand parameters after a minute, and 500 test images."""
    root = unpack('cifar10')
    images, labels = read(root / 'train', 10)
    torch.manual_seed(0)
    network = nn.Sequential(
        *block(3, 24), nn.MaxPool2d(2), *block(24, 48), nn.MaxPool2d(2),
        *block(48, 80), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(320, 10),
    )  # fmt: skip
    model = PixelModel(network, [125.0] * 3, [62.0] * 3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.05)
    epochs, batch = 5, 64
    steps = epochs * -(-len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for _ in range(epochs):
        for part in torch.randperm(len(images)).split(batch):
            x = images[part].flip(3) if torch.rand(()) < 0.5 else images[part]
            loss = nn.functional.cross_entropy(
                network(model.normalise(x)), labels[part]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model, *read(root / 'test', 20)


@torch.no_grad()
def right(model, images, labels):
    return correct_in_top(model(images), labels)


def check_falling(values, clean):
    """Each is below the one before, but for noise; the last far below the first."""
    print([round(float(v), 3) for v in (clean, *values)])
    assert all(b <= a + SLACK for a, b in zip((clean, *values), values))
    assert values[-1] < clean - 0.1


@needs_corruptions
def test_severity(trained):
    model, images, labels = trained
    clean = accuracy(right(model, images, labels)).accuracy
    assert clean > 0.45
    pixels = (255 * images).round().byte().permute(0, 2, 3, 1).numpy()
    found = []
    for severity in (1, 3, 5):
        shares = []
        for name in ('gaussian_noise', 'impulse_noise', 'contrast', 'jpeg_compression'):
            corrupted = [
                corrupt(image, name, severity, integer_seed(0, name, i))
                for i, image in enumerate(pixels)
            ]
            x = torch.from_numpy(np.stack(corrupted)).permute(0, 3, 1, 2).float() / 255
            shares.append(accuracy(right(model, x, labels)).accuracy)
        found.append(np.mean(shares))
    check_falling(found, clean)


def test_epsilon(trained):
    model, images, labels = trained
    clean = accuracy(right(model, images, labels)).accuracy
    assert first_step_warnings(model, images, labels) == []
    rows = []
    for epsilon in EPSILONS:
        random = generators(0, 'noise', range(len(images)))
        attacked = dict(
            noise=add_noise(images, epsilon, random),
            fgsm=fgsm(model, images, labels, epsilon),
            pgd=pgd(model, images, labels, epsilon, epsilon / 3, 5),
        )
        for name, x in attacked.items():
            share = accuracy(right(model, x, labels)).accuracy
            rows.append(AttackResult(name, epsilon, share))
    for name in ('fgsm', 'pgd'):
        check_falling([r.accuracy for r in rows if r.attack == name], clean)
    strict = [r for r in rows if r.attack != 'noise']
    assert table_warnings(strict, clean) == []
    noise = [r for r in rows if r.attack == 'noise']
    assert all(abs(r.accuracy - clean) < 0.03 for r in noise)


def test_ratio_and_shuffle(trained):
    """An 8 x 8 grid of 32 pixels."""
    model, images, labels = trained
    plain = right(model, images, labels)
    clean = accuracy(plain).accuracy
    found = []
    for ratio in (0.0, 0.2, 0.4, 0.6, 0.8):
        random = generators(0, 'drop', range(len(images)))
        x = drop_patches(images, random_patches(random, (8, 8), ratio))
        assert ratio or torch.equal(x, images)
        found.append(right(model, x, labels))
    check_falling([accuracy(f).accuracy for f in found], clean)
    paired = compare_paired(found[-1], plain)
    assert paired.difference < 0 and paired.p < 1e-6
    shares = []
    for side in (2, 4, 8):
        random = generators(0, 'shuffle', range(len(images)))
        order = random_permutations(random, (side, side))
        x = shuffle_cells(images, order, (side, side))
        shares.append(accuracy(right(model, x, labels)).accuracy)
    check_falling(shares, clean)
