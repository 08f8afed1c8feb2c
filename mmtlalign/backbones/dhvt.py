"""DHVT, a vision transformer for data sets of any size.

The tracing rule is ours and in no paper: a head token is made from the mean of all
tokens, so its share starts at their mean share; after attention its share is added to
that of the class token, as the token itself is (``append_tokens`` of the tracer).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn

from mmtlalign.backbones.checks import (
    check_frozen_stages,
    check_heads,
    check_not_official,
    check_out_type,
    check_variant,
    read_arch,
    read_out_indices,
)
from mmtlalign.backbones.dhvt_layers import (
    DHVTLayer,
    HeadInteractedAttention,
    SequentialOverlapPatchEmbed,
)
from mmtlalign.errors import InputError
from mmtlalign.registry import MODELS
from mmtlalign.tracing.adapters.mmpretrain_vit import VIT
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import register_attention, register_backbone

LN = dict(type='LN', eps=1e-6)
BN = dict(type='BN')


def _arch(embed_dims: int, num_heads: int) -> dict:
    return dict(
        embed_dims=embed_dims,
        num_layers=12,
        num_heads=num_heads,
        feedforward_channels=4 * embed_dims,
    )


KEYS = tuple(_arch(0, 0))


@MODELS.register_module()
class DHVT(BaseBackbone):
    """Dynamic Hybrid Vision Transformer (NeurIPS 2022, arXiv 2210.05958).

    A ViT with a class token and without position embedding: patches come from
    overlapping convolutions, heads exchange tokens, the feed-forward is
    convolutional (see :mod:`mmtlalign.backbones.dhvt_layers`). Images may have any
    size, also one that is not square or not a multiple of the patch size: (H, W)
    pixels give (ceil(H/P), ceil(W/P)) tokens.

    The published variants (parameters include a linear head for that many classes):

    ================== ========== ============== ===================
    arch               patch_size published for  parameters (classes)
    ================== ========== ============== ===================
    'tiny-cifar'       4          CIFAR, 32 px   6,008,650 (100)
    'tiny-cifar'       2          CIFAR, 32 px   5,845,162 (100)
    'small-cifar'      4          CIFAR, 32 px   23,425,450 (100)
    'small-cifar'      2          CIFAR, 32 px   22,766,698 (100)
    'tiny-domainnet'   16         DomainNet, 224 6,105,975 (345)
    'small-domainnet'  16         DomainNet, 224 23,788,431 (345)
    'tiny-imagenet'    16         ImageNet, 224  6,267,334 (1000)
    'small-imagenet'   16         ImageNet, 224  24,040,606 (1000)
    ================== ========== ============== ===================

    The paper's recipe needs in the config, besides ``drop_path_rate=0.1``::

        # Synchronised norm in the patch embedding, as in the official code; the
        # norms of the feed-forward stay local.
        backbone=dict(patch_norm_cfg=dict(type='SyncBN')),
        # The classifier starts like all other linear layers.
        head=dict(init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)),

        # No weight decay for norms, biases and the class token. Head embeddings and
        # the affine scales of the patch embedding do decay, as in the official code.
        optim_wrapper=dict(paramwise_cfg=dict(
            norm_decay_mult=0.0, bias_decay_mult=0.0,
            custom_keys={'.cls_token': dict(decay_mult=0.0)})),
        # To stop that decay as well, add to custom_keys:
        #   '.head_embed': dict(decay_mult=0.0), '_affine': dict(decay_mult=0.0)

    Args:
        arch (str | dict): A name of the table, or a dict with ``embed_dims``,
            ``num_layers``, ``num_heads`` and ``feedforward_channels``.
        patch_size (int): 2, 4 or 16.
        in_channels (int): Channels of the images. Defaults to 3.
        out_indices (int | Sequence[int]): Layers to output; negative ones count from
            the end. Defaults to -1, the last.
        drop_rate (float): Dropout after attention. Defaults to 0.
        attn_drop_rate (float): Dropout of attention weights. Defaults to 0.
        drop_path_rate (float): Stochastic depth of the last layer, growing linearly
            from 0 at the first. Defaults to 0.
        qkv_bias (bool): Bias of queries, keys and values. Defaults to True.
        norm_cfg (dict): Norms of the layers and the final one. Defaults to
            ``dict(type='LN', eps=1e-6)``.
        patch_norm_cfg (dict): Norms of the patch embedding. Defaults to
            ``dict(type='BN')``, which runs everywhere; see above for ``'SyncBN'``.
        ffn_norm_cfg (dict): Norms of the feed-forwards. Defaults to
            ``dict(type='BN')``.
        final_norm (bool): Norm after the last layer. Outputs of earlier layers are not
            normed, as in mmpretrain's VisionTransformer. Defaults to True.
        out_type (str): ``'cls_token'`` (B, D); ``'featmap'`` (B, D, h, w) of the
            patches; ``'avg_featmap'`` (B, D), their mean; ``'raw'`` (B, 1 + h*w, D).
            None of them adds parameters. Defaults to ``'cls_token'``.
        frozen_stages (int): -1 freezes nothing, 0 the patch embedding and the class
            token, k also the first k layers, running statistics included.
            Defaults to -1.
        init_cfg (dict | list, optional): Defaults to None: linear weights from a
            normal distribution (std 0.02) cut at +-2, their biases 0; convolutions as
            PyTorch initialises them.

    Raises:
        InputError: An argument is impossible, or a state dict that is loaded is that
            of another variant; the message says which.
    """

    arch_zoo = {
        'tiny-cifar': _arch(192, 4),
        'small-cifar': _arch(384, 8),
        'tiny-domainnet': _arch(192, 4),
        'small-domainnet': _arch(384, 6),
        'tiny-imagenet': _arch(192, 3),
        'small-imagenet': _arch(384, 6),
    }
    PATCH_SIZES = (2, 4, 16)
    OUT_TYPES = ('cls_token', 'featmap', 'avg_featmap', 'raw')
    num_extra_tokens = 1  # the class token

    def __init__(
        self,
        arch: str | dict,
        patch_size: int,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        qkv_bias: bool = True,
        norm_cfg: dict = LN,
        patch_norm_cfg: dict = BN,
        ffn_norm_cfg: dict = BN,
        final_norm: bool = True,
        out_type: str = 'cls_token',
        frozen_stages: int = -1,
        init_cfg: dict | list | None = None,
    ):
        if init_cfg is None:
            init_cfg = dict(type='TruncNormal', layer='Linear', std=0.02)
        super().__init__(init_cfg)
        settings = read_arch(arch, self.arch_zoo, KEYS)
        self.embed_dims = settings['embed_dims']
        self.num_layers = settings['num_layers']
        self.num_heads = settings['num_heads']
        self.patch_size = patch_size
        self.out_type = out_type
        self.final_norm = final_norm
        self.frozen_stages = frozen_stages
        self._check_sizes()
        check_out_type(out_type, self.OUT_TYPES)
        check_frozen_stages(frozen_stages, self.num_layers)
        self.out_indices = read_out_indices(out_indices, self.num_layers)

        self.cls_token = nn.Parameter(torch.empty(1, 1, self.embed_dims))
        trunc_normal_(self.cls_token, std=0.02)
        self.patch_embed = SequentialOverlapPatchEmbed(
            in_channels, self.embed_dims, patch_size, patch_norm_cfg
        )
        last = max(self.num_layers - 1, 1)
        self.layers = nn.ModuleList(
            DHVTLayer(
                self.embed_dims,
                self.num_heads,
                settings['feedforward_channels'],
                qkv_bias,
                attn_drop_rate,
                drop_rate,
                drop_path_rate * i / last,
                norm_cfg,
                ffn_norm_cfg,
            )
            for i in range(self.num_layers)
        )
        if final_norm:
            self.ln1 = build_norm_layer(norm_cfg, self.embed_dims)
        self._register_load_state_dict_pre_hook(self._check_variant)
        self._freeze_stages()

    def _check_sizes(self) -> None:
        if self.patch_size not in self.PATCH_SIZES:
            raise InputError(
                f'patch_size={self.patch_size!r}: the patch embedding of DHVT is '
                f'defined for {self.PATCH_SIZES}; choose one of them.'
            )
        check_heads(self.embed_dims, self.num_heads)
        # The first convolution has 2/P of the width, the gate a quarter.
        factor = max(self.patch_size // 2, 4)
        if self.embed_dims % factor:
            raise InputError(
                f'embed_dims={self.embed_dims} with patch_size={self.patch_size}: the '
                f'width must be a multiple of {factor}.'
            )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Turn images (B, C, H, W) into one output for each of ``out_indices``."""
        x, grid = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        outs = []
        for i, layer in enumerate(self.layers):
            x = layer(x, grid)
            if i == self.num_layers - 1 and self.final_norm:
                x = self.ln1(x)
            if i in self.out_indices:
                outs.append(self._format_output(x, grid))
        return tuple(outs)

    def _format_output(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, 0]
        patches = x[:, self.num_extra_tokens :]
        if self.out_type == 'avg_featmap':
            return patches.mean(dim=1)
        return patches.transpose(1, 2).unflatten(2, grid).contiguous()

    def train(self, mode: bool = True) -> 'DHVT':
        """Set the mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        return self

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        self.cls_token.requires_grad_(False)
        for part in (self.patch_embed, *self.layers[: self.frozen_stages]):
            part.eval()
            part.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter and the number of depths, for layer decay.

        The patch embedding and the class token are at 0, layer i is at i + 1, and all
        that follows is at the last depth. ``prefix`` is what the backbone's names begin
        with.
        """
        depths = self.num_layers + 2
        parts = param_name[len(prefix) :].split('.')
        if not param_name.startswith(prefix):
            return depths - 1, depths
        if parts[0] in ('cls_token', 'patch_embed'):
            return 0, depths
        if parts[0] == 'layers':
            return int(parts[1]) + 1, depths
        return depths - 1, depths

    def _check_variant(
        self, state_dict: Mapping[str, Tensor], prefix: str, *args: Any
    ) -> None:
        official = f'{prefix}blocks.0.attn.ht_proj.weight'
        check_not_official(state_dict, official, 'DHVT', 'dhvt')
        given, own = _variant(state_dict, prefix), _variant(self.state_dict(), '')
        check_variant('DHVT', given, own, 'arch and patch_size')


def _variant(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, int]:
    """Return properties of the variant, read from the shapes in a state dict."""
    names = [n[len(prefix) :] for n in state_dict if n.startswith(prefix)]
    found = {}
    units = [n for n in names if n.startswith('patch_embed.') and 'conv.weight' in n]
    if units:
        found['patch size'] = 2 ** len(units)
    if 'cls_token' in names:
        found['width'] = state_dict[f'{prefix}cls_token'].shape[-1]
    if 'layers.0.attn.head_embed' in names:
        found['heads'] = state_dict[f'{prefix}layers.0.attn.head_embed'].shape[1]
    layers = {n.split('.')[1] for n in names if n.startswith('layers.')}
    if layers:
        found['depth'] = len(layers)
    return found


register_backbone(
    DHVT,
    dataclasses.replace(
        VIT,
        patch=lambda backbone: (backbone.patch_size, backbone.patch_size),
        grid=None,
    ),
)


def _append_head_tokens(reader: Reader, module: nn.Module, x: Tensor) -> None:
    reader.append_tokens(module.num_heads)


@register_attention(HeadInteractedAttention)
def _attach(module: nn.Module, context: TraceContext) -> None:
    context.before(module, _append_head_tokens)
    context.replace_attention(module)
    context.has_head_tokens = True
