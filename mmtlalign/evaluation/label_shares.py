"""Measures of TL-Align's analysis: label shares by layer against area and features.

TL-Align (ICCV 2023), Fig. 3 and 4. The share of the partner image in a token is a
number from 0 to 1, the *area* is the share by CutMix's box. Choices that the paper
leaves open are stated with each function. The functions take tensors;
:mod:`mmtlalign.evaluation.mix_analysis` runs the networks.

Shapes: ``B`` mixed images, ``L`` attentions, ``T`` tokens, ``N`` image tokens, ``D``
channels, ``K`` classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class ShareErrors(NamedTuple):
    """Differences between shares and area over the images; all shapes are (...).

    Attributes:
        rmse_share: Root of the mean squared difference of shares.
        rmse_vector: The same for label vectors, over images and classes.
        bias: Mean difference; positive if the partner gains.
        mean_abs: Mean absolute difference.
    """

    rmse_share: Tensor
    rmse_vector: Tensor
    bias: Tensor
    mean_abs: Tensor


def label_distance(own: Tensor, partner: Tensor) -> Tensor:
    """Return the mean squared difference of two labels over the classes (B,).

    Args:
        own, partner: One-hot or smoothed (B, K).
    """
    return (partner.double() - own.double()).square().mean(dim=-1)


def share_errors(share: Tensor, area: Tensor, distance: Tensor) -> ShareErrors:
    """Compare shares with the area, by both conventions of the RMSE (Fig. 3).

    The paper does not state which one it uses. That of label vectors,
    ``sqrt(mean over images and classes (y_align - y_area)^2)``, decreases with the
    number of classes as ``(1 - smoothing) * sqrt(2 / K)``, and with pairs of equal
    class, so that it cannot be compared between data sets. Multiplied by ``sqrt(K)`` it
    is the convention that sums over classes.

    Args:
        share: (..., B), such as (L + 1, B).
        area: (B,).
        distance: :func:`label_distance` of the pairs (B,).
    """
    difference = share.double() - area.double()
    return ShareErrors(
        difference.square().mean(dim=-1).sqrt(),
        (difference.square() * distance.double()).mean(dim=-1).sqrt(),
        difference.mean(dim=-1),
        difference.abs().mean(dim=-1),
    )


def errors_by_area(share: Tensor, area: Tensor, bins: int = 10) -> dict[str, Tensor]:
    """Compare shares with the area in bins of the area.

    Differences are largest for areas around one half. The bins have equal width (our
    choice), so that networks are compared on equal areas.

    Args:
        share: (B,).
        area: (B,).
        bins: Number of bins from 0 to 1; the last one includes 1.

    Returns:
        ``edges`` (bins + 1,), ``count``, ``rmse_share`` and ``bias`` (bins,), NaN for
        an empty bin.
    """
    difference = share.double() - area.double()
    index = (area.double() * bins).long().clamp(0, bins - 1)
    zeros = torch.zeros(bins, dtype=torch.float64, device=share.device)
    count = zeros.index_add(0, index, torch.ones_like(difference))
    return dict(
        edges=torch.linspace(0, 1, bins + 1, dtype=torch.float64),
        count=count.long(),
        rmse_share=(zeros.index_add(0, index, difference.square()) / count).sqrt(),
        bias=zeros.index_add(0, index, difference) / count,
    )


def total_variation(history: Sequence[Tensor]) -> Tensor:
    """Return the total variation of each token's share over layers (B, T).

    ``sum over l of |p_l - p_(l - 1)|``. The measure is ours: Fig. 4 shows "fluctuating"
    tokens without a definition.

    Args:
        history: Shares (B, T) before the first and after each layer, on one token grid.
    """
    shares = torch.stack(list(history))
    return shares.diff(dim=0).abs().sum(dim=0)


def similarity_projection(own: Tensor, partner: Tensor, mixed: Tensor) -> Tensor:
    """Return the partner's share in a feature, by least squares.

    ``clip(<z - a, b - a> / |b - a|^2, 0, 1)`` is the mixture of a and b that is nearest
    to z: 0 at z = a, 1 at z = b, exact for a linear network. It is 0.5 if a equals b.
    The formula is ours: Fig. 4 shows a "token similarity" without one.

    Args:
        own, partner, mixed: Features a, b, z of the same token after the same layer
            (..., D), from the own image, the partner and the mixed image.

    Returns:
        The share (...), 0 to 1.
    """
    between = partner - own
    length = between.square().sum(dim=-1)
    along = ((mixed - own) * between).sum(dim=-1)
    share = along / length.where(length > 0, length.new_ones(()))
    return share.clamp(0, 1).where(length > 0, share.new_full((), 0.5))


def similarity_cosine(
    own: Tensor, partner: Tensor, mixed: Tensor, mean: Tensor | None = None
) -> Tensor:
    """Return the partner's share in a feature as ``s_b / (s_a + s_b)`` of cosines.

    Negative cosines count as 0. The formula is ours. It may be closer to the paper's
    "similarity", but is biased towards 0.5, as features share a large mean direction.
    It is 0.5 if both cosines are 0.

    Args:
        own, partner, mixed: Features of the same token after the same layer (..., D),
            from the own image, the partner and the mixed image.
        mean: The data set's mean token (D,), which is subtracted first. Defaults to
            None: nothing is subtracted.

    Returns:
        The share (...), 0 to 1.
    """
    if mean is not None:
        own, partner, mixed = own - mean, partner - mean, mixed - mean
    to_own = torch.cosine_similarity(mixed, own, dim=-1).clamp(min=0)
    to_partner = torch.cosine_similarity(mixed, partner, dim=-1).clamp(min=0)
    both = to_own + to_partner
    share = to_partner / both.where(both > 0, both.new_ones(()))
    return share.where(both > 0, share.new_full((), 0.5))


def moments(x: Tensor, y: Tensor) -> Tensor:
    """Return count, sums, sums of squares and of products of two samples (6,), float64.

    They can be added over batches; :func:`pearson_of` returns their correlation.
    """
    x, y = x.double().flatten(), y.double().flatten()
    count = torch.tensor(float(len(x)), dtype=x.dtype, device=x.device)
    return torch.stack([count, x.sum(), y.sum(), x @ x, y @ y, x @ y])


def pearson_of(moments: Tensor) -> float:
    """Return Pearson's correlation from :func:`moments`, NaN for a constant sample."""
    count, x, y, xx, yy, xy = moments.tolist()
    spread = (xx - x * x / count) * (yy - y * y / count)
    # For constants rounding leaves about 1e-12 of their squares.
    if spread <= 1e-20 * xx * yy:
        return float('nan')
    return (xy - x * y / count) / spread**0.5
