"""Clip the gradient of each tensor by its own norm, as DINO and EsViT do."""

import torch
from mmengine.hooks import Hook

from mmtlalign.engine.errors import InputError
from mmtlalign.engine.step_hook import before_step
from mmtlalign.registry import HOOKS

__all__ = ['TensorClipHook', 'clip_each_']


@torch.no_grad()
def clip_each_(gradients: list[torch.Tensor], max_norm: float) -> list[torch.Tensor]:
    """Scale every tensor to an L2 norm of at most ``max_norm``, in place.

    No number leaves the device.

    Args:
        gradients: Tensors of any shapes.
        max_norm: Of each alone, unlike ``torch.nn.utils.clip_grad_norm_``.

    Returns:
        list: Norms from before, each () float.
    """
    if not gradients:
        return []
    norms = torch._foreach_norm(gradients)
    scales = [(max_norm / (norm + 1e-6)).clamp(max=1) for norm in norms]
    torch._foreach_mul_(gradients, scales)
    return norms


@HOOKS.register_module()
class TensorClipHook(Hook):
    """Clip the gradient of each parameter by its own norm before every step.

    The official code of DINO and EsViT clips so (3.0 in both recipes), while
    ``optim_wrapper.clip_grad`` of mmengine takes the norm of all together. It runs
    inside the optimizer's step, so after unscaling in mixed precision, and with any
    optimizer wrapper.

    Args:
        max_norm (float): Of each tensor. Defaults to 3.0.

    Raises:
        InputError: The norm is not positive, or the optimizer gets gradients that are
            still scaled: a fused step under ``AmpOptimWrapper``.
    """

    def __init__(self, max_norm: float = 3.0):
        if not max_norm > 0:
            raise InputError(
                f'TensorClipHook: max_norm={max_norm} stops all learning; set a number '
                'greater than 0, or remove the hook.'
            )
        self.max_norm = max_norm

    def before_train(self, runner) -> None:
        """Attach to the optimizer."""
        fused = runner.optim_wrapper.optimizer.defaults.get('fused')
        if fused and hasattr(runner.optim_wrapper, 'loss_scaler'):
            raise InputError(
                'TensorClipHook: optimizer.fused=True under AmpOptimWrapper takes '
                'scaled gradients, whose norms say nothing; leave fused out, or train '
                "in bfloat16 (optim_wrapper.type='mmtlalign.Bf16OptimWrapper')."
            )
        self.detach = before_step(runner.optim_wrapper.optimizer, self.clip)

    def after_train(self, runner) -> None:
        """Detach from it."""
        self.detach()

    def clip(self, optimizer) -> None:
        """Clip what the optimizer is about to use."""
        params = (p for group in optimizer.param_groups for p in group['params'])
        clip_each_([p.grad for p in params if p.grad is not None], self.max_norm)
