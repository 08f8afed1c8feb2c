"""Asynchronous copies from CPU memory to the device of the network."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device without blocking the CPU.

    A copy to a GPU goes through pinned memory: from pageable memory it would wait for
    the kernels that are already queued.

    Args:
        tensor: Tensor of any shape.
        device: Device of the network.

    Returns:
        The copy, or the tensor itself if it is on the device already.
    """
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        tensor = tensor.pin_memory()  # does nothing if it is pinned already
    return tensor.to(device, non_blocking=True)


def stack_to_device(tensors: list[Tensor], device: torch.device) -> Tensor:
    """Stack B tensors of one shape (...) and copy them at once, (B, ...)."""
    if device.type != 'cuda' or tensors[0].device.type != 'cpu':
        return to_device(torch.stack(tensors), device)
    first = tensors[0]
    shape = (len(tensors), *first.shape)
    pinned = torch.empty(shape, dtype=first.dtype, pin_memory=True)
    return torch.stack(tensors, out=pinned).to(device, non_blocking=True)
