"""The three parts in which DHVT differs from a plain ViT, and its layer.

Shapes: ``B`` batch, ``D`` width, ``H`` heads, ``d = D / H``, ``h, w`` token grid,
``N = h * w``. Token sequences are (B, 1 + N, D), class token first.

Source: DHVT (NeurIPS 2022, arXiv 2210.05958), §3.2 SOPE, §3.3 DAFF, §3.4 HI-MHSA.
Where the paper and its official code differ, this follows the code, and a comment
says so.
"""

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn


class Affine(nn.Module):
    """Scale and shift of every channel, ``alpha * x + beta``.

    Args:
        channels: Channels C of the maps.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift maps (B, C, h, w)."""
        return self.alpha * x + self.beta


class HalvingConv(nn.Sequential):
    """Overlapping 3x3 convolution with stride 2, then a norm.

    Maps (h, w) become (ceil(h/2), ceil(w/2)). The paper's listing gives the
    convolution a bias; the code does not.

    Args:
        in_channels: Channels of the input maps.
        out_channels: Channels of the output maps.
        norm_cfg: Norm of the output.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: dict):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, 2, padding=1, bias=False)
        self.norm = build_norm_layer(norm_cfg, out_channels)


class SequentialOverlapPatchEmbed(nn.Module):
    """SOPE (§3.2): patches through a chain of overlapping convolutions.

    Each unit halves the map, so P = 2^k takes k of them, and an image of (H, W)
    pixels gives (ceil(H / P), ceil(W / P)) tokens. There is a GELU between units. A
    chain of a single unit (P = 2) also ends with a GELU; longer chains do not, unlike
    the paper's Eq. 2 and 3.

    Args:
        in_channels: Channels of the images.
        embed_dims: Width D. The last unit has D channels, each one before it half.
        patch_size: P, a power of two.
        norm_cfg: Norm after every convolution.
    """

    def __init__(
        self, in_channels: int, embed_dims: int, patch_size: int, norm_cfg: dict
    ):
        super().__init__()
        units = patch_size.bit_length() - 1
        widths = [in_channels, *(embed_dims >> k for k in reversed(range(units)))]
        chain = []
        for width, next_width in zip(widths, widths[1:]):
            chain += [HalvingConv(width, next_width, norm_cfg), nn.GELU()]
        self.pre_affine = Affine(in_channels)
        self.projection = nn.Sequential(*(chain if units == 1 else chain[:-1]))
        self.post_affine = Affine(embed_dims)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Turn images (B, C, H, W) into tokens (B, N, D), row by row, and the grid."""
        # Channels last, so that the tokens are a view of the last map.
        images = images.contiguous(memory_format=torch.channels_last)
        maps = self.post_affine(self.projection(self.pre_affine(images)))
        return maps.flatten(2).transpose(1, 2), tuple(maps.shape[-2:])


class HeadInteractedAttention(nn.Module):
    """HI-MHSA (§3.4): attention with one more token for each head.

    A head token is made from the mean of the head's channels. Head tokens are made
    anew in every layer, take part in attention as queries, keys and values, and are
    averaged and added to the class token afterwards.

    Args:
        embed_dims: Width D.
        num_heads: H. A divisor of D.
        qkv_bias: Bias of the query, key and value projection.
        attn_drop: Dropout of the attention weights.
        proj_drop: Dropout of the output, after the merge.

    Attributes:
        scaled_dot_product_attention: The function that computes attention; tracing
            replaces it. Called with q, k, v (B, H, L, d) and ``dropout_p``,
            L = 1 + N + H, head tokens last.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        qkv_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ):
        super().__init__()
        width = embed_dims // num_heads
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop)
        self.head_proj = nn.Linear(width, embed_dims)
        # Eq. 6 of the paper has no norm here; its listing A.3 and the code do. The
        # norm's eps is PyTorch's 1e-5, unlike that of all other norms.
        self.head_norm = nn.LayerNorm(width, eps=1e-5)
        self.head_embed = nn.Parameter(torch.empty(1, num_heads, embed_dims))
        trunc_normal_(self.head_embed, std=0.02)
        self.scaled_dot_product_attention = F.scaled_dot_product_attention

    def head_tokens(self, x: Tensor) -> Tensor:
        """Make one token for each head, (B, H, D), from tokens (B, 1 + N, D)."""
        # The mean is over all tokens, the class token included.
        means = x.mean(dim=1).unflatten(-1, (self.num_heads, -1))
        parts = self.head_proj(means).unflatten(-1, (self.num_heads, -1))
        return F.gelu(self.head_norm(parts)).flatten(2) + self.head_embed

    def forward(self, x: Tensor) -> Tensor:
        """Compute attention of normalised tokens (B, 1 + N, D); the shape stays."""
        tokens = x.shape[1]
        x = torch.cat([x, self.head_tokens(x)], dim=1)
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.attn_drop if self.training else 0.0
        x = self.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        x = self.proj(x.transpose(1, 2).flatten(2))
        merged = x[:, :1] + x[:, tokens:].mean(dim=1, keepdim=True)
        return self.proj_drop(torch.cat([merged, x[:, 1:tokens]], dim=1))


class DynamicAggregationFFN(nn.Module):
    """DAFF (§3.3): a convolutional MLP for patches, a gate for the class token.

    Args:
        embed_dims: Width D.
        feedforward_channels: Channels between the two 1x1 convolutions.
        norm_cfg: Norm after each of the three convolutions.
    """

    reduction = 4  # of the gate's hidden layer

    def __init__(self, embed_dims: int, feedforward_channels: int, norm_cfg: dict):
        super().__init__()
        hidden = feedforward_channels
        self.expand = nn.Conv2d(embed_dims, hidden, 1)
        self.norm1 = build_norm_layer(norm_cfg, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.norm2 = build_norm_layer(norm_cfg, hidden)
        self.project = nn.Conv2d(hidden, embed_dims, 1)
        self.norm3 = build_norm_layer(norm_cfg, embed_dims)
        self.squeeze = nn.Linear(embed_dims, embed_dims // self.reduction)
        self.excite = nn.Linear(embed_dims // self.reduction, embed_dims)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Compute the update of normalised tokens (B, 1 + N, D) on a grid (h, w)."""
        # A permuted view is in channels-last order, and so are all maps after it.
        maps = x[:, 1:].unflatten(1, grid).permute(0, 3, 1, 2)
        maps = F.gelu(self.norm1(self.expand(maps)))
        maps = maps + F.gelu(self.norm2(self.depthwise(maps)))
        patches = self.norm3(self.project(maps)).flatten(2).transpose(1, 2)
        # No sigmoid: the gate may be negative, and is about 0 at the start.
        gate = self.excite(F.gelu(self.squeeze(patches.mean(dim=1, keepdim=True))))
        return torch.cat([x[:, :1] * gate, patches], dim=1)


class DHVTLayer(nn.Module):
    """One pre-norm layer of DHVT.

    Args:
        embed_dims: Width D.
        num_heads: H. A divisor of D.
        feedforward_channels: Channels inside the feed-forward.
        qkv_bias: Bias of queries, keys and values.
        attn_drop_rate: Dropout of the attention weights.
        drop_rate: Dropout of the output of attention.
        drop_path_rate: Stochastic depth of both branches.
        norm_cfg: Norm in front of each branch.
        ffn_norm_cfg: Norms inside the feed-forward.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        qkv_bias: bool,
        attn_drop_rate: float,
        drop_rate: float,
        drop_path_rate: float,
        norm_cfg: dict,
        ffn_norm_cfg: dict,
    ):
        super().__init__()
        self.ln1 = build_norm_layer(norm_cfg, embed_dims)
        self.attn = HeadInteractedAttention(
            embed_dims, num_heads, qkv_bias, attn_drop_rate, drop_rate
        )
        self.ln2 = build_norm_layer(norm_cfg, embed_dims)
        self.ffn = DynamicAggregationFFN(embed_dims, feedforward_channels, ffn_norm_cfg)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Update tokens (B, 1 + h * w, D) on a grid (h, w)."""
        x = x + self.drop_path(self.attn(self.ln1(x)))
        return x + self.drop_path(self.ffn(self.ln2(x), grid))
