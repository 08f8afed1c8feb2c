"""AutoAttack, in chunks that a stopped run need not repeat.

Croce and Hein (ICML 2020), through the package ``pyautoattack``, in the maximum norm.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.attacks import checked_labels
from mmtlalign.evaluation.pixel_model import check_images, evaluating

STANDARD = ('apgd-ce', 'apgd-t', 'fab-t', 'square')
# What RobustBench uses; a normally trained network keeps 0 % at either.
EPSILONS = {'imagenet': 4 / 255, 'cifar': 8 / 255}
TARGETS = 9  # classes that the targeted attacks of the standard aim at


class AttackPlan(NamedTuple):
    """What is run on a model of so many classes."""

    attacks: tuple[str, ...]
    targets: int
    note: str  # how it differs from the standard, or nothing


def attack_plan(num_classes: int) -> AttackPlan:
    """Return the standard attacks, or what few classes leave of them.

    The targeted loss needs four scores, and there are K - 1 classes to aim at.

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
    """What AutoAttack leaves of one chunk of images."""

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
    """Attack one chunk of images by all attacks in turn, each what is still right.

    Images that are wrong from the start count as not robust. The package draws for a
    batch at once, so that single images may depend on the chunk.

    Args:
        model: From images to scores (B, K), in float32.
        images: RGB (B, 3, H, W) in [0, 1], on the model's device.
        labels: (B,), the true ones.
        epsilon: Largest change of a pixel.
        seed: Seed of all attacks.
        batch_size: Images that are attacked at once.

    Raises:
        InputError: Images, labels or epsilon are not such.
        UnsupportedError: The package is not installed, or the model is not in float32.
    """
    check_images(images)
    if not 0 < epsilon <= 1:
        raise InputError(f'epsilon={epsilon}: pixels are in [0, 1], so give 4 / 255.')
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


class AutoAttackState:
    """Which images of a data set AutoAttack is done with, kept in a file.

    Use it as ``for chunk in state.left(64): state.record(chunk, result.robust)``.

    Args:
        path: The file, written after each chunk; a stopped run goes on from it.
        count: Images n of the data set.
        **settings: What the figures depend on, such as the checkpoint's hash, epsilon,
            seed and data: a file of other settings is refused.

    Attributes:
        done: Which images are done (n,).
        robust: Which of them withstood (n,).

    Raises:
        InputError: The file belongs to other settings, or is damaged.
    """

    def __init__(self, path: str | Path, count: int, **settings: object):
        self.path = Path(path)
        settings = dict(settings, count=count)
        self.settings = json.dumps(settings, sort_keys=True, default=str)
        self.done = np.zeros(count, bool)
        self.robust = np.zeros(count, bool)
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                settings = str(stored['settings'])
                done, robust = stored['done'], stored['robust']
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError(
                f'{self.path} is no state of AutoAttack ({error}): remove it to begin '
                'anew.'
            ) from error
        if settings != self.settings:
            raise InputError(
                f'{self.path} is of other settings ({settings}, now {self.settings}): '
                'remove it to begin anew, or name another file.'
            )
        self.done, self.robust = done, robust

    def left(self, chunk: int) -> Iterator[np.ndarray]:
        """Yield the indices of images that are not done, ``chunk`` at a time."""
        indices = np.flatnonzero(~self.done)
        for first in range(0, len(indices), chunk):
            yield indices[first : first + chunk]

    def record(self, indices: np.ndarray, robust: Tensor) -> None:
        """Keep the outcome of images, and write the file."""
        self.robust[indices] = robust.cpu().numpy()
        self.done[indices] = True
        part = self.path.with_name(f'.{self.path.name}.part')
        part.parent.mkdir(parents=True, exist_ok=True)
        with open(part, 'wb') as file:
            np.savez(file, settings=self.settings, done=self.done, robust=self.robust)
        os.replace(part, self.path)

    @property
    def accuracy(self) -> float:
        """Share of the images done so far that withstood."""
        return float(self.robust[self.done].mean()) if self.done.any() else float('nan')


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
