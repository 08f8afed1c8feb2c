"""A hook that validates the same network in every process."""

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmtlalign.registry import HOOKS


@HOOKS.register_module()
class BroadcastBuffersHook(Hook):
    """Copy the running statistics of the first process to all others to validate.

    Each process updates the statistics of its batch norms from its own images, and
    mmengine neither broadcasts them nor averages them within an epoch. Without this
    hook each process would validate another network than the checkpoint has, which is
    that of the first. ``tools/train.py`` adds it to every run; ``SyncBN``, or
    mmengine's ``SyncBuffersHook``, averages the statistics.
    """

    # After EMAHook, which replaces the weights by their average.
    priority = 'LOWEST'

    def before_val_epoch(self, runner: Runner) -> None:
        """Broadcast the buffers of all batch norms."""
        for module in runner.model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                for buffer in module.buffers(recurse=False):
                    broadcast(buffer)
