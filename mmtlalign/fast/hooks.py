"""One switch for faster attention in any run: pretraining, segmentation, detection.

Convolutions that keep the channels of a pixel side by side in memory.
"""

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from mmtlalign.errors import InputError
from mmtlalign.fast.attention import KERNELS
from mmtlalign.fast.modules import adopt_fast, share_windows
from mmtlalign.registry import HOOKS
from mmtlalign.tracing.attach import AttentionHook, TraceContext

SEAM = 'scaled_dot_product_attention'


def speed_up(model: nn.Module, kernel: str = 'auto') -> int:
    """Let the attentions of a model, in place, train by the kernel for the case.

    mmpretrain's plain and windowed attention become their fast twins, and what calls
    fused attention through an attribute (mmpretrain's, and this package's backbones)
    chooses. Parameters and state dict stay as they are, and so does the evaluation of
    windows. A forward that traces labels reads the weights of its windows, which are
    explicit then, whatever ``kernel`` says.

    Args:
        model: Any, traced or not.
        kernel: ``'auto'``, ``'fused'`` or ``'explicit'``; see
            :func:`mmtlalign.attention.attend`.

    Returns:
        int: How many attentions were changed.
    """
    if kernel not in KERNELS:
        raise InputError(f'kernel={kernel!r}: choose one of {KERNELS}.')
    share_windows(model)
    changed = 0
    for module in model.modules():
        seam = vars(module).get(SEAM)
        if seam is F.scaled_dot_product_attention:
            seam = AttentionHook(TraceContext())
            setattr(module, SEAM, seam)
        if isinstance(seam, AttentionHook):
            seam.kernel = kernel
        windows = adopt_fast(module, kernel)
        changed += isinstance(seam, AttentionHook) or windows
    return changed


@HOOKS.register_module()
class FastAttentionHook(Hook):
    """Speed up the attentions of a run's model; see :func:`speed_up`.

    In a config of any host::

        custom_hooks = [dict(type='mmtlalign.FastAttentionHook')]

    Args:
        kernel (str): As of :func:`speed_up`. Defaults to 'auto'.

    Raises:
        InputError: The model has no attention that is known here.
    """

    def __init__(self, kernel: str = 'auto'):
        self.kernel = kernel

    def before_run(self, runner) -> None:
        """Change the model before it is compiled or run."""
        model = runner.model
        while is_model_wrapper(model):
            model = model.module
        changed = speed_up(model, self.kernel)
        if not changed:
            raise InputError(
                f'FastAttentionHook: {type(model).__name__} has no attention that it '
                'knows: those of mmpretrain (VisionTransformer, SwinTransformer, '
                'Twins) and of mmtlalign are. Remove the hook.'
            )
        runner.logger.info(
            f'{changed} attentions train by the kernel for the case ({self.kernel}).'
        )


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
