"""Stop a training at NaN or infinity, and keep the last good checkpoint."""

import os.path as osp
from collections import deque
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmtlalign.engine.run_folder import describe_last
from mmtlalign.errors import InputError, some_of
from mmtlalign.registry import HOOKS

REMEDY = (
    'Check these files; if they are correct, lower the learning rate, clip gradients '
    '(optim_wrapper.clip_grad.max_norm=1.0) or train without --amp.'
)


class NonFiniteError(InputError):
    """The input, the loss or the weights hold NaN or infinity."""


class Step(NamedTuple):
    """What is kept of one training step until its loss is known.

    Attributes:
        iteration: Its number, from 0.
        batch: The batch of the data loader.
        finite: Whether all losses are finite, () bool; valid once ``ready`` has
            happened.
        ready: Event of the copy of ``finite`` from the GPU; None on the CPU.
        losses: Name to scalar tensor.
    """

    iteration: int
    batch: dict
    finite: torch.Tensor
    ready: torch.cuda.Event | None
    losses: dict[str, torch.Tensor]


@HOOKS.register_module()
class NanGuardHook(Hook):
    """Stop the training at a loss, an input or a weight that is not finite.

    The loss of every step is checked without synchronising with the GPU: a flag is
    copied to the CPU asynchronously and read when it has arrived, as a rule one
    iteration later. Before a checkpoint is written, all outstanding flags and all
    weights are checked, so that no checkpoint of a bad state is written or replaces a
    good one. mmdet's ``CheckInvalidLossHook`` asserts the loss of every 50th step,
    synchronises with the GPU, and names neither iteration nor file.

    Raises:
        NonFiniteError: With the iteration and the files of the batch; the full list of
            files is written to ``nonfinite_batch.txt`` in the work directory.
    """

    # Before LoggerHook (60) and CheckpointHook (90), which write.
    priority = 'ABOVE_NORMAL'

    def __init__(self) -> None:
        self.pending: deque[Step] = deque()
        self.last: Step | None = None

    def before_train(self, runner: Runner) -> None:
        """Reset the state, in case the hook has served another run."""
        self.pending.clear()
        self.last = None

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Check inputs of floating point; images are usually uint8."""
        batch = as_dict(data_batch)
        inputs = batch.get('inputs')
        if isinstance(inputs, (list, tuple, torch.Tensor)):
            bad = [at for at, image in enumerate(inputs) if not is_finite(image)]
            if bad:
                names = file_names(batch)
                names = [names[at] if names else f'sample {at}' for at in bad]
                what = f'the input of {some_of(names, 3)}'
                self.stop(runner, runner.iter, batch, what, 'Repair these files.')

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the flag of this loss, and check those that have arrived."""
        self.pending.append(take_step(runner, as_dict(data_batch), outputs or {}))
        self.check(runner, wait=self.saves_now(runner))

    def after_train_epoch(self, runner: Runner) -> None:
        """Check all flags and weights, as a checkpoint or validation may follow."""
        self.check(runner, wait=True)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check all flags and weights, for checkpoints that other hooks write."""
        self.check(runner, wait=True)

    def saves_now(self, runner: Runner) -> bool:
        """Return whether a hook writes a checkpoint or validates after this step.

        Waiting for ``before_save_checkpoint`` alone would be too late: by then
        the checkpoint hook has deleted an old checkpoint to make room.
        """
        if runner.iter + 1 >= runner.max_iters:
            return True
        by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        if by_iter and self.every_n_train_iters(runner, runner.val_interval):
            return True
        return any(
            isinstance(hook, CheckpointHook)
            and not hook.by_epoch
            and self.every_n_train_iters(runner, hook.interval, hook.save_begin)
            for hook in runner.hooks
        )

    def check(self, runner: Runner, wait: bool) -> None:
        """Check the flags that have arrived.

        Args:
            runner: The runner.
            wait: Whether to wait for all flags, and to check the weights as well.

        Raises:
            NonFiniteError: A loss or a weight is not finite.
        """
        while self.pending:
            step = self.pending[0]
            if step.ready is not None:
                if wait:
                    step.ready.synchronize()
                elif not step.ready.query():
                    break
            self.last = self.pending.popleft()
            if not self.last.finite:
                values = ', '.join(f'{k} {v.item():g}' for k, v in step.losses.items())
                self.stop(runner, step.iteration, step.batch, f'the loss ({values})')
        if wait and self.last is not None:
            for name, weight in runner.model.named_parameters():
                if not weight.isfinite().all():
                    what = f"the weight '{name}'"
                    self.stop(runner, self.last.iteration, self.last.batch, what)

    def stop(
        self,
        runner: Runner,
        iteration: int,
        batch: dict,
        what: str,
        remedy: str = REMEDY,
    ) -> None:
        """Write the list of files and raise NonFiniteError."""
        files = file_names(batch)
        tag = f'_rank{runner.rank}' if runner.distributed else ''
        path = osp.join(runner.work_dir, f'nonfinite_batch{tag}.txt')
        with open(path, 'w', encoding='utf-8') as file:
            file.write('\n'.join(files) + '\n')
        several = (
            ' Of several processes that stop, the one of the lowest iteration has the '
            'cause; it makes the weights of all NaN.'
        )
        raise NonFiniteError(
            f'{what} is not finite at iteration {iteration + 1} (epoch '
            f'{runner.epoch + 1}). Batch of {len(files)}: {some_of(files, 3)} (all in '
            f'{path}). {remedy} {describe_last(runner.work_dir)}'
            + (several if runner.distributed else '')
        )


def take_step(runner: Runner, batch: dict, outputs: dict[str, torch.Tensor]) -> Step:
    """Return the record of one step, and start to copy its flag to the CPU."""
    losses = {
        name: value.detach()
        for name, value in outputs.items()
        if 'loss' in name and isinstance(value, torch.Tensor)
    }
    finite, ready = torch.tensor(True), None
    if losses:
        flat = [value.float().reshape(()) for value in losses.values()]
        finite = torch.stack(flat).isfinite().all()
    if finite.is_cuda:
        # Pinned memory: a copy to pageable memory would make the CPU wait.
        flag = torch.empty((), dtype=torch.bool, pin_memory=True)
        finite = flag.copy_(finite, non_blocking=True)
        ready = torch.cuda.Event()
        ready.record()
    return Step(runner.iter, batch, finite, ready, losses)


def as_dict(batch: Any) -> dict:
    """Return a batch if it is a dict; {} for other kinds, whose files are unknown."""
    return batch if isinstance(batch, dict) else {}


def is_finite(image: Any) -> bool:
    """Return whether an image of a batch holds finite numbers only.

    Inputs on a GPU pass: checking them would make the CPU wait, and the loss shows NaN
    anyway.
    """
    if isinstance(image, (list, tuple)):
        return all(map(is_finite, image))
    on_cpu = isinstance(image, torch.Tensor) and image.device.type == 'cpu'
    return not (on_cpu and image.is_floating_point()) or bool(image.isfinite().all())


def file_names(batch: dict) -> list[str]:
    """Return the image files of a batch, or sample numbers where there are none."""
    names = []
    for number, sample in enumerate(batch.get('data_samples') or []):
        info = getattr(sample, 'metainfo', {})
        name = info.get('img_path') or info.get('filename')
        index = info.get('sample_idx', number)
        names.append(str(name or f'sample {index} (no file name)'))
    return names


def add_nan_guard(cfg: Config) -> None:
    """Add NanGuardHook to the custom hooks of a config, unless it has one."""
    hooks = list(cfg.get('custom_hooks') or [])
    if not any(hook.get('type') == 'mmtlalign.NanGuardHook' for hook in hooks):
        cfg.custom_hooks = hooks + [dict(type='mmtlalign.NanGuardHook')]
