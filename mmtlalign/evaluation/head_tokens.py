"""Attention of DHVT's head tokens, and attention distance of patches.

DHVT (NeurIPS 2022, arXiv 2210.05958), Fig. 4 and 5. The paper does not state which
layer and which average the figures show, so all layers and both averages are computed.
As in the official code, the tokens of an attention are the class token, N patches, and
h head tokens, in this order.

Shapes: ``L`` layers, ``B`` batch, ``h`` heads and head tokens, ``N`` patches, ``T`` = 1
+ N + h, ``gh, gw`` grid.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.evaluation.attention_maps import read_attention
from mmtlalign.tracing.propagate import Pair


class HeadTokenFigures(NamedTuple):
    """Results of a DHVT by layer, each (L,).

    Attributes:
        mass: Attention on head tokens, mean over class token and patches.
        class_mass: Attention of the class token on head tokens.
        distance: Mean attention distance of patches, in tokens.
    """

    mass: Tensor
    class_mass: Tensor
    distance: Tensor


def head_token_maps(attention: Tensor, grid: Pair, own_head: bool = False) -> Tensor:
    """Return the attention of each head token on the patches (Fig. 4).

    Args:
        attention: (..., h, T, T), rows are queries.
        grid: Rows and columns of the patches.
        own_head: Use only head i for head token i; else the mean over heads.

    Returns:
        (..., h, gh, gw), one map per head token. Rows are not divided by their sum.
    """
    count = _patches(attention, grid)
    rows = attention[..., 1 + count :, 1 : 1 + count]  # (..., head, head token, N)
    if own_head:
        rows = rows.diagonal(dim1=-3, dim2=-2).mT
    else:
        rows = rows.mean(dim=-3)
    return rows.unflatten(-1, grid)


def head_token_mass(attention: Tensor) -> tuple[Tensor, Tensor]:
    """Return the attention mass on the head tokens.

    Args:
        attention: (..., h, T, T).

    Returns:
        That of class token and patches, mean over heads and queries; and that of the
        class token, mean over heads; each (...).
    """
    heads = attention.shape[-3]
    mass = attention[..., :-heads, -heads:].sum(dim=-1)
    return mass.mean(dim=(-2, -1)), mass[..., 0].mean(dim=-1)


def attention_distance(attention: Tensor, grid: Pair, prefix: int = 1) -> Tensor:
    """Return the mean distance between a patch and those it attends to, in tokens.

    Distances are Euclidean between positions on the grid. Attention is averaged over
    heads, then the patches' part of each row is divided by its sum.

    Args:
        attention: (..., heads, Nq, Nk): special tokens, patches and then any others.
        grid: Rows and columns of the patches.
        prefix: Number of special tokens.

    Returns:
        (...).
    """
    count = grid[0] * grid[1]
    patches = slice(prefix, prefix + count)
    rows = attention[..., patches, patches].mean(dim=-3)
    if rows.shape[-2:] != (count, count):
        raise InputError(
            f'Attention of shape {tuple(attention.shape)} for {prefix} special tokens '
            f'and a grid of {grid[0]} x {grid[1]}: give one in which all patches '
            'attend to all patches.'
        )
    sides = (torch.arange(side, device=rows.device) for side in grid)
    places = torch.cartesian_prod(*sides).to(rows.dtype)
    apart = torch.cdist(places, places, compute_mode='donot_use_mm_for_euclid_dist')
    rows = rows / rows.sum(dim=-1, keepdim=True)
    return (rows * apart).sum(dim=-1).mean(dim=-1)


def figures_by_layer(attention: Tensor, grid: Pair) -> HeadTokenFigures:
    """Return the results of all layers of a DHVT, averaged over the batch.

    Args:
        attention: (L, B, h, T, T).
        grid: Rows and columns of the patches.
    """
    _patches(attention, grid)
    mass, class_mass = head_token_mass(attention)
    distance = attention_distance(attention, grid)
    return HeadTokenFigures(mass.mean(1), class_mass.mean(1), distance.mean(1))


def head_token_attention(model: nn.Module, images: Tensor) -> tuple[Tensor, Pair]:
    """Return all attentions of a DHVT, (L, B, h, T, T), and its grid.

    It stores the weights of all layers, which is too much memory for training.

    Args:
        model: Backbone or classifier in eval mode.
        images: Normalised (B, 3, H, W).

    Raises:
        InputError: The network has no head tokens.
    """
    layers = read_attention(model, images)
    if not all(layer.appended for layer in layers):
        raise InputError(
            'This network has no head tokens (mmtlalign.DHVT has): its class token is '
            "read by attention_map(model, images, 'cls')."
        )
    return torch.stack([layer.weights for layer in layers]), layers[0].grid


def _patches(attention: Tensor, grid: Pair) -> int:
    """Return N, checked against the shape of an attention (..., h, T, T)."""
    heads, queries, keys = attention.shape[-3:]
    count = grid[0] * grid[1]
    if not queries == keys == 1 + count + heads:
        raise InputError(
            f'An attention with {heads} heads has {queries} x {keys} tokens: with head '
            f'tokens and a grid of {grid[0]} x {grid[1]} it must have '
            f'{1 + count + heads}.'
        )
    return count
