"""Projection head of DINO and EsViT: an MLP, a bottleneck, prototypes of unit length.

DINO (arXiv 2104.14294, §3.1 and appendix C) and EsViT (arXiv 2106.09785, §3.1), whose
official code uses this head twice, for views and for regions.

Shapes: ``R`` views or regions, ``D`` channels, ``K`` prototypes.
"""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.registry import MODELS


class WeightNormLinear(nn.Module):
    """Linear layer without bias and with weight normalisation.

    Weight row k is ``weight_g[k] * weight_v[k] / |weight_v[k]|``. The class keeps the
    parameter names of official checkpoints: torch's ``parametrizations.weight_norm``
    uses other names, and ``torch.nn.utils.weight_norm`` is deprecated.

    Args:
        in_channels: Input width.
        out_channels: Output width K.
        learn_length: Whether ``weight_g`` is trained; else it stays 1.
    """

    def __init__(self, in_channels: int, out_channels: int, learn_length: bool):
        super().__init__()
        direction = nn.Linear(in_channels, out_channels, bias=False).weight
        self.weight_v = nn.Parameter(direction.detach())
        self.weight_g = nn.Parameter(
            direction.new_ones(out_channels, 1), requires_grad=learn_length
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_channels) to (..., K)."""
        weight = self.weight_g * F.normalize(self.weight_v, dim=1, eps=0)
        return F.linear(inputs, weight)


@MODELS.register_module()
class EsViTHead(BaseModule):
    """Projection from features to logits over prototypes; no softmax inside.

    Linear - (BN) - GELU, ``num_layers - 1`` times, Linear to the bottleneck, scaled to
    unit length, then a weight-normalised linear layer. Names in the state dict are
    the official ones: ``mlp.0.weight``, ``last_layer.weight_v`` and so on.

    Args:
        in_channels (int): Channels D of the backbone's last stage.
        out_channels (int): Prototypes K. Defaults to 65536, as in the recipes.
        hidden_channels (int): Width of the hidden layers. Defaults to 2048.
        bottleneck_channels (int): Width of the bottleneck. Defaults to 256.
        num_layers (int): Linear layers up to the bottleneck; 1 has no hidden layer.
            Defaults to 3.
        use_bn (bool): Batch norm between each hidden layer and its GELU. Defaults to
            False.
        norm_last_layer (bool): Keep all prototypes at length 1. Defaults to False, as
            in the recipes of EsViT; True makes training more stable.
        init_cfg (dict, optional): Initialisation. Defaults to None: linear layers from
            a normal distribution of std 0.02, the last layer by torch's default.

    Raises:
        InputError: ``num_layers`` is below 1, or features have another width.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 65536,
        hidden_channels: int = 2048,
        bottleneck_channels: int = 256,
        num_layers: int = 3,
        use_bn: bool = False,
        norm_last_layer: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if num_layers < 1:
            raise InputError(
                f'num_layers={num_layers}: the head needs a layer to the bottleneck; '
                'set 1 or more (the recipes have 3).'
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        layers, width = [], in_channels
        for _ in range(num_layers - 1):
            layers.append(nn.Linear(width, hidden_channels))
            layers.extend([nn.BatchNorm1d(hidden_channels)] if use_bn else [])
            layers.append(nn.GELU())
            width = hidden_channels
        layers.append(nn.Linear(width, bottleneck_channels))
        # A single layer has no index in official checkpoints.
        self.mlp = nn.Sequential(*layers) if num_layers > 1 else layers[0]
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = WeightNormLinear(
            bottleneck_channels, out_channels, learn_length=not norm_last_layer
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features (R, D), one row per view or region, to logits (R, K)."""
        if features.shape[-1] != self.in_channels:
            raise InputError(
                f'The backbone gives features of {features.shape[-1]} channels, but '
                f'the head has in_channels={self.in_channels}: set it to '
                f'{features.shape[-1]}.'
            )
        return self.last_layer(F.normalize(self.mlp(features), dim=-1))
