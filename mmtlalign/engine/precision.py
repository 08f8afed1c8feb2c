"""Mixed precision on every device, and several processes on a CPU.

mmengine's AMP wrapper requires a GPU, its launchers call ``torch.cuda.set_device``,
and its wrapper for distribution passes device ids to a model on the CPU. Small runs and
tests need all three to work on a CPU.
"""

import atexit
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from mmtlalign.errors import InputError
from mmtlalign.registry import OPTIM_WRAPPERS

BF16 = 'mmtlalign.Bf16OptimWrapper'


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Optimizer wrapper that autocasts to bfloat16 on any device; no loss scaling.

    With a :class:`LazyRuntimeInfoHook`, the norm of clipped gradients stays on the
    device until the hook reads it.

    Args:
        optimizer (torch.optim.Optimizer): The optimizer.
        accumulative_counts (int): Steps whose gradients are accumulated. Defaults to 1.
        clip_grad (dict, optional): Gradient clipping: ``type`` (``'norm'`` or
            ``'value'``) and the arguments of torch's function, such as ``max_norm``.
            Defaults to None.
    """

    keeps_norm = False

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass of one training step."""
        autocast = torch.autocast(get_device(), dtype=torch.bfloat16)
        with super().optim_context(model), autocast:
            yield

    def _clip_grad(self) -> None:
        if not self.keeps_norm:
            super()._clip_grad()
            return
        groups = self.optimizer.param_groups
        params = [p for g in groups for p in g['params'] if p.grad is not None]
        if params:
            self.grad_norm = self.clip_func(params, **self.clip_grad_kwargs)


def join_cpu_processes(cfg: Config, timeout: float | None = None) -> None:
    """Connect the processes of ``torchrun`` over gloo if there is no GPU.

    It does nothing on a machine with an accelerator or for a single process.

    Args:
        cfg: Its ``launcher`` is read; ``env_cfg`` and ``model_wrapper_cfg`` are
            changed.
        timeout: Seconds that processes wait for each other. Defaults to None: those
            of ``env_cfg.dist_cfg``, else those of gloo.

    Raises:
        InputError: The launcher is not ``pytorch``.
    """
    if cfg.get('launcher', 'none') == 'none' or get_device() != 'cpu':
        return
    if cfg.launcher != 'pytorch':
        raise InputError(
            f"launcher '{cfg.launcher}' starts processes on GPUs, and none is found; "
            'on a CPU use `--launcher pytorch` (tools/dist_train.sh)'
        )
    env_cfg = cfg.get('env_cfg') or {}
    timeout = timeout or (env_cfg.get('dist_cfg') or {}).get('timeout')
    waits = {} if timeout is None else dict(timeout=timeout)
    cfg.env_cfg = dict(env_cfg, dist_cfg=dict(backend='gloo', **waits))
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
    if not dist.is_initialized():
        wait = None if timeout is None else timedelta(seconds=timeout)
        dist.init_process_group('gloo', timeout=wait)


def leave_processes(status: int = 0) -> None:
    """Leave the process group at the same time as all other processes.

    A process that exits earlier can abort another that still waits for it.

    With gloo, this function also ends the process: it runs the exit handlers and skips
    the shutdown of the interpreter. Threads of gloo outlive the group once a model was
    wrapped for distribution (torch 2.11), and a thread that needs the interpreter while
    it shuts down aborts the process. Call it last.

    Args:
        status: Exit status of a process with gloo. Defaults to 0.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    threads = dist.get_backend() == 'gloo'
    dist.barrier()
    dist.destroy_process_group()
    if threads:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def mixed_precision(cfg: Config) -> None:
    """Switch the optimizer wrapper of a config to mixed precision.

    On a CPU, all models get :class:`Bf16OptimWrapper`. On a GPU, mmpretrain's models
    get it if the GPU computes in bfloat16 (NVIDIA from Ampere on). Other GPUs, and
    mmseg and mmdet, whose compiled operators do not support bfloat16, get mmengine's
    ``AmpOptimWrapper``: float16 with dynamic loss scaling. On a GPU a config that names
    one of the two wrappers keeps it.

    Args:
        cfg: Its ``optim_wrapper`` is changed.

    Raises:
        InputError: The config has another kind of optimizer wrapper.
    """
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', BF16):
        raise InputError(
            f"--amp cannot change optim_wrapper.type='{kind}' to mixed precision; "
            'leave out --amp and set the precision in the config'
        )
    if kind == BF16:
        return
    if get_device() == 'cpu':
        wrapper.type = BF16
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
        return
    dense = cfg.get('default_scope') != 'mmpretrain'
    if kind == 'OptimWrapper' and not dense and gpu_has_bfloat16():
        wrapper.type = BF16
    else:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')


def gpu_has_bfloat16() -> bool:
    """Return whether the GPU computes in bfloat16; older ones emulate it slowly."""
    return get_device() == 'cuda' and torch.cuda.get_device_capability()[0] >= 8
