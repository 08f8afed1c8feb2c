"""A checkpoint hook that deletes old checkpoints only after the next one is written."""

import errno
import os.path as osp
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmtlalign.engine.run_folder import describe_last
from mmtlalign.errors import InputError
from mmtlalign.registry import HOOKS


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, which loses no checkpoint if writing fails.

    The stock hook deletes the surplus checkpoint, and the best one so far, before it
    writes the next; if that fails, both are gone. Here they are deleted afterwards, or
    before only if the disk is full and another whole one remains. The folder of a run
    may be renamed or moved before it is resumed.
    ``tools/train.py`` uses it in place of the stock hook, with the same arguments.

    Raises:
        InputError: A checkpoint cannot be written.
    """

    file_backend: Any

    def before_train(self, runner: Runner) -> None:
        """Update the paths of a resumed run's checkpoints to its present folder."""
        hub = runner.message_hub
        for key, path in list(hub.runtime_info.items()):
            if key.startswith(('best_ckpt', 'last_ckpt')) and isinstance(path, str):
                folder = self.out_dir or runner.work_dir
                if self.out_dir not in (None, runner.work_dir):
                    folder = osp.join(folder, osp.basename(runner.work_dir))
                hub.update_info(key, osp.join(folder, osp.basename(path)))
        super().before_train(runner)
        evaluator = getattr(runner.val_loop, 'evaluator', None)
        if self.save_best and type(evaluator) is Evaluator:
            self._check_names(evaluator)
        if isinstance(self.file_backend, LocalBackend):
            self.file_backend = LateRemoval()

    def _check_names(self, evaluator: Evaluator) -> None:
        """Check that a metric may give each value that the best checkpoint is kept by.

        Raises:
            InputError: None does.
        """
        for name in set(self.key_indicators) - {'auto'}:
            starts = [metric_starts(metric) for metric in evaluator.metrics]
            if not any(name.startswith(tuple(one)) for one in starts):
                begin = ', '.join(start or '…' for one in starts for start in one)
                raise InputError(self._unknown(name, begin))

    def _unknown(self, name: str, names: str) -> str:
        return (
            f"default_hooks.checkpoint.save_best='{name}': the metrics of "
            f'val_evaluator give {names}. Name one of these, or correct the metric'
        )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        save = super()._save_checkpoint_with_step
        try:
            save(runner, step, meta)
        except OSError as error:
            spare = error.errno == errno.ENOSPC and self.max_keep_ckpts > 1
            if not spare or not self._remove():
                raise self._explain(runner, error) from error
            self._save_checkpoint_with_step(runner, step, meta)
            return
        self._remove()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        wanted = self.key_indicators if self.save_best else ()
        for name in set(wanted) - {'auto'} - set(metrics):
            raise InputError(
                f'{self._unknown(name, ", ".join(metrics))}, then continue with '
                '--resume'
            )
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            raise self._explain(runner, error) from error
        self._remove()

    def _explain(self, runner: Runner, error: OSError) -> InputError:
        return InputError(
            f'a checkpoint cannot be written to {self.out_dir}: {error.strerror}. Free '
            'disk space, or make the folder writable, then continue with --resume. '
            f'{describe_last(runner.work_dir)}'
        )

    def _remove(self) -> int:
        """Delete the files that were replaced; return their number."""
        backend = self.file_backend
        if not isinstance(backend, LateRemoval):
            return 0
        best = getattr(self, 'best_ckpt_path', None)
        kept = getattr(self, 'best_ckpt_path_dict', {}).values()
        return backend.remove_now({self.last_ckpt, best, *kept})


def metric_starts(metric: Any) -> list[str]:
    """Return how the names of a metric's values begin; an empty string if unknown."""
    prefix = f'{metric.prefix}/' if getattr(metric, 'prefix', None) else ''
    is_accuracy = type(metric).__name__ == 'Accuracy'
    topk = getattr(metric, 'topk', None) if is_accuracy else None
    return [f'{prefix}top{k}' for k in topk] if topk else [prefix]


class LateRemoval(LocalBackend):
    """mmengine's local file backend with deferred removal of files."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[str] = []

    def remove(self, filepath: str) -> None:
        """Mark a file for removal."""
        self.pending.append(filepath)

    def remove_now(self, kept: set[str | None]) -> int:
        """Remove the marked files except ``kept``; return how many were removed."""
        removed = 0
        while self.pending:
            path = self.pending.pop()
            if path not in kept and osp.isfile(path):
                super().remove(path)
                removed += 1
        return removed
