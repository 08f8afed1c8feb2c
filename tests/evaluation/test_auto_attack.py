"""AutoAttack through pyautoattack: golden numbers, few classes, stopped runs."""

import sys
from importlib.util import find_spec

import pytest
import torch
from golden_attack import check_auto_attack
from golden_files import FILES
from test_attacks import Smooth, batch

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.auto_attack import attack_plan, auto_attack
from mmtlalign.evaluation.pixel_model import PixelModel

needs_package = pytest.mark.skipif(
    find_spec('pyautoattack') is None, reason='pyautoattack is not installed'
)
ATTACKS = [name for name in FILES if name.startswith('attack')]


@needs_package
@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('name', ATTACKS)
def test_golden_numbers(name, seed):
    check_auto_attack(FILES[name], seed)


@needs_package
@pytest.mark.parametrize('classes', [3, 4])
def test_few_classes(classes):
    torch.manual_seed(0)
    model = PixelModel(Smooth(classes=classes), [120.0] * 3, [60.0] * 3)
    images, _ = batch(count=4)
    labels = model(images).argmax(1)
    labels[0] = (labels[0] + 1) % classes  # wrong from the start
    before, weights = torch.get_rng_state(), list(model.parameters())
    found = auto_attack(model, images, labels, 1e-5, batch_size=3)
    assert found.robust.tolist() == [False, True, True, True]
    assert torch.equal(found.images, images)
    assert 'not the standard AutoAttack' in found.note
    assert f'{classes} classes leave {classes - 1} targets' in found.note
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.requires_grad and p.grad is None for p in weights)
    with torch.inference_mode():  # as in mmengine's test loop
        found = auto_attack(model, images.clone(), labels.clone(), 0.5)
    assert not found.robust.any()


def test_plans():
    attacks, targets, note = attack_plan(10)
    assert (targets, note) == (9, '')
    assert attacks == ('apgd-ce', 'apgd-t', 'fab-t', 'square')
    assert attack_plan(1000) == attack_plan(10)
    attacks, targets, note = attack_plan(3)
    assert attacks == ('apgd-ce', 'fab-t', 'square') and targets == 2
    assert note.endswith('3 classes leave 2 targets of 9, without APGD-T')
    with pytest.raises(InputError, match='two or more'):
        attack_plan(1)


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyautoattack', None)
    model = PixelModel(Smooth(), [120.0] * 3, [60.0] * 3)
    with pytest.raises(UnsupportedError, match='pip install pyautoattack==0.2.0'):
        auto_attack(model, *batch(), 1 / 255)


@pytest.mark.parametrize(
    'model, images, epsilon, words',
    [
        (Smooth().double(), torch.rand(6, 3, 8, 8), 0.1, 'float32'),
        (Smooth(), torch.rand(6, 3, 8, 8) * 255, 0.1, r'\[0, 1\]'),
        (Smooth(), torch.rand(6, 3, 8, 8), 4, 'give a number such as 4 / 255'),
    ],
)
def test_what_does_not_fit_is_refused(model, images, epsilon, words):
    model = PixelModel(model, [120.0] * 3, [60.0] * 3)
    with pytest.raises(InputError, match=words):
        auto_attack(model, images, torch.zeros(6, dtype=torch.long), epsilon)
