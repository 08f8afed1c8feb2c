"""What mmengine leaves out on a machine without an accelerator.

mmengine's launchers call ``torch.cuda.set_device``, its wrapper passes device
ids to the CPU model, and its AMP wrapper insists on a GPU. Small runs and
tests need all three on a CPU.
"""

from contextlib import contextmanager

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
    """Autocast to bfloat16, on any device; no loss scaling is needed.

    Arguments as in :class:`mmengine.optim.OptimWrapper`. The norm of clipped gradients
    is kept for :class:`LazyRuntimeInfoHook`, where there is one, rather than read.
    """

    keeps_norm = False

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast the forward pass of one training step."""
        autocast = torch.autocast(get_device(), dtype=torch.bfloat16)
        with super().optim_context(model), autocast:
            yield

    def _clip_grad(self) -> None:
        if not self.keeps_norm:
            return super()._clip_grad()
        groups = self.optimizer.param_groups
        params = [p for g in groups for p in g['params'] if p.grad is not None]
        if params:
            self.grad_norm = self.clip_func(params, **self.clip_grad_kwargs)


def join_cpu_processes(cfg: Config) -> None:
    """Connect the processes of ``torchrun`` over gloo if there is no GPU.

    Does nothing on a machine with an accelerator or for a single process.

    Args:
        cfg (Config): Its ``launcher`` is read; ``env_cfg`` and
            ``model_wrapper_cfg`` are changed.

    Raises:
        InputError: If the launcher is not ``pytorch``.
    """
    if cfg.get('launcher', 'none') == 'none' or get_device() != 'cpu':
        return
    if cfg.launcher != 'pytorch':
        raise InputError(
            f"launcher '{cfg.launcher}' starts processes on GPUs, and none is found; "
            'on a CPU use `--launcher pytorch` (tools/dist_train.sh)'
        )
    env_cfg = cfg.get('env_cfg') or {}
    cfg.env_cfg = dict(env_cfg, dist_cfg=dict(backend='gloo'))
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
    if not dist.is_initialized():
        dist.init_process_group('gloo')


def leave_processes() -> None:
    """End a group of processes together.

    One that exits while another still waits for it can abort that one.
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def mixed_precision(cfg: Config) -> None:
    """Switch the optimizer wrapper of a config to mixed precision.

    mmpretrain's models get :class:`Bf16OptimWrapper` on a CPU and on a GPU that
    computes in bfloat16 (NVIDIA from Ampere on). Other GPUs, and the other hosts, whose
    compiled operators know no bfloat16, get mmengine's ``AmpOptimWrapper``: float16
    with dynamic loss scaling. On a GPU a config that names that wrapper keeps it.

    Args:
        cfg (Config): Its ``optim_wrapper`` is changed.

    Raises:
        InputError: If the wrapper of the config is of another kind.
    """
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', BF16):
        raise InputError(
            f"--amp does not know how to change optim_wrapper.type='{kind}' to mixed "
            'precision; leave out --amp and say it in the config'
        )
    operators = cfg.get('default_scope') != 'mmpretrain'
    if kind == BF16:
        return
    if get_device() == 'cpu':
        wrapper.type = BF16
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
    elif kind == 'OptimWrapper' and not operators and gpu_has_bfloat16():
        wrapper.type = BF16
    else:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')


def gpu_has_bfloat16() -> bool:
    """Whether the GPU computes in bfloat16; older ones only imitate it, slowly."""
    return get_device() == 'cuda' and torch.cuda.get_device_capability()[0] >= 8
