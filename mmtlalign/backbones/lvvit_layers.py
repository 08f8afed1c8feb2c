"""The two parts in which LV-ViT differs from a plain ViT: its stem and its layer.

Shapes: ``B`` batch, ``D`` width, ``P`` patch size, ``h, w`` token grid,
``N = h * w``.

Source: All Tokens Matter (NeurIPS 2021, arXiv 2104.10858), and its official code
where the paper leaves a number open.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn


class ConvUnit(nn.Sequential):
    """A convolution, then norm and ReLU.

    Args:
        conv: The convolution, usually without bias.
        norm_cfg: Norm of its output.
    """

    def __init__(self, conv: nn.Module, norm_cfg: dict):
        super().__init__()
        self.conv = conv
        self.norm = build_norm_layer(norm_cfg, conv.out_channels)
        self.act = nn.ReLU(inplace=True)


class ConvStem(nn.Module):
    """Patches from three convolutions at half resolution and a projection.

    Images whose sides are not multiples of P are padded with zeros at the bottom and
    at the right, so that (H, W) pixels give (ceil(H / P), ceil(W / P)) tokens.

    Args:
        in_channels: Channels of the images.
        stem_channels: Channels of the three convolutions.
        embed_dims: Width D.
        patch_size: P, an even number.
        norm_cfg: Norm after each of the three convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        stem_channels: int,
        embed_dims: int,
        patch_size: int,
        norm_cfg: dict,
    ):
        super().__init__()
        self.patch_size = patch_size
        convs = (
            nn.Conv2d(in_channels, stem_channels, 7, 2, 3, bias=False),
            nn.Conv2d(stem_channels, stem_channels, 3, 1, 1, bias=False),
            nn.Conv2d(stem_channels, stem_channels, 3, 1, 1, bias=False),
        )
        self.stem = nn.Sequential(*(ConvUnit(conv, norm_cfg) for conv in convs))
        half = patch_size // 2
        self.projection = nn.Conv2d(stem_channels, embed_dims, half, half)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Turn images (B, C, H, W) into tokens (B, N, D), row by row, and the grid."""
        below, right = (-side % self.patch_size for side in images.shape[-2:])
        if below or right:
            images = F.pad(images, (0, right, 0, below))
        maps = self.projection(self.stem(images))
        return maps.flatten(2).transpose(1, 2), tuple(maps.shape[-2:])


class ScaledResidualLayer(TransformerEncoderLayer):
    """mmpretrain's layer with both branches divided by ``skip_lam``.

    ``x + attention(norm(x)) / skip_lam``, then the same with the feed-forward; the
    skip connection is not scaled. Parameters, their names and other arguments are
    those of ``TransformerEncoderLayer``.

    Args:
        skip_lam: The divisor of the branches.
        mlp_drop_rate: Dropout after both linear layers of the feed-forward. Defaults
            to None: ``drop_rate``.
        **kwargs: Arguments of ``TransformerEncoderLayer``.
    """

    def __init__(
        self, skip_lam: float, mlp_drop_rate: float | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.skip_lam = skip_lam
        self.ffn.add_identity = False
        if mlp_drop_rate is not None:
            for module in self.ffn.modules():
                if isinstance(module, nn.Dropout):
                    module.p = mlp_drop_rate

    def init_weights(self) -> None:
        """Initialise the feed-forward as all linear layers, unlike the parent."""
        BaseModule.init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Update tokens (B, 1 + N, D)."""
        share = 1 / self.skip_lam
        # One pass over memory for the division and the sum.
        x = torch.add(x, self.attn(self.ln1(x)), alpha=share)
        return torch.add(x, self.ffn(self.ln2(x)), alpha=share)
