"""The parts of PVT: attention with reduced keys, positions, a stage.

Shapes: ``B`` batch, ``D`` width, ``H`` heads, ``d = D / H``, ``h, w`` token grid,
``N = h * w`` tokens, row by row, and one more in front where there is a class
token.

Source: PVT (ICCV 2021, arXiv 2102.12122), §3.2 and §3.3. The eps of norms that
``norm_cfg`` does not set is that of the official code.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import FFN, PatchEmbed
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.utils import build_norm_layer, resize_pos_embed
from torch import Tensor, nn


class SpatialReductionAttention(nn.Module):
    """SRA (§3.3): keys and values come from a coarser map than the queries.

    Args:
        embed_dims: Width D.
        num_heads: H. A divisor of D.
        sr_ratio: Side of the squares of tokens that are reduced to one key. With 1,
            there is one key per token, and there may be a class token.
        qkv_bias: Bias of queries, keys and values.
        attn_drop: Dropout of the attention weights.
        proj_drop: Dropout of the output.

    Attributes:
        scaled_dot_product_attention: The function that computes attention; tracing
            replaces it. Called with queries (B, H, N, d), keys and values
            (B, H, N', d) and ``dropout_p``.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        sr_ratio: int = 1,
        qkv_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.sr_ratio = sr_ratio
        self.attn_drop = attn_drop
        self.q = nn.Linear(embed_dims, embed_dims, bias=qkv_bias)
        self.kv = nn.Linear(embed_dims, 2 * embed_dims, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop)
        if sr_ratio > 1:
            self.sr = nn.Conv2d(embed_dims, embed_dims, sr_ratio, sr_ratio)
            self.norm = nn.LayerNorm(embed_dims, eps=1e-5)
        self.scaled_dot_product_attention = F.scaled_dot_product_attention

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Compute attention of normalised tokens (B, N, D) on a grid (h, w)."""
        source = x
        if self.sr_ratio > 1:
            maps = self.sr(x.transpose(1, 2).unflatten(2, grid))
            source = self.norm(maps.flatten(2).transpose(1, 2))
        query = self.q(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        pairs = self.kv(source).unflatten(-1, (2, self.num_heads, -1))
        key, value = pairs.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.attn_drop if self.training else 0.0
        x = self.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.proj_drop(self.proj(x.transpose(1, 2).flatten(2)))


class Positions(nn.Module):
    """Learnt positions of a stage, and its class token if it has one.

    Args:
        grid: Rows and columns (h, w) of the map in pretraining. For maps of another
            size positions are resized bilinearly.
        embed_dims: Width D.
        drop_rate: Dropout after the sum.
        class_token: Whether a class token is put before the tokens.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        embed_dims: int,
        drop_rate: float,
        class_token: bool,
    ):
        super().__init__()
        self.grid = grid
        self.extra = int(class_token)
        if class_token:
            self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dims))
            trunc_normal_(self.cls_token, std=0.02)
        length = self.extra + grid[0] * grid[1]
        self.pos_embed = nn.Parameter(torch.empty(1, length, embed_dims))
        trunc_normal_(self.pos_embed, std=0.02)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Add positions to tokens (B, N, D) on a grid (h, w): (B, N or 1 + N, D)."""
        if self.extra:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        resized = resize_pos_embed(
            self.pos_embed, self.grid, grid, 'bilinear', self.extra
        )
        return self.drop(x + resized)


class PVTLayer(nn.Module):
    """One pre-norm layer of PVT.

    Args:
        embed_dims: Width D.
        num_heads: H. A divisor of D.
        feedforward_channels: Channels inside the feed-forward.
        sr_ratio: Side of the squares of tokens that are reduced to one key.
        qkv_bias: Bias of queries, keys and values.
        attn_drop_rate: Dropout of the attention weights.
        drop_rate: Dropout of the output of attention and in the feed-forward.
        drop_path_rate: Stochastic depth of both branches.
        norm_cfg: Norm in front of each branch.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        sr_ratio: int,
        qkv_bias: bool,
        attn_drop_rate: float,
        drop_rate: float,
        drop_path_rate: float,
        norm_cfg: dict,
    ):
        super().__init__()
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)
        self.attn = SpatialReductionAttention(
            embed_dims, num_heads, sr_ratio, qkv_bias, attn_drop_rate, drop_rate
        )
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)
        self.ffn = FFN(
            embed_dims,
            feedforward_channels,
            act_cfg=dict(type='GELU'),
            ffn_drop=drop_rate,
            dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate),
        )

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Update tokens (B, N, D) on a grid (h, w)."""
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return self.ffn(self.norm2(x), identity=x)


class PVTStage(nn.Module):
    """Patch embedding, positions and layers of one resolution (§3.2).

    Args:
        in_channels: Channels of the input maps.
        embed_dims: Width D.
        patch_size: Side of a patch in pixels of those maps.
        grid: Rows and columns of the tokens in pretraining.
        drop_rate: Dropout of the positions.
        class_token: Whether a class token joins.
        layers: The layers, of this width.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        patch_size: int,
        grid: tuple[int, int],
        drop_rate: float,
        class_token: bool,
        layers: Iterable[PVTLayer],
    ):
        super().__init__()
        self.patch_embed = PatchEmbed(
            in_channels,
            embed_dims,
            kernel_size=patch_size,
            stride=patch_size,
            padding=0,
            norm_cfg=dict(type='LN', eps=1e-5),
        )
        self.positions = Positions(grid, embed_dims, drop_rate, class_token)
        self.layers = nn.ModuleList(layers)

    def forward(self, maps: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Turn maps (B, C, H, W) into tokens (B, N or 1 + N, D) and their grid."""
        x, grid = self.patch_embed(maps)
        x = self.positions(x, grid)
        for layer in self.layers:
            x = layer(x, grid)
        return x, grid
