"""Deformable convolution, version 1 and 2, and multi-scale deformable attention.

Letters: B images, C channels, O output channels, G groups of offsets, K = kH · kW.
Arguments that only manage memory (``columns``, ``ones``, ``im2col_step``) are not used.
"""

from collections.abc import Iterator

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from mmtlalign.compat.mmcv_ops.precision import full_precision, nondeterministic


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **sizes: int,
) -> None:
    """Write a deformable convolution (ICCV 2017).

    Args:
        input: ``(B, C, H, W)``.
        weight: ``(O, C / group, kH, kW)``.
        offset: Offsets y, x of the samples ``(B, 2·G·K, H', W')``.
        output: ``(B, O, H', W')``; written.
        columns: Not used.
        ones: Not used.
        **sizes: dH, dW, padH, padW, dilationH, dilationW, group, deformable_group.
    """
    output.copy_(_convolve(input, weight, offset, None, None, _version_1(sizes)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **sizes: int,
) -> None:
    """Write the gradients of input and offsets; sizes as in the forward."""
    grads = _gradients(
        grad_output, input, weight, offset, None, None, _version_1(sizes)
    )
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float = 1,
    **sizes: int,
) -> None:
    """Write the gradient of the weights, times ``scale``; sizes as in the forward."""
    # The gradient of the weights does not depend on their values.
    grads = _gradients(
        grad_output, input, grad_weight, offset, None, None, _version_1(sizes)
    )
    grad_weight.copy_(grads[1] * scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Write a modulated deformable convolution (CVPR 2019).

    Args:
        input: ``(B, C, H, W)``.
        weight: ``(O, C / group, kH, kW)``.
        bias: ``(O,)``; empty without bias.
        ones: Not used.
        offset: Offsets y, x of the samples ``(B, 2·G·K, H', W')``.
        mask: Factors of the samples ``(B, G·K, H', W')``.
        output: ``(B, O, H', W')``; written.
        columns: Not used.
        with_bias: Whether there is a bias.
        **sizes: stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group,
            deformable_group.
    """
    given = bias if with_bias else None
    output.copy_(_convolve(input, weight, offset, mask, given, _version_2(sizes)))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Write all gradients; the other arguments are those of the forward."""
    given = bias if with_bias else None
    grads = _gradients(
        grad_output, input, weight, offset, mask, given, _version_2(sizes)
    )
    targets = [grad_input, grad_weight, grad_offset, grad_mask]
    targets += [grad_bias] if with_bias else []
    for target, grad in zip(targets, grads, strict=False):
        target.copy_(grad)


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Return multi-scale deformable attention by mmcv's own function, level by level.

    Args:
        value: ``(B, keys, heads, channels)``.
        spatial_shapes: Height and width of each level ``(levels, 2)``.
        level_start_index: Not used: it follows from the shapes.
        sampling_locations: x, y in 0 to 1, ``(B, queries, heads, levels, points, 2)``.
        attention_weights: ``(B, queries, heads, levels, points)``.
        im2col_step: Not used.

    Returns:
        ``(B, queries, heads · channels)``.
    """
    inputs = [full_precision(t) for t in (value, sampling_locations, attention_weights)]
    levels = list(_levels(spatial_shapes, *inputs))
    return sum(_attend(*level) for level in levels).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients; the other arguments are those of the forward."""
    inputs = [full_precision(t) for t in (value, sampling_locations, attention_weights)]
    upstream = full_precision(grad_output)
    targets = grad_value, grad_sampling_loc, grad_attn_weight
    for (size, *parts), (_, *written) in zip(
        _levels(spatial_shapes, *inputs), _levels(spatial_shapes, *targets)
    ):
        leaves = [part.detach().requires_grad_() for part in parts]
        with torch.enable_grad(), nondeterministic():
            grads = torch.autograd.grad(_attend(size, *leaves), leaves, upstream)
        for target, grad in zip(written, grads):
            target.copy_(grad)


def _levels(
    spatial_shapes: Tensor, value: Tensor, locations: Tensor, weights: Tensor
) -> Iterator[tuple]:
    """Yield size, values, locations and weights of each level, as views."""
    sizes = spatial_shapes.tolist()
    parts = value.split([high * wide for high, wide in sizes], dim=1)
    for level, (size, part) in enumerate(zip(sizes, parts)):
        one = slice(level, level + 1)
        yield size, part, locations[:, :, :, one], weights[:, :, :, one]


def _attend(
    size: list[int], value: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """Return the part of one level; all levels at once would need more memory."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(value, [size], locations, weights)


def _version_1(sizes: dict[str, int]) -> tuple[int, ...]:
    """Return stride, padding, dilation (each height, width) and both group counts."""
    names = 'dH dW padH padW dilationH dilationW group deformable_group'
    return tuple(sizes[name] for name in names.split())


def _version_2(sizes: dict[str, int]) -> tuple[int, ...]:
    """Return the same from the names of version 2."""
    names = 'stride_h stride_w pad_h pad_w dilation_h dilation_w group deformable_group'
    return tuple(sizes[name] for name in names.split())


def _arguments(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    sizes: tuple[int, ...],
) -> tuple:
    """Return the arguments of torchvision's operator."""
    x, w, o = (full_precision(t) for t in (input, weight, offset))
    m = x.new_zeros(x.size(0), 1) if mask is None else full_precision(mask)
    b = x.new_zeros(w.size(0)) if bias is None else full_precision(bias)
    return (x, w, o, m, b, *sizes, mask is not None)


def _convolve(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    sizes: tuple[int, ...],
) -> Tensor:
    arguments = _arguments(input, weight, offset, mask, bias, sizes)
    return torch.ops.torchvision.deform_conv2d(*arguments)


def _gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    sizes: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """Return the gradients of input, weight, offset, mask and bias."""
    arguments = _arguments(input, weight, offset, mask, bias, sizes)
    with nondeterministic():
        return torch.ops.torchvision._deform_conv2d_backward(
            full_precision(grad_output), *arguments
        )
