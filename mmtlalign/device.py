"""Copies from the host's memory to the network's device that nobody waits for."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; with a GPU the host goes on at once.

    From pageable memory the copy would wait for the work under way.

    Args:
        tensor: Tensor of any shape.
        device: Where the network is.

    Returns:
        The copy, or the tensor itself if it is on the device already.
    """
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        tensor = tensor.pin_memory()  # which it may be already
    return tensor.to(device, non_blocking=True)


def stack_to_device(tensors: list[Tensor], device: torch.device) -> Tensor:
    """Stack B tensors of one shape (...) and copy them in one piece, (B, ...)."""
    if device.type != 'cuda' or tensors[0].device.type != 'cpu':
        return to_device(torch.stack(tensors), device)
    first = tensors[0]
    shape = (len(tensors), *first.shape)
    pinned = torch.empty(shape, dtype=first.dtype, pin_memory=True)
    return torch.stack(tensors, out=pinned).to(device, non_blocking=True)
