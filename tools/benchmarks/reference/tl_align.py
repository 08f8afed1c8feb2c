"""Reference implementation of TL-Align straight from its paper: slow, much memory.

Dense attention matrices are kept and averaged over heads, and K label columns per token
move through every layer (TL-Align, ICCV 2023, §3.3), for DeiT, Swin, DHVT and PVT. Of
this package's tracing it uses only the initial labels.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens with class tokens first, ``K`` classes.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import PatchMerging
from mmpretrain.models.utils import ShiftWindowMSA
from torch import Tensor, nn

from mmtlalign.backbones.dhvt_layers import HeadInteractedAttention
from mmtlalign.backbones.pvt_layers import PVTStage, SpatialReductionAttention
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import start_share, token_grid


class ReferenceTLAlign:
    """Trace of label columns through a stock backbone with dense attention.

    Args:
        backbone: Changed in place: its calls of fused attention are replaced, and it
            gets hooks.

    Attributes:
        labels: Labels of the tokens after the layers so far (B, N, K).
        grid: Token rows and columns.
        prefix: Number of class tokens.
    """

    def __init__(self, backbone: nn.Module):
        self.backbone = backbone
        for module in backbone.modules():
            if hasattr(module, 'scaled_dot_product_attention'):
                dense = functools.partial(self.dense_attention, module)
                module.scaled_dot_product_attention = dense
            elif isinstance(module, ShiftWindowMSA):
                soft = module.w_msa.softmax
                soft.register_forward_hook(
                    functools.partial(self.propagate_windows, module)
                )
            elif isinstance(module, PatchMerging):
                module.register_forward_pre_hook(self.merge_patches)
            elif isinstance(module, PVTStage):
                later = module is not backbone.stages[0]
                after = functools.partial(
                    self.start_stage, module.positions.extra, later
                )
                module.patch_embed.register_forward_hook(after)

    @contextmanager
    def trace(self, mix: Mix) -> Iterator['ReferenceTLAlign']:
        """Trace the labels of a mixed batch during one forward."""
        share = start_share(self.backbone, mix)
        own, other = mix.labels[:, None], mix.labels[mix.partner][:, None]
        self.labels = (1 - share) * own + share * other
        self.grid = token_grid(self.backbone, mix.images.shape[-2:])
        self.prefix = backbone_spec(self.backbone).prefix(self.backbone)
        yield self

    def target(self) -> Tensor:
        """Return the labels at the output (B, K): of the class token, or the mean."""
        if backbone_spec(self.backbone).output(self.backbone) == 'mean':
            return self.labels.mean(dim=1)
        return self.labels[:, 0]

    def dense_attention(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout_p: float = 0.0,
    ) -> Tensor:
        """Compute attention (B, H, N, D) in place of the fused function."""
        weights = (query * query.shape[-1] ** -0.5 @ key.mT).softmax(dim=-1)
        self.propagate(module, weights)
        return F.dropout(weights, dropout_p) @ value

    @torch.no_grad()
    def propagate(self, module: nn.Module, weights: Tensor) -> None:
        """Move labels by attention (B, H, Nq, Nk), and average with those before."""
        before = keys = self.labels
        if isinstance(module, SpatialReductionAttention) and module.sr_ratio > 1:
            keys = self.pooled(module.sr_ratio)
        if isinstance(module, HeadInteractedAttention):
            mean = before.mean(dim=1, keepdim=True)
            keys = torch.cat([before, mean.expand(-1, module.num_heads, -1)], dim=1)
        moved = weights.mean(dim=1) @ keys
        tokens = before.shape[1]
        if moved.shape[1] > tokens:
            heads = moved[:, tokens:].mean(dim=1, keepdim=True)
            first = (moved[:, :1] + heads) / 2
            moved = torch.cat([first, moved[:, 1:tokens]], dim=1)
        self.labels = (before + moved) / 2

    @torch.no_grad()
    def propagate_windows(
        self, module: ShiftWindowMSA, softmax: nn.Module, inputs: tuple, weights: Tensor
    ) -> None:
        """Move labels by attention in windows (B * windows, H, T, T)."""
        side, (height, width) = module.window_size, self.grid
        single = min(self.grid) == side and not module.pad_small_map
        shift = 0 if single else module.shift_size
        maps = self.labels.unflatten(1, self.grid)
        maps = F.pad(maps, (0, 0, 0, -width % side, 0, -height % side))
        padded = maps.shape[1:3]
        maps = maps.roll((-shift, -shift), dims=(1, 2))
        windows = module.window_partition(maps, side).flatten(1, 2)
        moved = weights.mean(dim=1) @ windows
        maps = module.window_reverse(moved.unflatten(1, (side, side)), *padded, side)
        maps = maps.roll((shift, shift), dims=(1, 2))[:, :height, :width].flatten(1, 2)
        if padded != self.grid:
            # Padding has no label, so the sum of a row is the share of real tokens.
            maps = maps / maps.sum(dim=-1, keepdim=True)
        self.labels = (self.labels + maps) / 2

    @torch.no_grad()
    def merge_patches(self, module: PatchMerging, inputs: tuple) -> None:
        """Merge 2 x 2 tokens to the mean label of the real ones."""
        self.labels = self.pooled(2, ceil_mode=True)
        self.grid = tuple(-(-side // 2) for side in self.grid)

    @torch.no_grad()
    def start_stage(
        self,
        class_tokens: int,
        later: bool,
        module: nn.Module,
        inputs: tuple,
        output: tuple,
    ) -> None:
        """Start a stage of PVT: merge tokens, and add a class token in the last one."""
        if later:
            self.labels, self.grid = self.pooled(module.projection.stride[0]), output[1]
        if class_tokens:
            mean = self.labels.mean(dim=1, keepdim=True)
            self.labels = torch.cat([mean, self.labels], dim=1)
            self.prefix += class_tokens

    def pooled(self, side: int, ceil_mode: bool = False) -> Tensor:
        """Return labels (B, N', K) averaged over squares; class tokens stay."""
        maps = self.labels[:, self.prefix :].mT.unflatten(2, self.grid)
        maps = F.avg_pool2d(maps, side, ceil_mode=ceil_mode)
        return torch.cat([self.labels[:, : self.prefix], maps.flatten(2).mT], dim=1)
