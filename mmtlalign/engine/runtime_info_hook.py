"""Read losses from the GPU when they are logged, not in every step."""

from typing import Any

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner

from mmtlalign.registry import HOOKS

# Steps whose losses are kept at most, should nobody log.
MAX_PENDING = 100


@HOOKS.register_module()
class LazyRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, which reads the losses of many steps at once.

    The stock hook reads every loss in every step, which makes the host wait until the
    GPU is done. Here they are read before :class:`LoggerHook` logs, at the end of an
    epoch, and before a checkpoint is written, so that every record is the same as with
    the stock hook. What is on the CPU is read at once. ``tools/train.py`` has it in
    place of the stock hook.
    """

    def before_train(self, runner: Runner) -> None:
        """Set the runtime information, and find out how often is logged."""
        super().before_train(runner)
        self._pending: list[dict[str, Any]] = []
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self.interval = min([hook.interval for hook in loggers] + [MAX_PENDING])
        # Its wrapper keeps the norm of gradients for this hook.
        runner.optim_wrapper.keeps_norm = True

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep what a step returned, and read it if it is to be logged."""
        values = dict(outputs or {})
        norm = vars(runner.optim_wrapper).pop('grad_norm', None)
        if norm is not None:
            values['grad_norm'] = norm
        self._pending.append(values)
        ends = self.end_of_epoch(runner.train_dataloader, batch_idx)
        logs = self.every_n_inner_iters(batch_idx, self.interval)
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
        """Wait once, and put everything into the message hub."""
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
    """Return whether reading a value makes the host wait for a device."""
    return isinstance(value, torch.Tensor) and value.device.type != 'cpu'
