"""Batch normalisation over several processes (``MMSyncBN``).

mmcv averages over the processes between these steps. Letters: B images, C channels, S
pixels. Statistics ``(C,)`` are float32.
"""

from torch import Tensor

from mmtlalign.compat.mmcv_ops.precision import full_precision


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Write the mean ``(C,)`` of an input ``(B, C, S)``."""
    mean.copy_(full_precision(input).mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Write the mean square deviation ``(C,)`` of ``(B, C, S)`` from ``mean``."""
    deviation = full_precision(input) - mean[:, None]
    var.copy_(deviation.square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float | Tensor,
    group_size: int,
) -> None:
    """Write the normalised input and update the running statistics.

    Args:
        input: ``(B, C, S)``.
        mean: Mean over all processes ``(C,)``.
        var: Biased variance over all processes ``(C,)``.
        weight: ``(C,)``, or empty.
        bias: ``(C,)``, or empty.
        running_mean: ``(C,)``, updated, or empty.
        running_var: ``(C,)``, updated with the unbiased variance, or empty.
        norm: Input minus mean, divided by std, ``(B, C, S)``; written.
        std: ``(C,)``; written.
        output: norm times weight plus bias ``(B, C, S)``; written.
        eps: Added to the variance.
        momentum: Weight of this batch in the running statistics.
        group_size: Number of processes.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((full_precision(input) - mean[:, None]) / std[:, None])
    if weight.numel():
        output.copy_(norm * weight[:, None] + bias[:, None])
    else:
        output.copy_(norm)
    if running_mean.numel():
        count = input.size(0) * input.size(2) * group_size
        unbiased = var * (count / (count - 1)) if count > 1 else var
        for running, value in ((running_mean, mean), (running_var, unbiased)):
            running.copy_(momentum * value + (1 - momentum) * running)


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Write the gradients of weight and bias ``(C,)``.

    Args:
        grad_output: ``(B, C, S)``.
        norm: The normalised input ``(B, C, S)``.
        grad_weight: ``(C,)``; written.
        grad_bias: ``(C,)``; written.
    """
    grad = full_precision(grad_output)
    grad_weight.copy_((grad * norm).sum((0, 2)))
    grad_bias.copy_(grad.sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Write the gradient of the input.

    Args:
        grad_output: ``(B, C, S)``.
        weight: ``(C,)``.
        grad_weight: Averaged over the processes ``(C,)``.
        grad_bias: Averaged over the processes ``(C,)``.
        norm: The normalised input ``(B, C, S)``.
        std: ``(C,)``.
        grad_input: ``(B, C, S)``; written.
    """
    count = grad_output.size(0) * grad_output.size(2)
    common = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    scale = (weight / std)[:, None]
    grad_input.copy_(scale * (full_precision(grad_output) - common))
