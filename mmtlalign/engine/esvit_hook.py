"""The schedules of EsViT and DINO that no scheduler of mmengine covers."""

from math import ceil

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmtlalign.engine.errors import InputError
from mmtlalign.engine.step_hook import before_step
from mmtlalign.engine.teacher_schedules import teacher_momentum, teacher_temperature
from mmtlalign.registry import HOOKS

__all__ = ['EsViTHook']


@HOOKS.register_module()
class EsViTHook(Hook):
    """Set the teacher's temperature, move it after each step, hold the last layer.

    Everything follows from the iteration, so that a run that is resumed goes on as it
    would have. An epoch is one pass over the training data, also where the run counts
    iterations; a step is one of the optimizer, also where it takes several batches.

    Defaults are those of EsViT's recipes (arXiv 2106.09785, official README).

    Args:
        momentum (float): Of the teacher in step 0; it rises to 1 on a cosine.
            Defaults to 0.996.
        teacher_temp (float): After the warm-up. Defaults to 0.07.
        warmup_teacher_temp (float): In epoch 0. Defaults to 0.04.
        warmup_teacher_temp_epochs (int): Defaults to 30.
        freeze_last_layer (int): For so many epochs the last layers of both heads do
            not learn. Defaults to 1.

    Raises:
        InputError: A value is impossible, or the model is none of EsViT.
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
                f'EsViTHook: momentum={momentum} is the share of itself that the '
                'teacher keeps; set a number from 0 to 1 (the recipes have 0.996).'
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

    def before_train(self, runner) -> None:
        """Find the model and the last layers of its student."""
        self.model = runner.model
        while is_model_wrapper(self.model):
            self.model = self.model.module
        # Asked this way, runs of other hosts need not import mmpretrain's models.
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
        self.detach = before_step(optimizer, self.hold_last_layers)

    def after_train(self, runner) -> None:
        """Detach from the optimizer."""
        self.detach()

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Set the temperature of this epoch."""
        self.epoch = runner.iter // len(runner.train_dataloader)
        self.model.teacher_temp = teacher_temperature(self.epoch, *self.temperature)

    def hold_last_layers(self, optimizer) -> None:
        """Take their gradients away, so that weight decay leaves them alone too."""
        if self.epoch < self.freeze_last_layer:
            for param in self.last_layers:
                param.grad = None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Move centres and teacher if the optimizer has made a step."""
        if not runner.optim_wrapper.should_update():
            return
        batches = runner.optim_wrapper._accumulative_counts
        step = ceil((runner.iter + 1) / batches) - 1
        steps = ceil(runner.max_iters / batches)
        self.model.after_step(teacher_momentum(step, steps, self.momentum))
