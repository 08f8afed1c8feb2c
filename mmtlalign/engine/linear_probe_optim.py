"""A learning rate for each linear layer of a probe."""

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmtlalign.engine.errors import InputError
from mmtlalign.registry import OPTIM_WRAPPER_CONSTRUCTORS

__all__ = ['LinearProbeOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LinearProbeOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Each layer of a :class:`LinearProbeHead` learns at its multiple of ``lr``.

    Nothing else has a group, so that nothing else learns.

    Args:
        optim_wrapper_cfg (dict): As in the default constructor; the optimizer has an
            ``lr``.
        paramwise_cfg: Not taken.

    Raises:
        InputError: There is a ``paramwise_cfg`` or no ``lr``, or the model has no such
            head.
    """

    def _validate_cfg(self) -> None:
        if self.paramwise_cfg or self.base_lr is None:
            raise InputError(
                f'{type(self).__name__}: lr={self.base_lr} and paramwise_cfg='
                f'{self.paramwise_cfg}; set optimizer.lr, which the rates of the head '
                'multiply, and remove paramwise_cfg.'
            )
        # Not empty, else the default constructor asks for no groups.
        self.paramwise_cfg = dict(layers=True)

    def add_params(self, params: list, module: nn.Module, **kwargs) -> None:
        """Add one group for each layer, in the order of the rates."""
        head = getattr(module, 'head', None)
        if not hasattr(head, 'rates'):
            raise InputError(
                f'{type(self).__name__}: the model has no mmtlalign.LinearProbeHead; '
                'remove the constructor, or set model.head.'
            )
        for rate, layer in zip(head.rates, head.layers):
            params.append(dict(params=list(layer.parameters()), lr=self.base_lr * rate))
