"""FGSM and PGD: in ball and box, whatever the batch; signs of a masked gradient."""

import pytest
import torch

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.attack_checks import (
    AttackResult,
    first_step_warnings,
    table_warnings,
)
from mmtlalign.evaluation.attacks import (
    EPSILONS,
    PROTOCOLS,
    add_noise,
    fgsm,
    loss_gradient,
    pgd,
    random_start,
    run_protocol,
)
from mmtlalign.evaluation.draws import generators
from mmtlalign.evaluation.pixel_model import PixelModel

SEEDS = range(3)
SIZE = 8 / 255, 2 / 255, 10


class Smooth(torch.nn.Module):
    """A small network without rounding, of 5 classes."""

    def __init__(self, classes=5):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.drop = torch.nn.Dropout(0.5)
        self.fc = torch.nn.Linear(8, classes)

    def forward(self, inputs):
        features = self.conv(inputs).tanh().mean((2, 3))
        return 20 * self.fc(self.drop(features))


class Rounded(Smooth):
    """Its gradient is 0: it rounds the pixels."""

    def forward(self, inputs):
        return super().forward(inputs.round())


class Detached(Smooth):
    """No gradient reaches its pixels."""

    def forward(self, inputs):
        return super().forward(inputs.detach())


def network(kind=Smooth, seed=0, **options):
    torch.manual_seed(seed)
    return PixelModel(kind(**options), [120.0] * 3, [60.0] * 3)


def batch(seed=0, count=6):
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 12, 10, generator=random)
    images[0] = images[0].round()  # at the limits of the box
    return images, torch.randint(5, (count,), generator=random)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('seed', SEEDS)
def test_attacks_stay_in_ball_and_box_and_raise_the_loss(seed, protocol):
    model, (images, labels) = network(seed=seed), batch(seed)
    original = images.clone()
    random = generators(seed, protocol, range(len(images)))
    attacked = run_protocol(model, images, labels, protocol, random)
    assert torch.equal(images, original)
    assert (attacked - images).abs().max() <= PROTOCOLS[protocol].epsilon + 1e-6
    assert 0 <= attacked.min() and attacked.max() <= 1
    before, after = (loss_gradient(model, x, labels)[1] for x in (images, attacked))
    assert (after > before).all()


@pytest.mark.parametrize('seed', SEEDS)
def test_batches_do_not_matter(seed):
    model, (images, labels) = network(seed=seed).double(), batch(seed)
    images = images.double()

    def attack(indices):
        part = images[indices]
        start = random_start(part, SIZE[0], generators(3, 'pgd', indices))
        return pgd(model, part, labels[indices], *SIZE, start)

    whole = attack(list(range(6)))
    assert torch.equal(whole, attack(list(range(6))))
    assert torch.equal(torch.cat([attack([0, 1, 2, 3]), attack([4, 5])]), whole)
    assert torch.equal(attack([5, 1])[0], whole[5])


def test_noise_stays_in_ball_and_box_and_does_little():
    model, (images, labels) = network(), batch()
    noisy = add_noise(images, SIZE[0], generators(0, 'noise', range(6)))
    assert 0.9 * SIZE[0] < (noisy - images).abs().max() <= SIZE[0] + 1e-6
    assert 0 <= noisy.min() and noisy.max() <= 1
    before, random, attacked = (
        loss_gradient(model, x, labels)[1]
        for x in (images, noisy, fgsm(model, images, labels, SIZE[0]))
    )
    assert ((random - before).abs() < 0.2 * (attacked - before)).all()


def test_one_step_of_pgd_is_fgsm():
    model, (images, labels) = network(), batch()
    one = pgd(model, images, labels, 1 / 255, 1 / 255, 1)
    torch.testing.assert_close(one, fgsm(model, images, labels, 1 / 255))


def test_training_mode_and_no_grad_do_not_matter():
    """Within mmengine's test loop, and of a model in training."""
    model, (images, labels) = network().train(), batch()
    expected = fgsm(model.eval(), images, labels, 1 / 255)
    for guard in (torch.no_grad, torch.inference_mode):
        model.train()
        with guard():
            attacked = fgsm(model, images.clone(), labels.clone(), 1 / 255)
        assert torch.equal(attacked, expected)
        assert all(m.training for m in model.modules())
        assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_gradient_of_zero_moves_nothing():
    """sign(0) is 0: a grey plane of a network that does not read it."""
    model, (images, labels) = network(), batch()
    with torch.no_grad():
        model.model.conv.weight[:, 2] = 0
    attacked = pgd(model, images, labels, *SIZE)
    assert torch.equal(attacked[:, 2], images[:, 2])
    assert not torch.equal(attacked, images)


@pytest.mark.parametrize('kind, words', [(Rounded, '0 for all'), (Detached, 'reaches')])
def test_a_masked_gradient_is_refused(kind, words):
    model, (images, labels) = network(kind), batch()
    for attack in (
        lambda: fgsm(model, images, labels, 1 / 255),
        lambda: pgd(model, images, labels, *SIZE),
        lambda: first_step_warnings(model, images, labels),
    ):
        with pytest.raises(UnsupportedError, match=f'gradient is masked: .*{words}'):
            attack()


def test_a_gradient_that_is_not_finite_is_refused():
    model, (images, labels) = network(), batch()
    model.model.fc.weight.data[0] = torch.inf
    with pytest.raises(UnsupportedError, match='not finite'):
        fgsm(model, images, labels, 1 / 255)


def test_saturated_images_are_no_masked_gradient():
    """Their loss is 0 in floating point; they are named in a warning."""
    model, (images, _) = network(), batch()
    model.model.fc.weight.data *= 1e6
    labels = model(images).argmax(1)
    assert torch.equal(fgsm(model, images, labels, 1 / 255), images)
    (first, second) = first_step_warnings(model, images, labels)
    assert 'is 0 for 6 of 6 images' in first
    assert 'rises in the first step (0.25/255) for only 0%' in second


def test_a_smooth_network_has_no_warnings():
    model, (images, labels) = network(), batch(count=40)
    assert first_step_warnings(model, images, labels) == []


@pytest.mark.parametrize(
    'rows, words',
    [
        ([('fgsm', 1, 0.5), ('fgsm', 4, 0.3)], None),
        (
            [('fgsm', 1, 0.3), ('fgsm', 4, 0.5)],
            'although the first has the larger epsilon',
        ),
        ([('pgd', 1, 0.3, 5), ('pgd', 1, 0.4, 10)], 'more steps'),
        ([('pgd', 1, 0.3, 5), ('pgd', 4, 0.4, 10)], None),
        (
            [('fgsm', 1, 0.3), ('pgd', 1, 0.4, 5)],
            'pgd with 5 steps at 1/255 leaves an accuracy of 40',
        ),
        ([('pgd', 1, 0.3, 5), ('autoattack', 1, 0.31)], 'the stronger method'),
        ([('pgd', 4, 0.3, 5), ('autoattack', 1, 0.31)], None),
        ([('noise', 1, 0.78), ('noise', 4, 0.76)], None),
        (
            [('noise', 4, 0.7)],
            'Random noise of 4/255 lowers the accuracy by 10.0 points',
        ),
    ],
)
def test_tables_are_compared(rows, words):
    results = [AttackResult(r[0], r[1] / 255, *r[2:]) for r in rows]
    warnings = table_warnings(results, clean_accuracy=0.8)
    assert len(warnings) == (words is not None)
    assert words is None or words in warnings[0]


@pytest.mark.parametrize(
    'call, words',
    [
        (lambda m, x, y: fgsm(m, x, y + 5, 0.1), 'out of range: the model has 5'),
        (
            lambda m, x, y: fgsm(m, x, y[:2], 0.1),
            r'labels of shape \(2,\) for 6 images',
        ),
        (lambda m, x, y: fgsm(m, x, y.float(), 0.1), 'give integers'),
        (lambda m, x, y: fgsm(m, 255 * x, y, 0.1), r'give RGB in \[0, 1\]'),
        (lambda m, x, y: fgsm(m, x[:, :1], y, 0.1), r'give \(B, 3, H, W\)'),
        (lambda m, x, y: fgsm(m, x, y, 0), 'greater than 0'),
        (lambda m, x, y: fgsm(m, x, y, 8), 'divide by 255'),
        (lambda m, x, y: pgd(m, x, y, 0.1, -1, 3), 'step=-1'),
        (lambda m, x, y: pgd(m, x, y, 0.1, 0.1, 0), 'steps=0'),
        (lambda m, x, y: pgd(m, x, y, 0.1, 0.1, 3, x), 'no value beyond'),
        (lambda m, x, y: pgd(m, x, y, 0.1, 0.1, 3, x[:1] * 0), 'shape of the images'),
        (lambda m, x, y: run_protocol(m, x, y, 'cw'), "no protocol 'cw'"),
        (lambda m, x, y: run_protocol(m, x, y, 'rvt-pgd'), '0 generators for 6'),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(network(), *batch())


def test_the_curve_rises():
    assert list(EPSILONS) == sorted(EPSILONS)
    assert EPSILONS[-1] == 4 / 255
