"""AutoAttack on a batch of images.

Croce and Hein (ICML 2020), with the package ``pyautoattack``, in the maximum norm.
"""

import contextlib
import logging
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.attacks import checked_labels
from mmtlalign.evaluation.pixel_model import check_images, evaluating

STANDARD = ('apgd-ce', 'apgd-t', 'fab-t', 'square')
TARGETS = 9  # target classes of the targeted attacks in the standard version


class AttackPlan(NamedTuple):
    """The attacks that are run on a model, given its number of classes."""

    attacks: tuple[str, ...]
    targets: int
    note: str  # how it differs from the standard, or nothing


def attack_plan(num_classes: int) -> AttackPlan:
    """Return the standard attacks, reduced for models with few classes.

    The targeted loss needs four scores, and there are K - 1 target classes.

    Raises:
        InputError: There are fewer than two classes.
    """
    if num_classes < 2:
        raise InputError(f'{num_classes} classes: an attack needs two or more.')
    targets = min(TARGETS, num_classes - 1)
    attacks: tuple[str, ...] = STANDARD
    if num_classes < 4:
        attacks = tuple(name for name in STANDARD if name != 'apgd-t')
    note = ''
    if targets < TARGETS:
        left_out = '' if 'apgd-t' in attacks else ', without APGD-T'
        note = (
            f'not the standard AutoAttack: {num_classes} classes leave {targets} '
            f'targets of {TARGETS}{left_out}'
        )
    return AttackPlan(attacks, targets, note)


class AutoAttackResult(NamedTuple):
    """Result of AutoAttack for one chunk of images."""

    robust: Tensor  # right before and after (B,), bool
    images: Tensor  # adversarial where one was found (B, 3, H, W)
    note: str  # how it differs from the standard, or nothing
    warnings: list[str]  # of the package's own checks


def auto_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    seed: int = 0,
    batch_size: int = 64,
) -> AutoAttackResult:
    """Attack one chunk of images by all attacks in turn.

    Each attack gets the images that are still classified correctly. Images that are
    wrong without attack count as not robust. The package draws random numbers for a
    whole batch, so that results of single images may depend on the chunk.

    Args:
        model: Maps images to scores (B, K), in float32.
        images: RGB (B, 3, H, W) in [0, 1], on the model's device.
        labels: True labels (B,).
        epsilon: Largest change of a pixel.
        seed: Seed of all attacks.
        batch_size: Number of images that are attacked at once.

    Raises:
        InputError: Images, labels or epsilon are invalid.
        UnsupportedError: The package is not installed, or the model is not in float32.
    """
    check_images(images)
    if not 0 < epsilon <= 1:
        raise InputError(
            f'epsilon={epsilon}: pixels are in [0, 1], so give a number such as 4 / '
            '255.'
        )
    if any(p.dtype == torch.float64 for p in model.parameters()):
        raise UnsupportedError(
            'AutoAttack computes in float32 and fails with a network in float64: call '
            'model.float() first.'
        )
    library = _library()
    devices = [images.device] if images.device.type == 'cuda' else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(evaluating(model))
        messages = stack.enter_context(_logged('auto-attack'))
        images = images.detach().clone().float()
        with torch.no_grad():
            scores = model(images[:1])
            labels = checked_labels(labels, images, scores)
            plan = attack_plan(scores.shape[1])
        attack = library.AutoAttack(
            model, eps=epsilon, device=images.device, seed=seed, version='standard'
        )
        attack.attacks_to_run = list(plan.attacks)
        attack.apgd_targeted.n_target_classes = plan.targets
        attack.fab.n_target_classes = plan.targets
        found, predicted = attack.run_standard_evaluation(
            images, labels, batch_size=batch_size
        )
    return AutoAttackResult(predicted == labels, found, plan.note, messages)


@contextlib.contextmanager
def _logged(name: str) -> Iterator[list[str]]:
    """Collect the warnings of a logger in a list, in place of the console."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, handler = logging.getLogger(name), Collector(logging.WARNING)
    passed_on, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = passed_on


def _library() -> ModuleType:
    try:
        import pyautoattack
    except ImportError as error:
        raise UnsupportedError(
            f'AutoAttack needs the package pyautoattack ({error}): pip install '
            'pyautoattack==0.2.0'
        ) from error
    return pyautoattack
