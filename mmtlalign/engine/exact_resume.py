"""Exact resuming: a resumed run goes on as if never stopped, bit for bit on a CPU.

Checkpoints of mmengine hold no state of random generators, and data workers run ahead
of the training. So random values must not depend on history: each training step, and
each batch in a data worker, seeds the generators with the seed of the run and its own
number. Other state that the weights depend on, and that mmengine does not save, goes
into the checkpoint under :data:`KEY`.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop

from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.engine.seeded_batches import (
    EPOCH,
    EVALUATION,
    STEP,
    advance_loader,
    seed_generators,
    set_epoch,
)
from mmtlalign.registry import HOOKS

# Entry of a checkpoint.
KEY = 'exact_resume'


# --------------------------------------------------------------------------- loops


def resume_exactly(loop: BaseLoop) -> BaseLoop:
    """Return a training loop that can start at any iteration, if mmengine's own."""
    for kind in (ExactEpochLoop, ExactIterLoop):
        if type(loop) is kind.__base__:
            loop.__class__ = kind
    return loop


class ExactEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop, which can also start within an epoch or with a validation.

    Attributes:
        done: Number of iterations of the next epoch that a resumed run has done.
        began: Iteration at which the current epoch began, or the next one begins.
        has_other_length: Whether the resumed run had another number of iterations an
            epoch. Then a new epoch begins, and iterations are counted anew.
        owes_validation: Whether the validation of this step has to be repeated.
    """

    done = 0
    began = 0
    has_other_length = False
    owes_validation = False

    def run(self) -> torch.nn.Module:
        """Train."""
        if self.has_other_length:
            self._iter = self._epoch * len(self.dataloader)
        self.began = self._iter - self.done
        self.runner.call_hook('before_train')
        self._decide_current_val_interval()
        if self.owes_validation and not self.done and self._validates():
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
        done, self.done = self.done, 0
        advance_loader(self.dataloader, self._iter, done)
        for idx, data_batch in enumerate(self.dataloader, done):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self.began = self._iter


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
        """Seed the step, each process with another seed, as the official codes do.

        So every process draws its own box. The first has the seed of a single process.
        """
        process = [runner.rank] if runner.rank else []
        seed_generators(runner.seed, STEP, runner.iter, *process)

    def before_val_epoch(self, runner: Runner) -> None:
        """Seed the validation."""
        seed_generators(runner.seed, EVALUATION, runner.iter)

    def before_test_epoch(self, runner: Runner) -> None:
        """Seed the test."""
        seed_generators(runner.seed, EVALUATION)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Note that the validation of this step is done."""
        # A checkpoint of the best score is written before early stopping counts.
        if not early_stopping_hooks(runner):
            self.validated = runner.iter

    def after_val(self, runner: Runner) -> None:
        """Note that the validation of this step is done, with early stopping."""
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
        loop = runner.train_loop
        if isinstance(loop, ExactEpochLoop):
            meta, length = checkpoint['meta'], len(loop.dataloader)
            done = meta['iter'] - loop.began if meta['epoch'] == loop.epoch else 0
            state.update(done=done, epoch_length=length)
        state.update(global_batch=global_batch(runner))
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
        if isinstance(loop, ExactEpochLoop):
            length = state.get('epoch_length')
            loop.has_other_length = length not in (None, len(loop.dataloader))
            loop.done = state['done'] if length == len(loop.dataloader) else 0
        before, now = state.get('global_batch'), global_batch(runner)
        if before and now and before != now:
            runner.logger.warning(
                f'The checkpoint was trained with {before} images a step, and this run '
                f'has {now}, with the learning rate and schedules of the checkpoint'
            )
        saved = zip(early_stopping_hooks(runner), state['early_stopping'])
        for hook, (wait_count, best_score) in saved:
            hook.wait_count, hook.best_score = wait_count, best_score
        gradients = state.get('gradients', {})
        for name, weight in unwrap_model(runner.model).named_parameters():
            if name in gradients:
                weight.grad = gradients[name].to(weight.device, weight.dtype)


def global_batch(runner: Runner) -> int | None:
    """Return the number of images of a step, over all processes; None if unknown."""
    loader = runner.train_loop.dataloader
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
    return size and size * runner.world_size


def early_stopping_hooks(runner: Runner) -> list[EarlyStoppingHook]:
    """List the hooks of a run that may end it early."""
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]
