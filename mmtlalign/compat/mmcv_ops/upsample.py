"""Operators that move pixels: CARAFE, masked convolution, point-wise attention masks.

Letters: B images, C channels, G groups, k kernel size, s scale, H × W pixels,
M chosen pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.compat.mmcv_ops.precision import full_precision


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write features upsampled by a kernel for every pixel (CARAFE, ICCV 2019).

    Args:
        features: ``(B, C, H, W)``.
        masks: Kernels ``(B, G · k², s · H, s · W)``.
        output: ``(B, C, s · H, s · W)``; written.
        kernel_size: k.
        group_size: G.
        scale_factor: s.
    """
    inputs = [full_precision(t) for t in (features, masks)]
    output.copy_(_carafe(inputs[0], inputs[1], kernel_size, group_size, scale_factor))


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients; the other arguments are those of the forward."""
    inputs = [full_precision(t).requires_grad_() for t in (features, masks)]
    with torch.enable_grad():
        output = _carafe(inputs[0], inputs[1], kernel_size, group_size, scale_factor)
    grads = torch.autograd.grad(output, inputs, full_precision(grad_output))
    grad_input.copy_(grads[0])
    grad_masks.copy_(grads[1])


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the same as `carafe_naive_forward`.

    ``rfeatures`` gets a copy of the features, which mmcv passes to the backward;
    ``routput`` and ``rmasks`` are not used.
    """
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients; the tensors ``rgrad_…`` are not used."""
    carafe_naive_backward(
        grad_output,
        rfeatures,
        masks,
        grad_input,
        grad_masks,
        kernel_size,
        group_size,
        scale_factor,
    )


def _carafe(
    features: Tensor, masks: Tensor, size: int, groups: int, scale: int
) -> Tensor:
    batch, channels, height, width = features.shape
    radius = (size - 1) // 2
    padded = F.pad(features, [radius] * 4)
    # Axes: a pixel of the input, and its scale × scale pixels in the output.
    kernels = masks.reshape(batch, groups, size**2, 1, height, scale, width, scale)
    output = features.new_zeros(())
    for place in range(size * size):
        y, x = divmod(place, size)
        shifted = padded[:, :, y : y + height, x : x + width]
        shifted = shifted.reshape(
            batch, groups, channels // groups, height, 1, width, 1
        )
        output = output + shifted * kernels[:, :, place]
    return output.reshape(batch, channels, height * scale, width * scale)


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Write the neighbourhoods of chosen pixels, for a convolution at these only.

    Args:
        im: ``(1, C, H, W)``.
        mask_h_idx: Rows of the M pixels ``(M,)``.
        mask_w_idx: Their columns ``(M,)``.
        col: ``(C · kernel_h · kernel_w, M)``; written.
        kernel_h: Height of a neighbourhood.
        kernel_w: Its width.
        pad_h: Rows of zeros above and below the image.
        pad_w: Columns of zeros at its sides.
    """
    padded = F.pad(im[0], [pad_w, pad_w, pad_h, pad_h])
    read = [
        padded[:, mask_h_idx + y, mask_w_idx + x]
        for y in range(kernel_h)
        for x in range(kernel_w)
    ]
    col.copy_(torch.stack(read, 1).flatten(0, 1))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write values ``(C, M)`` to chosen pixels of an image ``(1, C, H, W)``."""
    im[0][:, mask_h_idx, mask_w_idx] = col.view(channels, -1).to(im)


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write attention over all pixels from masks around each (PSANet, ECCV 2018).

    Args:
        input: ``(B, h_mask · w_mask, H, W)``.
        output: ``(B, H · W, H, W)``; written. With ``psa_type`` 0 (collect) the
            channels of a pixel are the other pixels; with 1 (distribute) the axes are
            exchanged.
        psa_type: 0 or 1.
        num_: B.
        h_feature: H.
        w_feature: W.
        h_mask: Height of the masks.
        w_mask: Their width.
        half_h_mask: Row of their centre.
        half_w_mask: Column of their centre.
    """
    channel, inside = _mask_channels(
        input, (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask)
    )
    flat = input.detach().flatten(2)
    values = flat.gather(1, channel.expand(len(flat), -1, -1)) * inside
    if psa_type == 1:
        values = values.transpose(1, 2)
    output.copy_(values.reshape(output.shape))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write the gradient of the input; arguments as in the forward."""
    channel, inside = _mask_channels(
        grad_input, (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask)
    )
    grad = grad_output.detach().flatten(2)
    if psa_type == 1:
        grad = grad.transpose(1, 2)
    flat = torch.zeros_like(grad_input).flatten(2)
    flat.scatter_add_(1, channel.expand(len(grad), -1, -1), grad * inside)
    grad_input.copy_(flat.view_as(grad_input))


def _mask_channels(
    like: Tensor, feature: tuple[int, int], mask: tuple[int, int], half: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the place of each other pixel in a pixel's mask.

    Args:
        like: A tensor on the device to use.
        feature: H and W.
        mask: Height and width of the masks.
        half: Row and column of their centre.

    Returns:
        Channel ``(H · W, H · W)``, indexed by the other pixel first; and whether the
        other pixel is in the mask at all.
    """
    height, width = feature
    ys = torch.arange(height, device=like.device).repeat_interleave(width)
    xs = torch.arange(width, device=like.device).repeat(height)
    y = ys[:, None] - ys + half[0]
    x = xs[:, None] - xs + half[1]
    inside = (y >= 0) & (y < mask[0]) & (x >= 0) & (x < mask[1])
    return torch.where(inside, y * mask[1] + x, 0), inside
