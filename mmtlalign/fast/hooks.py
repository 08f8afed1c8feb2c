"""Hooks that speed up a run: attention, and the memory format of convolutions."""

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.errors import InputError
from mmtlalign.fast.attention import AttentionKernel
from mmtlalign.fast.modules import make_fast, share_windows
from mmtlalign.registry import HOOKS


def speed_up(model: nn.Module, kernel: str = 'auto') -> int:
    """Speed up the attentions of a model in training, in place.

    mmpretrain's plain and windowed attention become objects of their fast classes.
    Modules that call fused attention through an attribute
    ``scaled_dot_product_attention`` (those of mmpretrain and of this package's
    backbones) get an :class:`AttentionKernel`. Parameters and state dict stay as they
    are, and so does windowed attention in evaluation.

    Args:
        model: Any model.
        kernel: ``'fused'``, which stores no attention map; ``'explicit'``, which does;
            or ``'auto'``, the faster one by measurement. Defaults to ``'auto'``.

    Returns:
        The number of attentions that were changed.

    Raises:
        InputError: There is no such kernel.
    """
    attention = AttentionKernel(kernel)
    share_windows(model)
    changed = 0
    for module in model.modules():
        replaced = _replace_function(module, attention)
        changed += make_fast(module, kernel) or replaced
    return changed


def _replace_function(module: nn.Module, attention: AttentionKernel) -> bool:
    """Replace the attribute by which a module calls fused attention, if it has one."""
    owner, name = module, 'scaled_dot_product_attention'
    function = vars(module).get(name)
    # Wrappers of the function, such as tracing's, keep it as `function`.
    while hasattr(function, 'function'):
        owner, name, function = function, 'function', function.function
    if function is not F.scaled_dot_product_attention and not isinstance(
        function, AttentionKernel
    ):
        return False
    setattr(owner, name, attention)
    return True


@HOOKS.register_module()
class FastAttentionHook(Hook):
    """Speed up the attentions of a run's model with the same numbers.

    In a config of any host::

        custom_hooks = [dict(type='mmtlalign.FastAttentionHook')]

    Args:
        kernel (str): ``'fused'``, which stores no attention map; ``'explicit'``, which
            does; or ``'auto'``, the faster one by measurement. Defaults to 'auto'.

    Raises:
        InputError: The model has no attention that :func:`speed_up` knows.
    """

    def __init__(self, kernel: str = 'auto'):
        self.kernel = kernel

    def before_run(self, runner: Runner) -> None:
        """Change the model before it is compiled or run."""
        model = unwrap_model(runner.model)
        changed = speed_up(model, self.kernel)
        if not changed:
            raise InputError(
                f'FastAttentionHook: {type(model).__name__} has no supported attention '
                "(those of mmpretrain's VisionTransformer, SwinTransformer and Twins, "
                'and of mmtlalign). Remove the hook.'
            )
        runner.logger.info(
            f'FastAttentionHook: {changed} attentions train with kernel={self.kernel}.'
        )


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Put a model into PyTorch's ``channels_last`` memory format.

    It speeds up convolutional networks (docs/performance.md), but not transformers,
    whose only convolution is the patch embedding. In a config of any host::

        custom_hooks = [dict(type='mmtlalign.ChannelsLastHook')]

    Raises:
        InputError: The model has no convolution.
    """

    def before_run(self, runner: Runner) -> None:
        """Change the format of the weights, which activations follow."""
        model = unwrap_model(runner.model)
        if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
            raise InputError(
                f'ChannelsLastHook: {type(model).__name__} has no convolution, so '
                'there is nothing to gain; remove the hook.'
            )
        model.to(memory_format=torch.channels_last)
