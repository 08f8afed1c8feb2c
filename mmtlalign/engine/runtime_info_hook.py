"""Losses are read from the GPU when they are logged, not in every step."""

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook

from mmtlalign.registry import HOOKS

# Steps whose losses are kept at most, should nobody log.
MOST = 100


@HOOKS.register_module()
class LazyRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's hook of this name reads every loss in every step, which makes the host
    wait until the GPU is done; this one reads those of many steps at once.

    They are read before :class:`LoggerHook` logs, at the end of an epoch, and before a
    checkpoint is written, so that every record is the same as with the stock hook. What
    is on the CPU is read at once. ``tools/train.py`` has it in place of the stock hook.
    """

    def before_train(self, runner) -> None:
        """As the stock hook; also find out how often is logged."""
        super().before_train(runner)
        self.pending = []
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self.interval = min([hook.interval for hook in loggers] + [MOST])
        # Its wrapper keeps the norm of gradients for this hook.
        runner.optim_wrapper.keeps_norm = True

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Keep what a step gave, and read it if it is to be logged."""
        given = dict(outputs or {})
        norm = vars(runner.optim_wrapper).pop('grad_norm', None)
        if norm is not None:
            given['grad_norm'] = norm
        self.pending.append(given)
        ends = self.end_of_epoch(runner.train_dataloader, batch_idx)
        logs = self.every_n_inner_iters(batch_idx, self.interval)
        last = runner.iter + 1 >= runner.max_iters
        if ends or logs or last or not any(map(waits, given.values())):
            self.read(runner)

    def after_train_epoch(self, runner) -> None:
        """Nothing is left behind an epoch."""
        self.read(runner)

    def before_save_checkpoint(self, runner, checkpoint) -> None:
        """Nor in front of a checkpoint of another hook."""
        self.read(runner)

    def read(self, runner) -> None:
        """Wait once, and put everything into the message hub."""
        steps = getattr(self, 'pending', [])
        values = [value for step in steps for value in step.values()]
        there = [v.detach().double().reshape(()) for v in values if waits(v)]
        numbers = iter(torch.stack(there).tolist() if there else ())
        for step in steps:
            for name, value in step.items():
                value = next(numbers) if waits(value) else value
                runner.message_hub.update_scalar(f'train/{name}', value)
        self.pending = []


def waits(value) -> bool:
    """Whether reading a value makes the host wait for a device."""
    return isinstance(value, torch.Tensor) and value.device.type != 'cpu'
