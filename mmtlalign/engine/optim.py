"""The default optimizer constructor, with few parameter groups and the fused step.

It is not in ``mmtlalign.fast`` because nothing there changes results, and a fused step
rounds differently from the usual one.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn

from mmtlalign.compat.build_errors import name_near_type
from mmtlalign.errors import InputError
from mmtlalign.registry import OPTIM_WRAPPER_CONSTRUCTORS

Built = TypeVar('Built')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class FastOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor with few groups and the optimizer's fused step.

    With ``paramwise_cfg`` the default constructor makes a group for every parameter,
    and an optimizer launches its kernels for each of some hundred groups. Here
    parameters of equal settings share a group. The fused step of torch's AdamW, Adam
    and SGD is used where the device has it, unless the config sets ``optimizer.fused``
    or ``optimizer.foreach``. Float16 with loss scaling keeps the usual step: a fused
    one gets gradients that are still scaled, which hooks of the optimizer would see.

    Args:
        optim_wrapper_cfg (dict): Optimizer wrapper: ``type`` (``'OptimWrapper'`` by
            default), ``optimizer``, and settings of the wrapper such as ``clip_grad``.
        paramwise_cfg (dict, optional): Multipliers of learning rate and weight decay,
            such as ``norm_decay_mult``, see mmengine's
            ``DefaultOptimWrapperConstructor``. Defaults to None.
    """

    optimizer_cfg: dict[str, Any]

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper."""
        plain, build = self.optimizer_cfg, super().__call__
        if not self.may_fuse():
            return build(model)

        def build_with(**options: Any) -> OptimWrapper:
            self.optimizer_cfg = dict(plain, **options)
            return build(model)

        return fuse_if_possible(build_with)

    def may_fuse(self) -> bool:
        """Return whether the optimizer has a fused step and the config allows it.

        Raises:
            InputError: No optimizer has the name in the config.
        """
        kind = self.optimizer_cfg['type']
        if isinstance(kind, str):
            with OPTIMIZERS.switch_scope_and_registry(None) as registry:
                kind = registry.get(kind)
        if kind is None:
            name = self.optimizer_cfg['type']
            raise InputError(
                name_near_type(f'{name} is not in the mmengine::optimizer registry')
            )
        if 'Amp' in str(self.optim_wrapper_cfg.get('type')):
            return False
        chosen = {'fused', 'foreach'} & set(self.optimizer_cfg)
        return 'fused' in inspect.signature(kind).parameters and not chosen

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Add a group for every parameter; the outermost call adjusts and merges."""
        super().add_params(params, module, prefix, is_dcn_module)
        if not prefix:
            params[:] = merge_groups(self.adjust_groups(params, module))

    def adjust_groups(self, groups: list[dict], model: nn.Module) -> list[dict]:
        """Return the groups, one for each parameter; subclasses may change them."""
        return groups


def fuse_if_possible(build: Callable[..., Built]) -> Built:
    """Return ``build(fused=True)``, or ``build()`` where there is no fused step.

    Only the optimizer itself knows which devices have one.
    """
    try:
        return build(fused=True)
    except RuntimeError as error:
        if 'fused' not in str(error):
            raise
        return build()


def merge_groups(groups: list[dict]) -> list[dict]:
    """Merge groups of equal settings, in the order in which they come.

    A parameter that several modules share keeps the settings of the first one.
    """
    merged: dict[tuple, dict] = {}
    seen = set[int]()
    for group in groups:
        new = [p for p in group['params'] if id(p) not in seen]
        seen.update(map(id, new))
        if not new:
            continue
        key = tuple(sorted((k, v) for k, v in group.items() if k != 'params'))
        merged.setdefault(key, dict(group, params=[]))['params'] += new
    return list(merged.values())
