"""Layer-wise learning-rate decay for any model with a backbone."""

from numbers import Real

from mmengine.logging import print_log
from torch import nn

from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.engine.optim import FastOptimWrapperConstructor
from mmtlalign.errors import InputError, some_of
from mmtlalign.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmtlalign.validation.config import LAYER_DECAY_KEYS, UnreadKeyError

# Parameters at the input that mmpretrain assigns to the last layer. BEiT and timm
# assign all of them to the first.
AT_THE_INPUT = ('dist_token', 'absolute_pos_embed', 'pre_norm.')
CUSTOM_KEYS = {'lr_mult', 'decay_mult'}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(FastOptimWrapperConstructor):
    """mmengine's default constructor with layer-wise learning-rate decay.

    The rule of BEiT (ICLR 2022, §3.3): a parameter at depth d of D has the learning
    rate ``lr * decay_rate ** (D - 1 - d)``. The backbone gives the depth:
    ``backbone.get_layer_depth(name, prefix)`` returns (d, D), as in mmpretrain.
    Everything outside the backbone has the full learning rate. This holds for
    classifiers, segmentors and detectors, wrapped for distribution or not.

    Weight decay, and multipliers of the learning rate, work as in the default
    constructor; the multipliers and the decay are multiplied. Parameters of equal
    settings share a group, frozen ones have none, and one that is used in several
    places is trained once. In a distilled ViT mmpretrain counts the distillation token
    as the last layer; here it is at depth 0, with the class token.

    An absolute ``eta_min`` of a scheduler is the same for all layers, and may be
    above the learning rate of the first; ``eta_min_ratio`` keeps the ratios::

        optim_wrapper = dict(
            constructor='mmtlalign.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(decay_rate=0.75, norm_decay_mult=0.0))

    Args:
        optim_wrapper_cfg (dict): Optimizer wrapper: ``type`` (``'OptimWrapper'`` by
            default), ``optimizer`` with an ``lr``, and settings of the wrapper such as
            ``clip_grad``.
        paramwise_cfg (dict): ``decay_rate``, greater than 0 and at most 1, and what the
            default constructor takes, such as ``norm_decay_mult``. Settings in
            ``custom_keys`` are ``lr_mult`` and ``decay_mult``.

    Raises:
        UnreadKeyError: A key is not known.
        InputError: A value is impossible, there is no backbone, or it has no (valid)
            ``get_layer_depth``.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        where = type(self).__name__
        given = [('paramwise_cfg', self.paramwise_cfg, LAYER_DECAY_KEYS)]
        for key, settings in self.paramwise_cfg.get('custom_keys', {}).items():
            given.append((f'custom_keys[{key!r}]', settings, CUSTOM_KEYS))
        for name, settings, known in given:
            for key in sorted(set(settings) - known):
                raise UnreadKeyError(
                    f'{where}: {key!r} in {name} is not read; the keys are '
                    f'{", ".join(sorted(known))}. Correct or remove it.'
                )
        rate = self.paramwise_cfg.get('decay_rate')
        is_number = isinstance(rate, Real) and not isinstance(rate, bool)
        if not is_number or not 0 < rate <= 1:
            raise InputError(
                f'{where}: paramwise_cfg has decay_rate={rate!r}; set a number greater '
                'than 0 and at most 1, or remove the constructor.'
            )
        if self.base_lr is None:
            raise InputError(
                f'{where}: the optimizer has no lr, which is scaled for every layer; '
                'set optim_wrapper.optimizer.lr.'
            )

    def adjust_groups(self, groups: list[dict], model: nn.Module) -> list[dict]:
        """Scale the learning rate of every parameter; keep each parameter once."""
        depths = parameter_depths(find_backbone(model))
        scaled = {}
        for group in groups:
            (param,) = group['params']
            if id(param) in scaled:
                continue
            depth, count = depths.get(id(param), (0, 1))
            scale = self.paramwise_cfg['decay_rate'] ** (count - 1 - depth)
            rate = group.get('lr', self.base_lr) * scale
            scaled[id(param)] = dict(group, lr=rate, lr_scale=scale)
        rates = [group['lr'] for group in scaled.values()]
        print_log(
            f'layer decay: {len(set(rates))} learning rates, '
            f'{min(rates, default=0):.3g} to {max(rates, default=0):.3g}',
            logger='current',
        )
        return list(scaled.values())


def find_backbone(model: nn.Module) -> nn.Module:
    """Return the backbone of a model, both without wrappers.

    Raises:
        InputError: There is none, or it has no ``get_layer_depth``.
    """
    model = unwrap_model(model)
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        raise InputError(
            f'layer decay: {type(model).__name__} has no `backbone`, whose layers '
            'determine the learning rates. Use the default constructor.'
        )
    backbone = unwrap_model(model.backbone)
    if not hasattr(backbone, 'get_layer_depth'):
        raise InputError(
            f'layer decay: the backbone {type(backbone).__name__} does not report the '
            'depth of its parameters. Give it a method get_layer_depth(name, prefix) '
            'that returns the depth, from 0, and the number of depths (see '
            'docs/transfer.md), or use the default constructor.'
        )
    return backbone


def parameter_depths(backbone: nn.Module) -> dict[int, tuple[int, int]]:
    """Return (depth, number of depths) by the ``id`` of a backbone's parameters.

    Raises:
        InputError: The backbone returns an impossible depth, or a depth between the
            first and the last has no parameter. (mmpretrain's HiViT looks for names
            that its layers do not have, and so puts all of them at the last depth,
            without decay.)
    """
    kind = type(backbone).__name__
    depths = {}
    for name, parameter in backbone.named_parameters():
        depth, count = backbone.get_layer_depth(name, '')
        if not 0 <= depth < count:
            raise InputError(
                f'layer decay: {kind}.get_layer_depth returns depth {depth} of {count} '
                f'for {name}; depths must be 0 to {count - 1}.'
            )
        if depth == count - 1 and name.startswith(AT_THE_INPUT):
            depth = 0
        depths[id(parameter)] = depth, count
    most = max((count for _, count in depths.values()), default=1)
    empty = sorted(set(range(1, most - 1)) - {depth for depth, _ in depths.values()})
    if empty:
        raise InputError(
            f'layer decay: {kind}.get_layer_depth reports {most} depths, but no '
            f'parameter has depth {some_of(empty)}, so its layers would not decay. '
            'Correct the method (docs/transfer.md), or use the default constructor.'
        )
    return depths
