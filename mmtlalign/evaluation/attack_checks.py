"""Checks of the results of attacks for signs of a masked gradient.

Athalye et al. (ICML 2018) and Carlini et al. (2019) describe the signs; the thresholds
are ours. The functions return warnings as sentences to print beside the table.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.evaluation.attacks import fgsm, loss_gradient

RISING = 0.9  # fraction of images whose loss should rise in the first step
NOISE = 0.05  # largest drop of the accuracy that noise should cause
# Weakest first: at the same epsilon a later one should not leave a higher accuracy.
ATTACKS = ('noise', 'fgsm', 'pgd', 'autoattack')


class AttackResult(NamedTuple):
    """Accuracy under one attack; all results are on the same images."""

    attack: str  # one of ATTACKS
    epsilon: float  # in pixels of [0, 1]
    accuracy: float  # a fraction
    steps: int = 0  # of PGD


def first_step_warnings(
    model: nn.Module, images: Tensor, labels: Tensor, epsilon: float = 0.25 / 255
) -> list[str]:
    """Try one small step along the gradient on a batch.

    Args:
        model: Maps images to scores (B, K).
        images: RGB (B, 3, H, W) in [0, 1].
        labels: (B,).
        epsilon: Size of the step.

    Returns:
        Warnings if the gradient is 0 for some images, or if the loss does not rise for
        more than 90 % of the images.

    Raises:
        UnsupportedError: There is no gradient at all.
    """
    gradient, before, _ = loss_gradient(model, images, labels)
    attacked = fgsm(model, images, labels, epsilon)
    with torch.no_grad():
        scores = model(attacked)
        labels = labels.to(scores.device).long()
        after = F.cross_entropy(scores, labels, reduction='none')
    zero = int((gradient.flatten(1).abs().amax(1) == 0).sum())
    warnings = []
    if zero:
        warnings.append(
            f'The gradient is 0 for {zero} of {len(images)} images: their loss is 0 in '
            'floating point, so they count as robust without having been attacked.'
        )
    rising = (after > before).double().mean().item()
    if rising <= RISING:
        warnings.append(
            f'The loss rises in the first step ({255 * epsilon:g}/255) for only '
            f'{rising:.0%} of {len(images)} images: the gradient may be masked.'
        )
    return warnings


def table_warnings(results: Sequence[AttackResult], clean_accuracy: float) -> list[str]:
    """Compare the rows of a table of attacks.

    Args:
        results: Rows, all on the same images.
        clean_accuracy: Accuracy without attack, a fraction.

    Returns:
        Warnings if the accuracy rises with epsilon or steps, if a stronger attack
        leaves a higher accuracy than a weaker one, or if noise costs over 5 points.
    """
    warnings = []
    for row in results:
        if row.attack == 'noise' and clean_accuracy - row.accuracy > NOISE:
            warnings.append(
                f'Random noise of {255 * row.epsilon:g}/255 lowers the accuracy by '
                f'{100 * (clean_accuracy - row.accuracy):.1f} points: the model is not '
                'stable near its images.'
            )
        for other in results:
            stronger = _stronger(other, row)
            if stronger and other.accuracy > row.accuracy:
                warnings.append(
                    f'{_name(other)} leaves an accuracy of {other.accuracy:.1%}, '
                    f'{_name(row)} of {row.accuracy:.1%}, although the first has '
                    f'{stronger}: the gradient may be masked, or the attack may be too '
                    'weak.'
                )
    return warnings


def _stronger(one: AttackResult, other: AttackResult) -> str:
    """Return why the first attack should leave no higher accuracy; empty if unknown."""
    if one.attack == other.attack:
        if one.epsilon > other.epsilon and one.steps == other.steps:
            return 'the larger epsilon'
        if one.epsilon == other.epsilon and one.steps > other.steps:
            return 'more steps'
        return ''
    places = [ATTACKS.index(row.attack) for row in (one, other)]
    if one.epsilon == other.epsilon and places[0] > places[1]:
        return 'the stronger method'
    return ''


def _name(row: AttackResult) -> str:
    steps = f' with {row.steps} steps' if row.steps else ''
    return f'{row.attack}{steps} at {255 * row.epsilon:g}/255'
