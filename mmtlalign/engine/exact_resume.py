"""Exact resuming: a resumed run goes on as if never stopped, bit for bit on a CPU.

Checkpoints of mmengine hold no state of random generators, and data workers run ahead
of the training. So random values must not depend on history: each training step, and
each batch in a data worker, seeds the generators with the seed of the run and its own
number. Other state that the weights depend on, and that mmengine does not save, goes
into the checkpoint under :data:`KEY`.
"""

import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.registry import HOOKS

# Entry of a checkpoint.
KEY = 'exact_resume'
# Purposes of seeding, each with an independent random stream.
STEP, EPOCH, EVALUATION, DATA = range(4)


def seed_generators(*key: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch from some numbers.

    Args:
        *key: Seed of the run, purpose, and further numbers that identify the stream,
            all at least 0.
    """
    words = np.random.SeedSequence(key).generate_state(3).tolist()
    random.seed(words[0])
    np.random.seed(words[1])
    torch.manual_seed(words[2])


# -------------------------------------------------------------------- data workers


class NumberedBatch(list):
    """Indices of a batch, and the number of the training step that it is for."""

    def __init__(self, indices: list[int], number: int):
        super().__init__(indices)
        self.number = number

    def __reduce__(self) -> tuple:
        return NumberedBatch, (list(self), self.number)


class NumberedBatches:
    """A batch sampler that numbers its batches, counting on from pass to pass.

    Args:
        batches: Batch sampler of a data loader.
    """

    def __init__(self, batches: Any):
        self.batches = batches
        self.number = 0
        self._advanced: Iterator[list[int]] | None = None

    def __iter__(self) -> Iterator[NumberedBatch]:
        batches, self._advanced = self._advanced or iter(self.batches), None
        for batch in batches:
            # Counted before it is handed out, as loaders prefetch.
            self.number += 1
            yield NumberedBatch(batch, self.number - 1)

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        if name == 'batches':  # copies and pickles ask before it is there
            raise AttributeError(name)
        return getattr(self.batches, name)

    def advance(self, number: int, count: int, set_epoch: Callable[[int], None]) -> int:
        """Skip batches of the next pass without loading them.

        Args:
            number: Number of the batch that comes next.
            count: How many batches to skip; more than a pass has skips whole passes.
            set_epoch: Called with the number of passes that were skipped.

        Returns:
            The number of passes that were skipped.
        """
        self.number, passes = number, 0
        batches = iter(self.batches)
        taken = sum(1 for _ in islice(batches, count))
        if 0 < taken < count:
            passes, rest = divmod(count, taken)
            set_epoch(passes)
            batches = iter(self.batches)
            sum(1 for _ in islice(batches, rest))
        self._advanced = batches
        return passes


class SeededFetch:
    """Fetch the samples of a batch with generators seeded by its number.

    A data loader asks a data set for ``__getitems__`` and calls it, in a worker or in
    the process itself.

    Args:
        dataset: The data set.
        seed: Seed of the run.
        rank: Rank of the process.
    """

    def __init__(self, dataset: Dataset, seed: int, rank: int):
        self.dataset = dataset
        self.seed = seed
        self.rank = rank

    def __call__(self, batch: list[int]) -> list:
        """Return the samples."""
        if isinstance(batch, NumberedBatch):
            seed_generators(self.seed, DATA, self.rank, batch.number)
        return [self.dataset[index] for index in batch]


def number_batches(loader: DataLoader, seed: int) -> None:
    """Make the random values of a batch depend only on the seed and its number.

    Loaders of iterable data sets, or without batches, are left as they are.

    Args:
        loader: Data loader that is not started yet; changed in place.
        seed: Seed of the run.
    """
    dataset = loader.dataset
    if isinstance(dataset, IterableDataset) or loader.batch_sampler is None:
        return
    if isinstance(loader.batch_sampler, NumberedBatches):
        return
    # A loader forbids setting `batch_sampler`, which might contradict its other
    # settings; this one does not.
    loader.__dict__['batch_sampler'] = NumberedBatches(loader.batch_sampler)
    dataset.__getitems__ = SeededFetch(dataset, seed, get_rank())


def advance_loader(loader: DataLoader, number: int, count: int) -> int:
    """Skip batches of a loader, see :meth:`NumberedBatches.advance`."""
    batches = loader.batch_sampler
    if not isinstance(batches, NumberedBatches):
        return 0
    return batches.advance(number, count, lambda epoch: set_epoch(loader, epoch))


def set_epoch(loader: DataLoader, epoch: int) -> None:
    """Tell the sampler of a loader the epoch, which it orders the data by."""
    samplers: list[Any] = [loader.sampler]
    samplers.append(getattr(loader.batch_sampler, 'sampler', None))
    for sampler in samplers:
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)


# --------------------------------------------------------------------------- loops


def resume_exactly(loop: BaseLoop) -> BaseLoop:
    """Return a training loop that can start at any iteration, if mmengine's own."""
    for kind in (ExactEpochLoop, ExactIterLoop):
        if type(loop) is kind.__base__:
            loop.__class__ = kind
    return loop


class ExactEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop, which can also start within an epoch or with a validation."""

    owes_validation = False

    def run(self) -> torch.nn.Module:
        """Train."""
        self.runner.call_hook('before_train')
        self._decide_current_val_interval()
        between_epochs = self._iter == self._epoch * len(self.dataloader)
        if self.owes_validation and between_epochs and self._validates():
            self.runner.val_loop.run()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            if self._validates():
                self.runner.val_loop.run()
        self.runner.call_hook('after_train')
        return self.runner.model

    def _validates(self) -> bool:
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        return (
            self.runner.val_loop is not None and self._epoch >= self.val_begin and due
        )

    def run_epoch(self) -> None:
        """Train one epoch, or the rest of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        # If the length of an epoch has changed, a new one begins, as in mmengine.
        done = done if 0 < done <= len(self.dataloader) else 0
        advance_loader(self.dataloader, self._iter, done)
        for idx, data_batch in enumerate(self.dataloader, done):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


class ExactIterLoop(IterBasedTrainLoop):
    """mmengine's loop, which can also start at any batch or with a validation."""

    owes_validation = False

    def run(self) -> torch.nn.Module:
        """Train."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._decide_current_val_interval()
        if self.owes_validation and self._validates():
            self.runner.val_loop.run()
        batches = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            if self._validates():
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _validates(self) -> bool:
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self._max_iters

    def _batches(self) -> Iterator[Any]:
        """Return an endless iterator over batches, from the current step on."""
        begun = getattr(self.dataloader_iterator, '_iterator', None)
        if begun is None:
            passes = advance_loader(self.dataloader, self._iter, self._iter)
            return self._endless(iter(self.dataloader), passes)
        # Older mmengine starts loading when it builds the loop; then batches have to
        # be loaded to be skipped.
        return islice(self._endless(begun, 0), self._iter, None)

    def _endless(self, batches: Iterator[Any], passes: int) -> Iterator[Any]:
        while True:
            yield from batches
            passes += 1
            set_epoch(self.dataloader, passes)
            batches = iter(self.dataloader)


# ---------------------------------------------------------------------------- hook


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Seed every step, and save what mmengine's checkpoints lack.

    It saves the gradients accumulated since the last step of the optimizer (not in
    distributed runs), whether the validation of this step is done, and the state of
    mmengine's ``EarlyStoppingHook``. ``tools/train.py`` adds it to every run.
    """

    # Before all hooks that draw random values.
    priority = 'HIGHEST'

    def __init__(self) -> None:
        self.validated = -1

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the generators, from which samplers draw when an epoch begins."""
        seed_generators(runner.seed, EPOCH, runner.epoch)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Seed the step."""
        seed_generators(runner.seed, STEP, runner.iter)

    def before_val_epoch(self, runner: Runner) -> None:
        """Seed the validation."""
        seed_generators(runner.seed, EVALUATION, runner.iter)

    def before_test_epoch(self, runner: Runner) -> None:
        """Seed the test."""
        seed_generators(runner.seed, EVALUATION)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Note that the validation of this step is done."""
        self.validated = runner.iter

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add to a checkpoint what mmengine does not save."""
        stopping = early_stopping_hooks(runner)
        state: dict[str, Any] = dict(
            validated=self.validated,
            early_stopping=[
                (hook.wait_count, float(hook.best_score)) for hook in stopping
            ],
        )
        wrapper = runner.optim_wrapper
        accumulated = isinstance(wrapper, OptimWrapper) and not wrapper.should_update()
        if accumulated and not runner.distributed and 'optimizer' in checkpoint:
            state['gradients'] = {
                name: weight.grad.detach().cpu()
                for name, weight in unwrap_model(runner.model).named_parameters()
                if weight.grad is not None
            }
        checkpoint[KEY] = state

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Restore what ``before_save_checkpoint`` saved when a run is resumed."""
        state = checkpoint.get(KEY)
        if not runner._resume or state is None:
            return
        self.validated = state['validated']
        loop = runner.train_loop
        loop.owes_validation = self.validated != checkpoint['meta']['iter']
        saved = zip(early_stopping_hooks(runner), state['early_stopping'])
        for hook, (wait_count, best_score) in saved:
            hook.wait_count, hook.best_score = wait_count, best_score
        gradients = state.get('gradients', {})
        for name, weight in unwrap_model(runner.model).named_parameters():
            if name in gradients:
                weight.grad = gradients[name].to(weight.device, weight.dtype)


def early_stopping_hooks(runner: Runner) -> list[EarlyStoppingHook]:
    """List the hooks of a run that may end it early."""
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]
