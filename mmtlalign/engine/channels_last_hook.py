"""Convolutions that keep the channels of a pixel side by side in memory."""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from mmtlalign.engine.errors import InputError
from mmtlalign.registry import HOOKS

__all__ = ['ChannelsLastHook']


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Put a model into torch's ``channels_last`` memory format.

    It pays for convolutional networks (docs/performance.md); transformers, whose only
    convolution cuts patches, gain nothing. In a config of any host::

        custom_hooks = [dict(type='mmtlalign.ChannelsLastHook')]

    Raises:
        InputError: The model has no convolution.
    """

    def before_run(self, runner) -> None:
        """Change the weights' format, which activations follow."""
        model = runner.model
        while is_model_wrapper(model):
            model = model.module
        if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
            raise InputError(
                f'ChannelsLastHook: {type(model).__name__} has no convolution, so '
                'there is nothing to gain; remove the hook.'
            )
        model.to(memory_format=torch.channels_last)
