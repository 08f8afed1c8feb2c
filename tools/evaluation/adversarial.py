"""Attacks: FGSM, PGD, AutoAttack, and signs that their results are not reliable."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

import torch
from mmengine import dist
from torch import Tensor

from mmtlalign.errors import UnsupportedError
from mmtlalign.evaluation import attack_checks, attacks
from mmtlalign.evaluation.auto_attack import attack_plan, auto_attack
from mmtlalign.evaluation.conditions import Condition, Predictions, score
from mmtlalign.evaluation.draws import generators
from mmtlalign.evaluation.pictures import Batch, make_loader
from mmtlalign.evaluation.pixel_model import PixelModel
from tools.evaluation.context import Context
from tools.evaluation.items import ConditionItem, MeasuredItem
from tools.evaluation.rows import ResultsByCondition, Row, accuracy_rows

SUITE = 'robustness'
STEPS = 10
LIMIT = 1000
STEP_FORWARDS = 3  # cost of a step of an attack, in forward passes
AUTO_STEPS = 1100  # steps of the standard AutoAttack on an image that withstands all


class Attack(ConditionItem):
    """FGSM or PGD at several sizes."""

    suite = SUITE

    def __init__(self, name: str, steps: int, protocols: Sequence[str]):
        self.name, self.steps, self.protocols = name, steps, tuple(protocols)
        title = f'{name.upper()}{f", {steps} steps" if steps else ""}'
        self.about = f'accuracy under {title}, and as published elsewhere'
        self.headline = self._title(1)

    def limit(self, context: Context) -> int | None:
        """Return 1,000 images, unless the command names a limit."""
        return context.options.limit or LIMIT

    def missing(self, context: Context) -> str | None:
        """Return why the network has no gradient, or None."""
        batch = context.first_batch(4)
        try:
            for network in context.networks.values():
                attacks.fgsm(network, batch.images, batch.labels[:, 0], 0.25 / 255)
        except UnsupportedError as error:
            return str(error)
        return None

    def conditions(self, context: Context) -> Sequence[Condition]:
        """Return a condition for each size and protocol."""
        found = [
            Condition(self._title(size), partial(_attack, size=size, steps=self.steps))
            for size in attacks.SIZES
        ]
        for name in self.protocols:
            found.append(Condition(name, partial(_published, name=name)))
        if not self.steps:
            found.append(Condition('noise', _noise))
        return found

    def seconds(self, context: Context, forward: float) -> float:
        """Return the estimate: every step is a forward and a backward pass."""
        steps = len(attacks.SIZES) * max(1, self.steps)
        steps += sum(max(1, attacks.PROTOCOLS[p].steps) for p in self.protocols)
        return self.images(context) * steps * STEP_FORWARDS * forward

    def rows(self, context: Context, results: ResultsByCondition) -> list[Row]:
        """Return the curve over sizes, the published protocols, and warnings."""
        step = 'epsilon / 4' if self.steps else 'epsilon'
        protocol = dict(
            norm='maximum, pixels 0 to 1 before normalisation',
            steps=self.steps or 1,
            step=step,
            x_label='epsilon, 1/255',
            curve=self.name,
        )
        rows = accuracy_rows(
            self.name, 'clean', results, ['clean'], protocol=dict(protocol, x=0)
        )
        for size in attacks.SIZES:
            given = dict(protocol, x=size)
            title = self._title(size)
            rows += accuracy_rows(self.name, title, results, [title], protocol=given)
        for name in self.protocols:
            source = {name: _describe(attacks.PROTOCOLS[name])}
            rows += accuracy_rows(self.name, name, results, [name], protocol=source)
        if not self.steps:
            title = f'random noise of {attacks.SIZES[-1]}/255'
            rows += accuracy_rows(self.name, title, results, ['noise'])
        notes = self._warnings(context, results)
        for row in rows[: 1 if notes else 0]:
            row.notes = notes
        return rows

    def _title(self, size: float) -> str:
        return f'{self.name} {size}/255'

    def _warnings(self, context: Context, results: ResultsByCondition) -> list[str]:
        notes = []
        batch = context.first_batch(min(64, self.images(context)))
        for name, network in context.networks.items():
            labels = batch.labels[:, 0]
            own = attack_checks.first_step_warnings(network, batch.images, labels)
            table = [
                attack_checks.AttackResult(
                    self.name,
                    size / 255,
                    results[name, self._title(size)].correct().mean(),
                    self.steps,
                )
                for size in attacks.SIZES
            ]
            clean = results[name, 'clean'].correct().mean()
            if not self.steps:
                noise = results[name, 'noise'].correct().mean()
                size = attacks.SIZES[-1] / 255
                table.append(attack_checks.AttackResult('noise', size, noise))
            own += attack_checks.table_warnings(table, clean)
            notes += [f'{name}: {text}' for text in own]
        if not self.steps:
            notes.append(
                'FGSM is weak: PGD with a quarter of its epsilon does more, so never '
                'report it alone.'
            )
        return notes


class AutoAttack(MeasuredItem):
    """AutoAttack (standard), in chunks."""

    suite, name = SUITE, 'autoattack'
    about = 'accuracy under AutoAttack, standard'
    sizes = (0.5, 1)

    def images(self, context: Context) -> int:
        """Return 1,000 images, unless the command names a limit."""
        return len(self._indices(context))

    def missing(self, context: Context) -> str | None:
        """Return what to install, or None."""
        if find_spec('pyautoattack') is None:
            return "pip install pyautoattack==0.2.0 (or this package's extra 'robust')"
        return None

    def seconds(self, context: Context, forward: float) -> float:
        """Return an upper limit: images that are fooled early cost less."""
        steps = AUTO_STEPS * STEP_FORWARDS * len(self.sizes)
        return self.images(context) * steps * forward * 0.5

    def measure(self, context: Context) -> list[Row]:
        """Attack the images that are not done yet, and return the accuracies."""
        indices = self._indices(context)
        parts = context.parts(self.name, indices, self.sizes)
        own = context.own_share(indices, parts.saved_indices())
        pictures = context.pictures(context.dataset)
        for batch in make_loader(pictures, own, context.batch_size, context.workers):
            given = batch.to(context.device)
            arrays = dict(labels=batch.labels.numpy())
            for name, network in context.networks.items():
                for size in self.sizes:
                    found = auto_attack(
                        network,
                        given.images,
                        given.labels[:, 0],
                        size / 255,
                        batch_size=context.batch_size,
                    )
                    with torch.no_grad():
                        logits = network(found.images)
                    for key, array in score(logits, given.labels).items():
                        arrays[f'{name}/{size}/{key}'] = array
            parts.add(batch.indices, arrays)
            parts.save()  # a chunk takes long
        dist.barrier()
        if not dist.is_main_process():
            return []
        return self._rows(context, parts.collect())

    def _indices(self, context: Context) -> list[int]:
        limit = context.options.limit or LIMIT
        return context.indices(len(context.dataset), limit)

    def _rows(self, context: Context, arrays: dict) -> list[Row]:
        note = attack_plan(context.num_classes).note
        rows = []
        for size in self.sizes:
            results: ResultsByCondition = {
                (name, 'attack'): Predictions.read(arrays, name, str(size))
                for name in context.networks
            }
            rows += accuracy_rows(
                self.name,
                f'autoattack {size}/255',
                results,
                ['attack'],
                protocol=dict(norm='maximum', version='standard', seed=0),
                notes=[note] if note else [],
            )
        return rows


def _attack(network: PixelModel, batch: Batch, size: float, steps: int) -> Tensor:
    labels = batch.labels[:, 0]
    if not steps:
        return attacks.fgsm(network, batch.images, labels, size / 255)
    epsilon = size / 255
    return attacks.pgd(network, batch.images, labels, epsilon, epsilon / 4, steps)


def _published(network: PixelModel, batch: Batch, name: str) -> Tensor:
    random = generators(0, name, batch.indices)
    labels = batch.labels[:, 0]
    return attacks.run_protocol(network, batch.images, labels, name, random)


def _describe(protocol: attacks.Protocol) -> str:
    parts = [f'epsilon {255 * protocol.epsilon:g}/255']
    if protocol.steps:
        parts.append(f'{protocol.steps} steps of {255 * protocol.step:.3g}/255')
    if protocol.random_start:
        parts.append('random start')
    return f'{", ".join(parts)} ({protocol.source})'


def _noise(network: PixelModel, batch: Batch) -> Tensor:
    random = generators(0, 'noise', batch.indices)
    return attacks.add_noise(batch.images, attacks.SIZES[-1] / 255, random)


ITEMS = (
    Attack('fgsm', 0, ('rvt-fgsm', 'openmixup-fgsm')),
    Attack('pgd', STEPS, ('rvt-pgd', 'openmixup-pgd')),
    AutoAttack(),
)
