"""AutoAttack in chunks, so that an interrupted run can continue.

Croce and Hein (ICML 2020), with the package ``pyautoattack``, in the maximum norm.
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


class AutoAttackState:
    """Progress of AutoAttack over the images of a data set, kept in a file.

    Use it as ``for chunk in state.left(64): state.record(chunk, result.robust)``.

    Args:
        path: The file, written after each chunk; an interrupted run continues from it.
        count: Number of images n of the data set.
        **settings: All that the result depends on, such as the checkpoint's hash,
            epsilon, seed and data. A file with other settings is rejected.

    Attributes:
        done: Which images are done (n,).
        robust: Which of them are robust (n,).

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
                f'{self.path} is not a saved state of AutoAttack ({error}): remove it '
                'to start again.'
            ) from error
        if settings != self.settings:
            raise InputError(
                f'{self.path} was made with other settings ({settings}, now '
                f'{self.settings}): remove it to start again, or name another file.'
            )
        self.done, self.robust = done, robust

    def left(self, chunk: int) -> Iterator[np.ndarray]:
        """Yield the indices of images that are not done, ``chunk`` at a time."""
        indices = np.flatnonzero(~self.done)
        for first in range(0, len(indices), chunk):
            yield indices[first : first + chunk]

    def record(self, indices: np.ndarray, robust: Tensor) -> None:
        """Store the results of some images, and write the file."""
        self.robust[indices] = robust.cpu().numpy()
        self.done[indices] = True
        part = self.path.with_name(f'.{self.path.name}.part')
        part.parent.mkdir(parents=True, exist_ok=True)
        with open(part, 'wb') as file:
            np.savez(file, settings=self.settings, done=self.done, robust=self.robust)
        os.replace(part, self.path)

    @property
    def accuracy(self) -> float:
        """Return the fraction of robust images among those done so far."""
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
