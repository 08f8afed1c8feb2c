"""Any timm model as a backbone: pooled for classification, maps for dense tasks."""

import difflib
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from types import SimpleNamespace
from typing import Any

import timm
from mmengine.model import BaseModule
from timm.models import group_parameters
from torch import Tensor, nn

from mmtlalign.compat.network import check_timm_download
from mmtlalign.errors import InputError
from mmtlalign.registry import MODELS
from mmtlalign.tracing.adapters.mmpretrain_timm import wrapper_spec
from mmtlalign.tracing.support import (
    backbone_spec,
    check_last_output,
    register_backbone,
)

OUT_TYPES = ('cls_token', 'avg_featmap', 'featmap', 'raw')
_POOLINGS = {'cls_token': 'token', 'avg_featmap': 'avg'}

# Arguments by which the models of a timm module take images of any size.
_PLAIN = dict(dynamic_img_size=True, dynamic_img_pad=True)
# Without the second, img_size decides for good which stages shift their windows.
_WINDOWS = dict(strict_img_size=False, always_partition=True)
_ANY_SIZE = {
    'vision_transformer': _PLAIN,
    'vision_transformer_hybrid': _PLAIN,
    'deit': _PLAIN,
    'eva': _PLAIN,
    'swin_transformer': _WINDOWS,
    'swin_transformer_v2': _WINDOWS,
}


@MODELS.register_module()
class TIMMBackbone(BaseModule):
    """A timm model that does its own pooling, or outputs channel-first maps.

    Parameters are named as in mmpretrain's ``TIMMBackbone`` (``timm_model.*``), so
    that checkpoints move between the two, and from classification to dense tasks.

    Args:
        model_name (str): A name of ``timm.list_models()``.
        out_type (str, optional): ``'cls_token'`` (B, C), for distilled models a
            tuple of the class and the distillation token; ``'avg_featmap'``
            (B, C), the mean of the tokens; both as timm pools, norm included.
            ``'featmap'``: maps (B, C, h, w). ``'raw'``: the output of timm's
            ``forward_features``. Defaults to None: ``'featmap'`` where
            ``out_indices`` are given, else the timm model's own pooling.
        out_indices (int | Sequence[int], optional): Maps to output, in ascending
            order: blocks of plain transformers, stages of others; negative ones count
            from the end. The last map is normed as in classification. Defaults to
            None: the last.
        pretrained (bool): Load timm's weights. Defaults to False.
        checkpoint_path (str): A file with weights of the timm model. Defaults to ''.
        in_channels (int): Channels of the images. Defaults to 3.
        init_cfg (dict, optional): Initialisation. Defaults to None.
        **kwargs: Arguments of the timm model. For maps, plain transformers default to
            ``dynamic_img_size=True, dynamic_img_pad=True`` and Swin to
            ``strict_img_size=False, always_partition=True``, which allow images of
            any size.

    Attributes:
        out_indices (tuple[int]): Indices of the maps, from 0; None for other outputs.
        channels (tuple[int]): Channels of each output, for ``in_channels`` of the
            next module.
        strides (tuple[int]): Stride of each map in pixels; None for other outputs.
        normalisation (dict): ``mean`` and ``std`` of the images, 0...255, that timm's
            weights need; empty without them.

    Raises:
        InputError: A name or an index is not known, or arguments contradict each
            other.
    """

    def __init__(
        self,
        model_name: str,
        out_type: str | None = None,
        out_indices: int | Sequence[int] | None = None,
        pretrained: bool = False,
        checkpoint_path: str = '',
        in_channels: int = 3,
        init_cfg: dict | None = None,
        **kwargs: Any,
    ):
        super().__init__(init_cfg)
        _check(model_name, out_type, out_indices, pretrained, kwargs)
        if pretrained:
            check_timm_download(
                model_name,
                f'The weights of {model_name} (pretrained=True)',
                'Set pretrained=False and checkpoint_path=FILE, or connect to the '
                'network.',
            )
        maps = _outputs_maps(out_type, out_indices)
        kwargs = {**options_for_maps(model_name, out_type, out_indices), **kwargs}
        self.timm_model = timm.create_model(
            model_name,
            pretrained=pretrained,
            checkpoint_path=checkpoint_path,
            in_chans=in_channels,
            **kwargs,
        )
        # Loaded weights must not be initialised again.
        self._is_init = pretrained or bool(checkpoint_path)
        self.normalisation: dict[str, list[float]] = {}
        if pretrained:
            cfg = self.timm_model.pretrained_cfg
            for name in ('mean', 'std'):
                self.normalisation[name] = [255 * value for value in cfg[name]]
        self.out_type = 'featmap' if maps else out_type or self._own_pooling()
        self.out_indices: tuple[int, ...] | None = None
        self.strides: tuple[int, ...] | None = None
        if maps:
            self._keep_maps(out_indices)
        else:
            self._keep_pooling()

    def forward(self, images: Tensor) -> tuple:
        """Turn images (B, C, H, W) into features, see ``out_type``."""
        if self.out_indices is not None:
            return self._maps(images, self.out_indices)
        if self.out_type == 'raw':
            return (self.timm_model.forward_features(images),)
        if hasattr(self.timm_model, 'dist_token'):
            tokens = self.timm_model.forward_features(images)
            return ((tokens[:, 0], tokens[:, 1]),)
        return (self.timm_model(images),)

    def _maps(self, images: Tensor, indices: Sequence[int]) -> tuple[Tensor, ...]:
        model = self.timm_model
        last, maps = model.forward_intermediates(images, indices=list(indices))
        if indices[-1] < self._depth() - 1:
            return tuple(maps)
        if hasattr(model, 'num_prefix_tokens') and last.ndim == 3:
            last = last[:, model.num_prefix_tokens :]
            last = getattr(model, 'fc_norm', nn.Identity())(last)
            maps[-1] = last.transpose(1, 2).unflatten(2, maps[-1].shape[-2:])
        elif _is_channel_last(model):
            maps[-1] = last.permute(0, 3, 1, 2)
        return tuple(m.contiguous() for m in maps)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter and the number of depths, for layer decay.

        Depths follow timm's own grouping, which counts a final norm with the last
        block, unlike mmpretrain. The last depth is that of timm's classifier and of
        everything outside the backbone. ``prefix`` is what the backbone's names begin
        with.

        Raises:
            InputError: The timm model does not group its parameters.
        """
        depths = self._layers['classifier'] + 1
        if not param_name.startswith(prefix):
            return depths - 1, depths
        name = param_name[len(prefix) :].removeprefix('timm_model.')
        return self._layers[name], depths

    @cached_property
    def _layers(self) -> dict[str, int]:
        """Return the depths of all timm parameters, and that of 'classifier'."""
        model = self.timm_model
        if not hasattr(model, 'group_matcher'):
            raise InputError(
                f'{type(model).__name__} of timm has no group_matcher, which gives the '
                'depth of each parameter; train it without layer-wise learning rates.'
            )
        # The model has no classifier any more, but it counts as a depth.
        head = model.pretrained_cfg.get('classifier') or 'head'
        head = f'{head if isinstance(head, str) else head[0]}.weight'
        named = chain(model.named_parameters(), [(head, None)])
        layers = group_parameters(
            SimpleNamespace(named_parameters=lambda: named),
            model.group_matcher(coarse=False),
            reverse=True,
        )
        return {**layers, 'classifier': max(layers.values())}

    def _depth(self) -> int:
        return len(self.timm_model.feature_info)

    def _own_pooling(self) -> str:
        pooling = getattr(self.timm_model, 'global_pool', 'avg')
        # Convolutional networks have a module as `global_pool`.
        pooling = getattr(pooling, 'pool_type', pooling)
        for out_type, name in _POOLINGS.items():
            if name == pooling:
                return out_type
        raise InputError(
            f'{type(self.timm_model).__name__} of timm pools with '
            f'global_pool={pooling!r}, which is not supported here; choose an out_type '
            f'of {OUT_TYPES}.'
        )

    def _keep_pooling(self) -> None:
        model = self.timm_model
        if self.out_type == 'cls_token' and getattr(model, 'cls_token', None) is None:
            raise InputError(
                f"out_type='cls_token': {type(model).__name__} has no class token; "
                "choose 'avg_featmap' or 'featmap'."
            )
        if self.out_type == 'avg_featmap' and hasattr(model, 'dist_token'):
            raise InputError(
                "out_type='avg_featmap': a distilled model classifies with its class "
                "and distillation tokens; choose 'cls_token' with a DeiTClsHead, or "
                "'featmap'."
            )
        model.reset_classifier(0, _POOLINGS.get(self.out_type, ''))
        self.channels = (model.num_features,)

    def _keep_maps(self, out_indices: int | Sequence[int] | None) -> None:
        model = self.timm_model
        if not hasattr(model, 'forward_intermediates'):
            raise InputError(
                f'{type(model).__name__} of timm has no forward_intermediates, which '
                "gives maps; choose an out_type of 'cls_token' and 'avg_featmap'."
            )
        depth = self._depth()
        given = out_indices if out_indices is not None else (depth - 1,)
        given = (given,) if isinstance(given, int) else tuple(given)
        indices = tuple(i + depth if i < 0 else i for i in given)
        if (
            not indices
            or sorted(set(indices)) != list(indices)
            or not 0 <= indices[0] <= indices[-1] < depth
        ):
            raise InputError(
                f'out_indices={given}: {type(model).__name__} has maps 0 to '
                f'{depth - 1} (-{depth} to -1 from the end); name at least one, each '
                'once, in ascending order.'
            )
        model.reset_classifier(0, '')
        if _is_channel_last(model) and hasattr(model, 'patch_embed'):
            # Swin has no argument for sizes that are not multiples of the patch size.
            model.patch_embed.dynamic_img_pad = True
        self.out_indices = indices
        info = [model.feature_info[i] for i in indices]
        self.channels = tuple(level['num_chs'] for level in info)
        self.strides = tuple(level['reduction'] for level in info)


def _outputs_maps(out_type: str | None, out_indices: Any) -> bool:
    return out_type == 'featmap' or (out_type is None and out_indices is not None)


def options_for_maps(
    model_name: str, out_type: str | None, out_indices: Any
) -> dict[str, bool]:
    """Return the arguments that a timm model gets, if maps are output."""
    if not _outputs_maps(out_type, out_indices):
        return {}
    file = timm.model_entrypoint(model_name).__module__.rpartition('.')[2]
    return _ANY_SIZE.get(file, {})


def _is_channel_last(model: nn.Module) -> bool:
    return getattr(model, 'output_fmt', None) == 'NHWC'


def _check(
    model_name: str,
    out_type: str | None,
    out_indices: int | Sequence[int] | None,
    pretrained: bool,
    kwargs: dict[str, Any],
) -> None:
    if not timm.is_model(model_name):
        close = difflib.get_close_matches(model_name, timm.list_models(), n=3)
        raise InputError(
            f'model_name={model_name!r}: timm {timm.__version__} has no such model'
            + (f'; similar names are {", ".join(close)}.' if close else '.')
            + ' timm.list_models() lists all names.'
        )
    if out_type not in (None, *OUT_TYPES):
        raise InputError(f'out_type={out_type!r}: choose one of {OUT_TYPES}.')
    if out_indices is not None and out_type not in (None, 'featmap'):
        raise InputError(
            f'out_indices={out_indices} with out_type={out_type!r}: out_indices '
            "selects feature maps; remove it, or set out_type='featmap'."
        )
    if not isinstance(pretrained, bool):
        raise InputError(
            f'pretrained={pretrained!r}: give True or False; to load a file, set '
            "checkpoint_path, or init_cfg=dict(type='Pretrained', checkpoint=...)."
        )
    for name, instead in (
        ('features_only', 'set out_indices instead'),
        ('num_classes', 'the head sets the number of classes, so remove it'),
        ('in_chans', 'set in_channels instead'),
    ):
        if name in kwargs:
            raise InputError(f'{name} is not an option of TIMMBackbone: {instead}.')


def _output(backbone: nn.Module) -> str:
    inner = backbone_spec(backbone.timm_model)
    if backbone.out_type == 'raw':
        raise InputError(
            "out_type='raw': no share can be read from it; choose 'cls_token', "
            "'avg_featmap' or 'featmap'."
        )
    if backbone.out_type != 'featmap':
        return inner.output(backbone.timm_model)
    check_last_output(backbone.out_indices, len(backbone.timm_model.feature_info) - 1)
    return 'mean'


register_backbone(TIMMBackbone, wrapper_spec(_output))
