"""A hook that reads losses from the GPU when they are logged, not in every step."""

from typing import Any

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner

from mmtlalign.registry import HOOKS

# Losses are read at least every so many steps, even if nothing is logged.
MAX_PENDING = 100


@HOOKS.register_module()
class LazyRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, which reads the losses of many steps at once.

    The stock hook reads every loss in every step, which makes the CPU wait for the GPU.
    Here they are read before :class:`LoggerHook` logs, at the end of an epoch, and
    before a checkpoint is written, so that every record is the same as with the stock
    hook. Values on the CPU are read at once. ``tools/train.py`` uses it in place of the
    stock hook.
    """

    def before_train(self, runner: Runner) -> None:
        """Set the runtime information, and find the logging intervals."""
        super().before_train(runner)
        self._pending: list[dict[str, Any]] = []
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self.intervals = {hook.interval for hook in loggers}
        # Lets Bf16OptimWrapper keep the norm of gradients for this hook.
        runner.optim_wrapper.keeps_norm = True

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the losses of a step, and read all that are kept if one is logged."""
        values = dict(outputs or {})
        norm = vars(runner.optim_wrapper).pop('grad_norm', None)
        if norm is not None:
            values['grad_norm'] = norm
        self._pending.append(values)
        ends = self.end_of_epoch(runner.train_dataloader, batch_idx)
        logs = any(self.every_n_inner_iters(batch_idx, n) for n in self.intervals)
        logs = logs or len(self._pending) >= MAX_PENDING
        last = runner.iter + 1 >= runner.max_iters
        if ends or logs or last or not any(map(waits, values.values())):
            self._read(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Read what is left at the end of an epoch."""
        self._read(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read what is left before a checkpoint, which may be another hook's."""
        self._read(runner)

    def _read(self, runner: Runner) -> None:
        """Read all values with one synchronisation into the message hub."""
        steps = getattr(self, '_pending', [])
        values = [value for step in steps for value in step.values()]
        on_device = [v.detach().double().reshape(()) for v in values if waits(v)]
        numbers = iter(torch.stack(on_device).tolist() if on_device else ())
        for step in steps:
            for name, value in step.items():
                value = next(numbers) if waits(value) else value
                runner.message_hub.update_scalar(f'train/{name}', value)
        self._pending = []


def waits(value: Any) -> bool:
    """Return whether reading a value makes the CPU wait for a device."""
    return isinstance(value, torch.Tensor) and value.device.type != 'cpu'
