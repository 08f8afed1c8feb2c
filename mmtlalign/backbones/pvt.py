"""PVT, a pyramid of transformer stages, with the class token of its paper.

Tracing: the shares of the keys are pooled where the keys are reduced, and the class
token, which joins in the last stage, starts at the mean share of the tokens there.
"""

import functools
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Any

import torch.nn.functional as F
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.utils import build_norm_layer, to_2tuple
from torch import Tensor, nn

from mmtlalign.backbones.checks import (
    check_frozen_stages,
    check_not_official,
    check_out_type,
    check_variant,
    read_out_indices,
)
from mmtlalign.backbones.pvt_checks import (
    leave_out_class_token,
    read_settings,
    variant_of,
)
from mmtlalign.backbones.pvt_layers import (
    Positions,
    PVTLayer,
    PVTStage,
    SpatialReductionAttention,
)
from mmtlalign.errors import InputError
from mmtlalign.registry import MODELS
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    check_last_output,
    convolved,
    register_attention,
    register_backbone,
    register_token_module,
)

LN = dict(type='LN', eps=1e-6)


def _arch(*num_layers: int) -> dict:
    return dict(
        embed_dims=(64, 128, 320, 512),
        num_layers=num_layers,
        num_heads=(1, 2, 5, 8),
        mlp_ratios=(8, 8, 4, 4),
        sr_ratios=(8, 4, 2, 1),
        patch_sizes=(4, 2, 2, 2),
    )


@MODELS.register_module()
class PVT(BaseBackbone):
    """Pyramid Vision Transformer (ICCV 2021, arXiv 2102.12122).

    The network of the paper's classification experiments: a class token joins in
    the last stage and is the output. mmdet's ``PyramidVisionTransformer`` is the
    same network without the class token, for dense prediction, and so is this one
    with ``with_cls_token=False``. Parameters with a linear head of 1000 classes:

    ======== ============== ==========
    arch     layers         parameters
    ======== ============== ==========
    'tiny'   2, 2, 2, 2     13,229,288
    'small'  3, 4, 6, 3     24,485,864
    'medium' 3, 4, 18, 3    44,208,104
    'large'  3, 8, 27, 3    61,369,320
    ======== ============== ==========

    Pixels, and tokens of inner maps, that do not fill a whole patch at the right or
    at the bottom are dropped, as in the official code and mmdet.

    ``python tools/model_converters/convert_weights.py pvt IN OUT`` renames weights of
    the official release; with ``--reverse`` it gives ours the official names, which
    the ``init_cfg`` of mmdet's PVT configs reads. For weights in mmdet's own layout
    see :mod:`mmtlalign.checkpoint.key_maps.pvt`. The official recipe has no weight
    decay for norms, biases and the class token; position embeddings do decay::

        optim_wrapper=dict(paramwise_cfg=dict(
            norm_decay_mult=0.0, bias_decay_mult=0.0,
            custom_keys={'.cls_token': dict(decay_mult=0.0)}))

    Args:
        arch (str | dict): A name of the table, or a dict with one number for each
            stage under ``embed_dims``, ``num_layers``, ``num_heads``,
            ``mlp_ratios``, ``sr_ratios`` and ``patch_sizes``.
        img_size (int | tuple): Height and width of the images in pretraining, which
            set the size of the position embeddings. Keep it in fine-tuning and
            downstream tasks: images may have any size of at least 32 pixels, and
            positions are resized in the forward pass. Defaults to 224.
        in_channels (int): Channels of the images. Defaults to 3.
        out_indices (int | Sequence[int]): Stages to output; negative ones count from
            the end. Defaults to -1, the last.
        drop_rate (float): Dropout after attention, in the feed-forward, and after
            positions are added. Defaults to 0.
        attn_drop_rate (float): Dropout of attention weights. Defaults to 0.
        drop_path_rate (float): Stochastic depth of the last layer, growing
            linearly from 0 at the first. Defaults to 0.
        qkv_bias (bool): Bias of queries, keys and values. Defaults to True.
        norm_cfg (dict): Norms of the layers and the final one. Defaults to
            ``dict(type='LN', eps=1e-6)``; patch embeddings and reduced keys have
            LayerNorm with 1e-5, as in the official code.
        with_cls_token (bool): Whether there is a class token, with its position
            and the final norm of the last stage. Without them this is the official
            network for dense prediction, and these parts of a classifier's state
            dict are left out when it is loaded, with a line in the log. Defaults to
            True.
        out_type (str): ``'cls_token'`` (B, D) of the last stage, ``'raw'`` all its
            tokens, class token first (B, 1 + N, D), or ``'featmap'`` (B, D, h, w) of
            the patches. Defaults to ``'cls_token'``.
        frozen_stages (int): -1 freezes nothing, k the stages 0 to k. Defaults to
            -1.
        init_cfg (dict | list, optional): Defaults to None: linear weights from a
            normal distribution (std 0.02) cut at +-2, their biases 0; convolutions
            as PyTorch initialises them.

    Raises:
        InputError: An argument is impossible, images are too small, or a state
            dict that is loaded is that of another variant; the message says which.
    """

    arch_zoo = {
        'tiny': _arch(2, 2, 2, 2),
        'small': _arch(3, 4, 6, 3),
        'medium': _arch(3, 4, 18, 3),
        'large': _arch(3, 8, 27, 3),
    }
    OUT_TYPES = ('cls_token', 'featmap', 'raw')

    def __init__(
        self,
        arch: str | dict,
        img_size: int | tuple[int, int] = 224,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        qkv_bias: bool = True,
        norm_cfg: dict = LN,
        with_cls_token: bool = True,
        out_type: str = 'cls_token',
        frozen_stages: int = -1,
        init_cfg: dict | list | None = None,
    ):
        if init_cfg is None:
            init_cfg = dict(type='TruncNormal', layer='Linear', std=0.02)
        super().__init__(init_cfg)
        settings = read_settings(arch, self.arch_zoo, with_cls_token)
        self.embed_dims = settings['embed_dims']
        self.num_layers = settings['num_layers']
        self.num_stages = len(self.num_layers)
        self.with_cls_token = with_cls_token
        self.out_type = out_type
        self.out_indices = read_out_indices(out_indices, self.num_stages, 'stages')
        self.frozen_stages = frozen_stages
        self._check_outputs()

        depth = sum(self.num_layers)
        rates = iter([drop_path_rate * i / max(depth - 1, 1) for i in range(depth)])
        strides = list(accumulate(settings['patch_sizes'], mul))
        self.smallest = max(map(mul, strides, settings['sr_ratios']))
        self.stages = nn.ModuleList(
            PVTStage(
                in_channels if i == 0 else self.embed_dims[i - 1],
                width,
                settings['patch_sizes'][i],
                tuple(side // strides[i] for side in to_2tuple(img_size)),
                drop_rate,
                with_cls_token and i == self.num_stages - 1,
                (
                    PVTLayer(
                        width,
                        settings['num_heads'][i],
                        settings['mlp_ratios'][i] * width,
                        settings['sr_ratios'][i],
                        qkv_bias,
                        attn_drop_rate,
                        drop_rate,
                        next(rates),
                        norm_cfg,
                    )
                    for _ in range(self.num_layers[i])
                ),
            )
            for i, width in enumerate(self.embed_dims)
        )
        if with_cls_token:
            self.norm = build_norm_layer(norm_cfg, self.embed_dims[-1])
        self._register_load_state_dict_pre_hook(self._check_state_dict)
        self._freeze_stages()

    def _check_outputs(self) -> None:
        last = self.num_stages - 1
        check_out_type(self.out_type, self.OUT_TYPES)
        check_frozen_stages(self.frozen_stages, last)
        if self.out_type == 'featmap':
            return
        if not self.with_cls_token:
            raise InputError(
                'with_cls_token=False: there is no class token to output; set '
                "out_type='featmap', or keep the class token."
            )
        if self.out_indices != [last]:
            raise InputError(
                f'out_indices={self.out_indices}: the class token is in the last '
                f"stage only; set out_indices={last}, or out_type='featmap'."
            )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Turn images (B, C, H, W) into one output for each of ``out_indices``."""
        if min(x.shape[-2:]) < self.smallest:
            raise InputError(
                f'Images of {x.shape[-2]}x{x.shape[-1]} pixels: this PVT needs at '
                f'least {self.smallest}x{self.smallest} to have one token and one key '
                'in every stage; resize or pad them.'
            )
        outs = []
        for i, stage in enumerate(self.stages):
            x, grid = stage(x)
            if self.with_cls_token and i == self.num_stages - 1:
                x = self.norm(x)
                if self.out_type == 'cls_token':
                    return (x[:, 0],)
                if self.out_type == 'raw':
                    return (x,)
                x = x[:, 1:]
            x = x.transpose(1, 2).unflatten(2, grid).contiguous()
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> 'PVT':
        """Set the mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        return self

    def _freeze_stages(self) -> None:
        for stage in self.stages[: self.frozen_stages + 1]:
            stage.eval()
            stage.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter and the number of depths, for layer decay.

        The first patch embedding and positions are at 0, and each layer has the next
        depth; patch embedding and positions of a later stage have the depth of its
        first layer; all that follows is at the last depth. ``prefix`` is what the
        backbone's names begin with.
        """
        depths = sum(self.num_layers) + 2
        parts = param_name[len(prefix) :].split('.')
        if not param_name.startswith(prefix) or parts[0] != 'stages':
            return depths - 1, depths
        stage = int(parts[1])
        before = sum(self.num_layers[:stage])
        if parts[2] == 'layers':
            return before + int(parts[3]) + 1, depths
        return before + (stage > 0), depths

    def _check_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        if not self.with_cls_token:
            leave_out_class_token(state_dict, prefix, self.num_stages - 1)
        official = f'{prefix}patch_embed1.proj.weight'
        check_not_official(state_dict, official, 'PVT', 'pvt')
        if f'{prefix}layers.0.0.projection.weight' in state_dict:
            raise InputError(
                "The state dict has the names of mmdet's PyramidVisionTransformer; "
                'convert it first: mmtlalign.checkpoint.key_maps.pvt.from_mmdet.'
            )
        given, own = variant_of(state_dict, prefix), variant_of(self.state_dict(), '')
        remedy = 'arch, img_size (that of pretraining) or with_cls_token'
        check_variant('PVT', given, own, remedy)


def _output(backbone: nn.Module) -> str:
    if backbone.out_type in ('cls_token', 'raw'):
        return 'class'
    check_last_output(backbone.out_indices, backbone.num_stages - 1)
    return 'mean'


def _first_layer(backbone: nn.Module) -> nn.Conv2d:
    return backbone.stages[0].patch_embed.projection


register_backbone(
    PVT,
    BackboneSpec(
        patch=lambda backbone: _first_layer(backbone).stride,
        prefix=lambda backbone: 0,
        late_tokens=lambda backbone: int(backbone.with_cls_token),
        output=_output,
        grid=lambda backbone, size: convolved(size, _first_layer(backbone)),
        note='class token of the last stage, or mean of the tokens',
    ),
)


def _add_class_token(
    reader: Reader, module: nn.Module, x: Tensor, grid: tuple[int, int]
) -> None:
    if module.extra:
        reader.add_special_tokens(module.extra)


def _reduce_keys(
    reader: Reader, module: nn.Module, x: Tensor, grid: tuple[int, int]
) -> None:
    """Pool the shares of the keys where the module reduces the keys."""
    if module.sr_ratio > 1:
        reader.reduce_keys(functools.partial(F.avg_pool2d, kernel_size=module.sr_ratio))


@register_attention(SpatialReductionAttention)
def _attach(module: nn.Module, context: TraceContext) -> None:
    context.before(module, _reduce_keys)
    context.replace_attention(module)


@register_token_module(Positions)
def _attach_positions(module: nn.Module, context: TraceContext) -> None:
    context.before(module, _add_class_token)
