"""Focal loss (ICCV 2017) over sigmoid and softmax, with gradients.

Letters: N rows, C classes. The probability in a logarithm is at least the smallest
normal float32, as in mmcv. ``weight`` is ``(C,)``, or empty.
"""

import torch
from torch import Tensor

from mmtlalign.compat.mmcv_ops.precision import full_precision

TINY = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the loss of every logit.

    Args:
        input: Logits ``(N, C)``.
        target: Classes ``(N,)``; C is background.
        weight: Weight of each class.
        output: Losses ``(N, C)``; written.
        gamma: Exponent of the modulating factor.
        alpha: Weight of the positive class; negatives have 1 - alpha.
    """
    p, positive = _probabilities(input, target)
    q = 1 - p
    loss = torch.where(
        positive,
        -alpha * q**gamma * p.clamp(min=TINY).log(),
        (alpha - 1) * p**gamma * q.clamp(min=TINY).log(),
    )
    output.copy_(_weighted(loss, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivative of every loss by its logit; arguments as in the forward."""
    p, positive = _probabilities(input, target)
    q = 1 - p
    grad = torch.where(
        positive,
        -alpha * q**gamma * (q - gamma * p * p.clamp(min=TINY).log()),
        (alpha - 1) * p**gamma * (gamma * q * q.clamp(min=TINY).log() - p),
    )
    grad_input.copy_(_weighted(grad, target, weight))


def softmax_focal_loss_forward(
    softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the loss of every row.

    Args:
        softmax: Probabilities ``(N, C)``.
        target: Classes ``(N,)``; rows with a negative one have no loss.
        weight: Weight of each class.
        output: Losses ``(N,)``; written.
        gamma: Exponent of the modulating factor.
        alpha: Weight of the loss.
    """
    p, valid = _chosen(softmax, target)
    loss = -alpha * (1 - p) ** gamma * p.clamp(min=TINY).log()
    loss = torch.where(valid, loss, 0)
    output.copy_(_weighted(loss, target.clamp(min=0), weight))


def softmax_focal_loss_backward(
    softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivative of every row's loss by its logits ``(N, C)``.

    Args:
        softmax: Probabilities ``(N, C)``.
        target: Classes ``(N,)``.
        weight: Weight of each class.
        buff: ``(N,)``; not used.
        grad_input: ``(N, C)``; written.
        gamma: Exponent of the modulating factor.
        alpha: Weight of the loss.
    """
    p, valid = _chosen(softmax, target)
    q = 1 - p
    # For gamma < 1 the power has a pole at q = 0, but the product is finite there.
    pole = q.clamp(min=TINY) ** (gamma - 1)
    slope = gamma * pole * p * p.clamp(min=TINY).log() - q**gamma
    slope = torch.where(valid, alpha * slope, 0)
    slope = _weighted(slope, target.clamp(min=0), weight)
    columns = torch.arange(softmax.size(1), device=softmax.device)
    is_target = (columns == target[:, None]).to(p.dtype)
    grad_input.copy_(slope[:, None] * (is_target - full_precision(softmax)))


def _probabilities(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and whether a column is the row's class, both ``(N, C)``."""
    columns = torch.arange(input.size(1), device=input.device)
    return full_precision(input).sigmoid(), columns == target[:, None]


def _chosen(softmax: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of each row's class, and whether it has one, ``(N,)``."""
    p = full_precision(softmax).gather(1, target.clamp(min=0)[:, None])[:, 0]
    return p, target >= 0


def _weighted(values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Multiply values ``(N, …)`` by the weights of the rows' classes."""
    if not weight.numel():
        return values
    return values * weight[target].view(-1, *[1] * (values.dim() - 1))
