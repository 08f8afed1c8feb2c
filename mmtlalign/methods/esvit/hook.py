"""Hooks of EsViT and DINO: schedules, teacher update, gradient clipping.

DINO (arXiv 2104.14294), §3.1 and appendix, with the settings of EsViT's recipe.
"""

import math

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.optim import Optimizer

from mmtlalign.compat.step_hook import before_step
from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.errors import InputError
from mmtlalign.registry import HOOKS


def teacher_temperature(
    epoch: int, start: float = 0.04, final: float = 0.07, warmup_epochs: int = 30
) -> float:
    """Return the temperature of an epoch, which is linear, then constant.

    Args:
        epoch: Index of the epoch, from 0.
        start: Temperature in epoch 0.
        final: Temperature from epoch ``warmup_epochs - 1`` on.
        warmup_epochs: Epochs of the linear part, both ends included; 0 for none.
    """
    if epoch >= warmup_epochs:
        return final
    return start + (final - start) * epoch / max(warmup_epochs - 1, 1)


def teacher_momentum(step: int, steps: int, base: float = 0.996) -> float:
    """Return the EMA momentum of the teacher, a cosine from ``base`` to 1.

    Args:
        step: Step of the optimizer, from 0.
        steps: Steps of the whole training.
        base: Momentum in step 0.
    """
    return 1 - (1 - base) * (1 + math.cos(math.pi * step / steps)) / 2


@HOOKS.register_module()
class EsViTHook(Hook):
    """Set the teacher's temperature, update it after each step, freeze last layers.

    All values depend only on the iteration, so that a resumed run equals an
    uninterrupted one. An epoch is one pass over the training data, also in an
    iteration-based loop; a step is one of the optimizer, also if it accumulates several
    batches.

    Defaults are those of EsViT's recipes (arXiv 2106.09785, official README).

    Args:
        momentum (float): EMA momentum of the teacher in step 0; it rises to 1 on a
            cosine. Defaults to 0.996.
        teacher_temp (float): Temperature after the warm-up. Defaults to 0.07.
        warmup_teacher_temp (float): Temperature in epoch 0. Defaults to 0.04.
        warmup_teacher_temp_epochs (int): Epochs of its warm-up. Defaults to 30.
        freeze_last_layer (int): Number of initial epochs in which the last layers of
            both heads are frozen. Defaults to 1.

    Raises:
        InputError: A value is invalid, or the model is not EsViT.
    """

    def __init__(
        self,
        momentum: float = 0.996,
        teacher_temp: float = 0.07,
        warmup_teacher_temp: float = 0.04,
        warmup_teacher_temp_epochs: int = 30,
        freeze_last_layer: int = 1,
    ):
        if not 0 <= momentum <= 1:
            raise InputError(
                f'EsViTHook: momentum={momentum} is the weight of the old teacher in '
                'its moving average; set a number from 0 to 1 (the recipes have 0.996).'
            )
        if not min(teacher_temp, warmup_teacher_temp) > 0:
            raise InputError(
                f'EsViTHook: teacher_temp={teacher_temp} and warmup_teacher_temp='
                f'{warmup_teacher_temp} divide logits; set numbers greater than 0.'
            )
        self.momentum = momentum
        self.temperature = (
            warmup_teacher_temp,
            teacher_temp,
            warmup_teacher_temp_epochs,
        )
        self.freeze_last_layer = freeze_last_layer
        self.epoch = 0

    def before_train(self, runner: Runner) -> None:
        """Find the model and the last layers of its student."""
        self.model = unwrap_model(runner.model)
        # Not isinstance, so that other runs need not import mmpretrain's models.
        if not hasattr(self.model, 'after_step'):
            raise InputError(
                f'EsViTHook: the model is {type(self.model).__name__}; the hook is for '
                'mmtlalign.EsViT alone, so remove it from custom_hooks.'
            )
        self.last_layers = [
            param
            for part in self.model.student().values()
            for name, param in part.named_parameters()
            if 'last_layer' in name
        ]
        optimizer = runner.optim_wrapper.optimizer
        self.detach = before_step(optimizer, self.freeze_last_layers)

    def after_train(self, runner: Runner) -> None:
        """Detach from the optimizer."""
        self.detach()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Set the temperature of this epoch."""
        self.epoch = runner.iter // len(runner.train_dataloader)
        self.model.teacher_temp = teacher_temperature(self.epoch, *self.temperature)

    def freeze_last_layers(self, optimizer: Optimizer) -> None:
        """Remove the last layers' gradients, which also disables their weight decay."""
        if self.epoch < self.freeze_last_layer:
            for param in self.last_layers:
                param.grad = None

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Update centres and teacher after a step of the optimizer."""
        if not runner.optim_wrapper.should_update():
            return
        batches = runner.optim_wrapper._accumulative_counts
        step = math.ceil((runner.iter + 1) / batches) - 1
        steps = math.ceil(runner.max_iters / batches)
        self.model.after_step(teacher_momentum(step, steps, self.momentum))


@torch.no_grad()
def clip_each_(gradients: list[torch.Tensor], max_norm: float) -> list[torch.Tensor]:
    """Scale every tensor to an L2 norm of at most ``max_norm``, in place.

    It does not synchronise with the device.

    Args:
        gradients: Tensors of any shapes.
        max_norm: Limit of each tensor, unlike in ``torch.nn.utils.clip_grad_norm_``.

    Returns:
        Norms before clipping, each () float.
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

    The official code of DINO and EsViT clips in this way (3.0 in both recipes), while
    mmengine's ``optim_wrapper.clip_grad`` uses the norm of all gradients together. The
    hook runs inside the optimizer's step, so after unscaling in mixed precision, and
    with any optimizer wrapper.

    Args:
        max_norm (float): Largest L2 norm of each tensor. Defaults to 3.0.

    Raises:
        InputError: The norm is not positive, or the optimizer gets scaled gradients, as
            with a fused optimizer under ``AmpOptimWrapper``.
    """

    def __init__(self, max_norm: float = 3.0):
        if not max_norm > 0:
            raise InputError(
                f'TensorClipHook: max_norm={max_norm} stops all learning; set a number '
                'greater than 0, or remove the hook.'
            )
        self.max_norm = max_norm

    def before_train(self, runner: Runner) -> None:
        """Attach to the optimizer."""
        fused = runner.optim_wrapper.optimizer.defaults.get('fused')
        if fused and hasattr(runner.optim_wrapper, 'loss_scaler'):
            raise InputError(
                'TensorClipHook: with optimizer.fused=True under AmpOptimWrapper the '
                'gradients are still scaled when they are clipped; remove fused, or '
                "train in bfloat16 (optim_wrapper.type='mmtlalign.Bf16OptimWrapper')."
            )
        self.detach = before_step(runner.optim_wrapper.optimizer, self.clip)

    def after_train(self, runner: Runner) -> None:
        """Detach from the optimizer."""
        self.detach()

    def clip(self, optimizer: Optimizer) -> None:
        """Clip the gradients that the optimizer is about to use."""
        params = (p for group in optimizer.param_groups for p in group['params'])
        clip_each_([p.grad for p in params if p.grad is not None], self.max_norm)
