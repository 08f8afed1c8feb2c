"""LV-ViT, the vision transformer that token labels were made for.

Tracing: its attention is mmpretrain's, and shares move by the published rule, half
from the token and half from attention. That rule ignores that ``skip_lam`` scales the
branches down. A rule of ours that does not is off by default: ``residual=skip_lam`` in
the head, 2 for LV-ViT-S and M, 3 for L, which is
``p <- (skip_lam p + A p) / (skip_lam + 1)``.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmtlalign.backbones.checks import (
    check_frozen_stages,
    check_heads,
    check_not_official,
    check_out_type,
    read_arch,
    read_out_indices,
)
from mmtlalign.backbones.lvvit_layers import ConvStem, ScaledResidualLayer
from mmtlalign.errors import InputError
from mmtlalign.registry import MODELS
from mmtlalign.tracing.adapters.mmpretrain_vit import VIT
from mmtlalign.tracing.support import register_backbone

# PyTorch's epsilon, not mmpretrain's 1e-6.
LN = dict(type='LN', eps=1e-5)
BN = dict(type='BN')


def _arch(
    depth: int, width: int, heads: int, skip_lam: float, stem_channels: int = 64
) -> dict:
    return dict(
        embed_dims=width,
        num_layers=depth,
        num_heads=heads,
        feedforward_channels=3 * width,
        skip_lam=skip_lam,
        stem_channels=stem_channels,
    )


KEYS = tuple(_arch(0, 0, 0, 0))


@MODELS.register_module()
class LVViT(VisionTransformer):
    """LV-ViT (All Tokens Matter, NeurIPS 2021, arXiv 2104.10858).

    A ViT with a class token, a convolutional stem before the patches, no bias of
    queries, keys and values, and layers whose branches are divided by ``skip_lam``
    (see :mod:`mmtlalign.backbones.lvvit_layers`). Images may have any size, also one
    that is not square or not a multiple of the patch size: (H, W) pixels give
    (ceil(H / P), ceil(W / P)) tokens, and the position embedding is resized.

    The published variants at 224 pixels (parameters include the two linear layers of
    the head for 1000 classes, one for the class token and one for all other tokens):

    ======== ======= ===== ===== ======== ============= ===========
    arch     layers  width heads skip_lam stem_channels parameters
    ======== ======= ===== ===== ======== ============= ===========
    'tiny'   12      240   4     1        64            8,534,720
    'small'  16      384   6     2        64            26,151,824
    'medium' 20      512   8     2        64            55,830,544
    'large'  24      768   12    3        128           150,021,968
    ======== ======= ===== ===== ======== ============= ===========

    The paper's recipe needs in the config::

        # The stem's norms are not synchronised, unless patch_norm_cfg is
        # dict(type='SyncBN'). drop_path_rate: 0.1 for T and S, 0.2 for M, 0.3 for L.
        # The classifiers start like all other linear layers.
        head=dict(init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)),

        # No weight decay for norms, biases, positions and the class token.
        optim_wrapper=dict(paramwise_cfg=dict(
            norm_decay_mult=0.0, bias_decay_mult=0.0,
            custom_keys={'.cls_token': dict(decay_mult=0.0),
                         '.pos_embed': dict(decay_mult=0.0)})),

    Args:
        arch (str | dict): A name of the table, or a dict with ``embed_dims``,
            ``num_layers``, ``num_heads``, ``feedforward_channels``, ``skip_lam`` and
            ``stem_channels``.
        img_size (int | tuple): Height and width of the images in pretraining, which
            set the size of the position embedding; that of a state dict of another
            size is resized to it. Defaults to 224.
        patch_size (int): An even number. Defaults to 16.
        in_channels (int): Channels of the images. Defaults to 3.
        out_indices (int | Sequence[int]): Layers to output; negative ones count from
            the end. Defaults to -1, the last.
        drop_rate (float): Dropout of tokens, attention's output and feed-forward.
            Defaults to 0.
        attn_drop_rate (float): Dropout of attention weights. Defaults to 0.
        drop_path_rate (float): Stochastic depth of the last layer, growing linearly
            from 0 at the first. Defaults to 0.
        mlp_drop_rate (float, optional): Dropout of the last layer's feed-forward,
            growing linearly from 0 at the first, in place of ``drop_rate`` there. The
            official segmentation has this where classification has stochastic
            depth. Defaults to None: ``drop_rate`` in every layer.
        skip_lam (float, optional): Replaces the ``skip_lam`` of ``arch``. The official
            segmentation runs 'large' with 1. Defaults to None.
        norm_cfg (dict): Norms of the layers and the final one. Defaults to
            ``dict(type='LN', eps=1e-5)``.
        patch_norm_cfg (dict): Norms of the stem. Defaults to ``dict(type='BN')``.
        final_norm (bool): Norm after the last layer. Outputs of earlier layers are
            not normed. With False, the final norm of a state dict that is loaded is
            left out, with a line in the log. Defaults to True.
        out_type (str): ``'cls_token'`` (B, D); ``'featmap'`` (B, D, h, w) of the
            patches; ``'raw'`` (B, 1 + h*w, D), all tokens, class token first, which
            a head for token labels needs. Defaults to ``'cls_token'``.
        frozen_stages (int): -1 freezes nothing, 0 the stem, the class token and the
            positions, k also the first k layers, running statistics included.
            Defaults to -1.
        with_cp (bool): Compute each layer again in the backward pass instead of
            keeping its inner activations: less memory, the same gradients.
            Defaults to False.
        interpolate_mode (str): How positions are resized. Defaults to 'bicubic'.
        init_cfg (dict | list, optional): Defaults to None: linear weights from a
            normal distribution (std 0.02) cut at +-2, their biases 0; convolutions as
            PyTorch initialises them.

    Raises:
        InputError: An argument is impossible, or a state dict that is loaded has the
            names of the official code; the message says which.
    """

    arch_zoo = {
        'tiny': _arch(12, 240, 4, 1),
        'small': _arch(16, 384, 6, 2),
        'medium': _arch(20, 512, 8, 2),
        'large': _arch(24, 768, 12, 3, 128),
    }
    OUT_TYPES = ('cls_token', 'featmap', 'raw')

    def __init__(
        self,
        arch: str | dict = 'small',
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        mlp_drop_rate: float | None = None,
        skip_lam: float | None = None,
        norm_cfg: dict = LN,
        patch_norm_cfg: dict = BN,
        final_norm: bool = True,
        out_type: str = 'cls_token',
        frozen_stages: int = -1,
        with_cp: bool = False,
        interpolate_mode: str = 'bicubic',
        init_cfg: dict | list | None = None,
    ):
        settings = read_arch(arch, self.arch_zoo, KEYS)
        if skip_lam is not None:
            settings = dict(settings, skip_lam=skip_lam)
        layers = settings['num_layers']
        check_heads(settings['embed_dims'], settings['num_heads'])
        check_out_type(out_type, self.OUT_TYPES)
        check_frozen_stages(frozen_stages, layers)
        _check_numbers(settings['skip_lam'], patch_size, mlp_drop_rate)
        if init_cfg is None:
            init_cfg = dict(type='TruncNormal', layer='Linear', std=0.02)
        super().__init__(
            # No layers of the parent: those of LV-ViT are added below.
            dict(settings, num_layers=0),
            img_size,
            patch_size,
            in_channels,
            out_indices=[],
            drop_rate=drop_rate,
            norm_cfg=norm_cfg,
            final_norm=final_norm,
            out_type=out_type,
            interpolate_mode=interpolate_mode,
            init_cfg=init_cfg,
        )
        self.num_layers = layers
        self.out_indices = read_out_indices(out_indices, layers)
        self.patch_size = patch_size
        self.with_cp = with_cp
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)
        self.patch_embed = ConvStem(
            in_channels,
            settings['stem_channels'],
            self.embed_dims,
            patch_size,
            patch_norm_cfg,
        )
        # The parent reads it when it loads a state dict, to resize positions.
        self.patch_embed.init_out_size = self.patch_resolution
        depths = [i / max(layers - 1, 1) for i in range(layers)]
        self.layers.extend(
            ScaledResidualLayer(
                settings['skip_lam'],
                None if mlp_drop_rate is None else mlp_drop_rate * depth,
                embed_dims=self.embed_dims,
                num_heads=settings['num_heads'],
                feedforward_channels=settings['feedforward_channels'],
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                drop_path_rate=drop_path_rate * depth,
                qkv_bias=False,
                norm_cfg=norm_cfg,
            )
            for depth in depths
        )
        self._register_load_state_dict_pre_hook(_check_not_official)
        if not final_norm:
            self._register_load_state_dict_pre_hook(_leave_out_final_norm)
        self.frozen_stages = frozen_stages
        self._freeze_stages()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Turn images (B, C, H, W) into one output for each of ``out_indices``."""
        x, grid = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = x + self.resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            grid,
            mode=self.interpolate_mode,
            num_extra_tokens=self.num_extra_tokens,
        )
        x = self.drop_after_pos(x)
        outs = []
        for i, layer in enumerate(self.layers):
            if self.with_cp and x.requires_grad:
                x = checkpoint(layer, x, use_reentrant=False)
            else:
                x = layer(x)
            if i == self.num_layers - 1 and self.final_norm:
                x = self.ln1(x)
            if i in self.out_indices:
                outs.append(self._format_output(x, grid))
        return tuple(outs)

    def train(self, mode: bool = True) -> 'LVViT':
        """Set the mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        return self

    def _freeze_stages(self) -> None:
        # The parent's method freezes the stem in any case, even with -1.
        if self.frozen_stages >= 0:
            super()._freeze_stages()


def _check_numbers(
    skip_lam: float, patch_size: int, mlp_drop_rate: float | None
) -> None:
    if skip_lam <= 0:
        raise InputError(
            f'skip_lam={skip_lam}: residual branches are divided by it, so give a '
            'positive number; 1 gives a plain ViT.'
        )
    if patch_size < 2 or patch_size % 2:
        raise InputError(
            f'patch_size={patch_size}: the convolutional stem halves the resolution '
            'before the patch embedding, so give an even number.'
        )
    if mlp_drop_rate is not None and not 0 <= mlp_drop_rate <= 1:
        raise InputError(
            f'mlp_drop_rate={mlp_drop_rate}: give a probability from 0 to 1, or None '
            'to use drop_rate in the feed-forward layers.'
        )


def _check_not_official(
    state_dict: Mapping[str, Tensor], prefix: str, *args: Any
) -> None:
    name = f'{prefix}patch_embed.conv1.weight'
    check_not_official(state_dict, name, 'LV-ViT', 'lvvit')


def _leave_out_final_norm(
    state_dict: dict[str, Tensor], prefix: str, *args: Any
) -> None:
    """Take the final norm of a classifier out of a state dict, in place."""
    left_out = [name for name in state_dict if name.startswith(f'{prefix}ln1.')]
    for name in left_out:
        del state_dict[name]
    if left_out:
        MMLogger.get_current_instance().info(
            'LVViT, final_norm=False: not loaded from the state '
            'dict: ' + ', '.join(left_out)
        )


register_backbone(
    LVViT,
    dataclasses.replace(
        VIT,
        patch=lambda backbone: (backbone.patch_size, backbone.patch_size),
        grid=None,
        note='class token',
    ),
)
