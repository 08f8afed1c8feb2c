"""Gradient-based adversarial images within a maximum-norm ball.

All attacks work on RGB in [0, 1], in the maximum norm, with the cross-entropy of the
true label; ``epsilon`` and ``step`` are in these units, such as ``4 / 255``. The model
is a :class:`~mmtlalign.evaluation.pixel_model.PixelModel`, or any module that maps such
images to scores. Random numbers come from a generator per image, so that results do not
depend on the batch size or the number of processes.

Shapes: ``B`` images, ``H, W`` pixels, ``K`` classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.accuracy import check_labels
from mmtlalign.evaluation.draws import uniform_noise
from mmtlalign.evaluation.pixel_model import check_images, evaluating

# Points of this package's curve: normally trained networks reach 0 % at 4/255.
SIZES = (0.25, 0.5, 1, 2, 4)  # in 1/255
EPSILONS = tuple(size / 255 for size in SIZES)


class Protocol(NamedTuple):
    """A published attack: FGSM if ``steps`` is 0, else PGD."""

    epsilon: float
    step: float = 0.0
    steps: int = 0
    random_start: bool = False
    source: str = ''


_RVT = 'Robust Vision Transformer (CVPR 2022), engine.py'
_OPENMIXUP = 'OpenMixup; its own PGD leaves the ball, so its figures differ'
PROTOCOLS = {
    'rvt-fgsm': Protocol(1 / 255, source=_RVT),
    'rvt-pgd': Protocol(1 / 255, 0.5 / 255, 5, True, _RVT),
    'rvt-pgd-trained': Protocol(
        4 / 255, 8 / 255 / 3, 3, source=f'{_RVT}, of adversarially trained networks'
    ),
    'openmixup-fgsm': Protocol(8 / 255, source='OpenMixup'),
    'openmixup-pgd': Protocol(8 / 255, 2 / 255, 10, True, _OPENMIXUP),
    'torchattacks-pgd': Protocol(
        8 / 255, 2 / 255, 10, True, 'defaults of torchattacks 3.5'
    ),
}


def loss_gradient(
    model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of each image's loss.

    Args:
        model: Maps images to scores (B, K).
        images: RGB (B, 3, H, W) in [0, 1].
        labels: (B,).

    Returns:
        Gradients (B, 3, H, W), losses (B,) in nats, and scores (B, K).

    Raises:
        InputError: Images or labels are invalid.
        UnsupportedError: No gradient reaches the pixels, or it is not finite.
    """
    check_images(images)
    # mmengine's test loops disable gradients.
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        pixels = images.detach().clone().requires_grad_()
        scores = model(pixels)
        labels = checked_labels(labels, images, scores)
        losses = F.cross_entropy(scores, labels, reduction='none')
        if not losses.requires_grad:
            raise UnsupportedError(_MASKED.format('no gradient reaches the pixels'))
        (gradient,) = torch.autograd.grad(losses.sum(), pixels, allow_unused=True)
    if gradient is None:
        raise UnsupportedError(_MASKED.format('the scores do not depend on the pixels'))
    return gradient, losses.detach(), scores.detach()


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Attack by one step along the sign of the gradient.

    Goodfellow et al. (ICLR 2015). It is weak: PGD with a fraction of its epsilon is
    stronger, so never report it alone.

    Args:
        model: Maps images to scores (B, K).
        images: RGB (B, 3, H, W) in [0, 1].
        labels: True labels (B,).
        epsilon: Largest change of a pixel.

    Returns:
        Adversarial images (B, 3, H, W) in [0, 1].

    Raises:
        InputError: Images, labels or epsilon are invalid.
        UnsupportedError: The gradient is masked, see :func:`check_gradient`.
    """
    _check_positive(epsilon=epsilon)
    gradient, losses, _ = loss_gradient(model, images, labels)
    check_gradient(gradient, losses)
    return (images + epsilon * gradient.sign()).clamp(0, 1)


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    step: float,
    steps: int,
    start: Tensor | None = None,
) -> Tensor:
    """Attack by steps along the sign of the gradient, each projected into the ball.

    Madry et al. (ICLR 2018). The result is that of the last step, even if an earlier
    one had a higher loss.

    Args:
        model: Maps images to scores (B, K).
        images: RGB (B, 3, H, W) in [0, 1].
        labels: True labels (B,).
        epsilon: Largest change of a pixel.
        step: Change of a pixel per step.
        steps: Number of steps.
        start: Change before the first step (B, 3, H, W), within epsilon; see
            :func:`random_start`. None for no change.

    Returns:
        Adversarial images (B, 3, H, W) in [0, 1].

    Raises:
        InputError: Images, labels or step sizes are invalid.
        UnsupportedError: The gradient is masked, see :func:`check_gradient`.
    """
    _check_positive(epsilon=epsilon, step=step, steps=steps)
    attacked = images
    if start is not None:
        if start.shape != images.shape or start.abs().max() > epsilon * (1 + 1e-6):
            raise InputError(
                f'start {tuple(start.shape)} must have the shape of the images '
                f'{tuple(images.shape)}, and no value beyond epsilon={epsilon:.4g}.'
            )
        attacked = (images + start).clamp(0, 1)
    for number in range(steps):
        gradient, losses, _ = loss_gradient(model, attacked, labels)
        if number == 0:
            check_gradient(gradient, losses)
        change = (attacked + step * gradient.sign() - images).clamp(-epsilon, epsilon)
        attacked = (images + change).clamp(0, 1)
    return attacked


def random_start(
    images: Tensor, epsilon: float, random: Sequence[np.random.Generator]
) -> Tensor:
    """Draw the start of PGD uniformly in the ball, (B, 3, H, W).

    Args:
        images: (B, 3, H, W).
        epsilon: Largest change of a pixel.
        random: B generators, see :mod:`mmtlalign.evaluation.draws`.
    """
    return uniform_noise(random, images, epsilon)


def add_noise(
    images: Tensor, epsilon: float, random: Sequence[np.random.Generator]
) -> Tensor:
    """Change pixels at random within the ball, (B, 3, H, W) in [0, 1].

    This is a control for every attack, as it should hardly affect a sound model.

    Args:
        images: RGB (B, 3, H, W) in [0, 1].
        epsilon: Largest change of a pixel.
        random: B generators, see :mod:`mmtlalign.evaluation.draws`.
    """
    return (images + random_start(images, epsilon, random)).clamp(0, 1)


def run_protocol(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    protocol: Protocol | str,
    random: Sequence[np.random.Generator] = (),
) -> Tensor:
    """Attack images by a published protocol.

    Args:
        model: Maps images to scores (B, K).
        images: RGB (B, 3, H, W) in [0, 1].
        labels: True labels (B,).
        protocol: One of :data:`PROTOCOLS` by name, or your own.
        random: B generators, for protocols with a random start.

    Returns:
        Adversarial images (B, 3, H, W).

    Raises:
        InputError: The protocol is unknown, or generators are missing.
    """
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise InputError(
                f'There is no protocol {protocol!r}: choose from '
                f'{", ".join(PROTOCOLS)}.'
            )
        protocol = PROTOCOLS[protocol]
    epsilon, step, steps, starts_at_random, _ = protocol
    if not steps:
        return fgsm(model, images, labels, epsilon)
    start = random_start(images, epsilon, random) if starts_at_random else None
    return pgd(model, images, labels, epsilon, step, steps, start)


_MASKED = (
    'The gradient is masked: {}. Gradient-based attacks would fail even if the model '
    'is not robust; remove rounding, detach() and no_grad() from it.'
)


def check_gradient(gradient: Tensor, losses: Tensor) -> None:
    """Check that gradients are finite and not all zero.

    An image with a loss of 0 has a zero gradient in floating point, which is allowed.

    Args:
        gradient: (B, 3, H, W).
        losses: (B,).

    Raises:
        UnsupportedError: A gradient is not finite, or is 0 for every image that has a
            loss.
    """
    largest = gradient.flatten(1).abs().amax(1)
    with_loss = losses > 1e-6
    # Stacked, so that only one copy from the device is needed.
    finite, zero = torch.stack(
        [largest.isfinite().all(), with_loss.any() & (largest[with_loss] == 0).all()]
    ).tolist()
    if not finite:
        raise UnsupportedError(_MASKED.format('it is not finite for some images'))
    if zero:
        raise UnsupportedError(_MASKED.format('it is 0 for all images'))


def checked_labels(labels: Tensor, images: Tensor, scores: Tensor) -> Tensor:
    """Return labels (B,) on the scores' device, checked against images and classes."""
    if labels.shape != (len(images),):
        raise InputError(
            f'labels of shape {tuple(labels.shape)} for {len(images)} images: give one '
            'label per image, (B,).'
        )
    check_labels(labels, scores.shape[1])
    # A copy, as autograd cannot save a tensor that was made in inference mode.
    return labels.to(scores.device).long().clone()


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise InputError(
                f'{name}={value}: give a number greater than 0. Pixels are in [0, 1], '
                'so epsilon is for example 4 / 255.'
            )
        if name == 'epsilon' and value > 1:
            raise InputError(
                f'epsilon={value} in pixels of [0, 1] allows any image: divide by 255.'
            )
