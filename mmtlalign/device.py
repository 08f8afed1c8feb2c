"""From the host's memory to the device without waiting for either."""

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; on a GPU the host goes on at once.

    From pageable memory the copy would wait for the work under way.

    Args:
        tensor: Of any shape; on the device already, it is returned as it is.
        device: Where the network is.
    """
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        tensor = tensor.pin_memory()  # which it may be already
    return tensor.to(device, non_blocking=True)


def send_stacked(tensors: list[Tensor], device: torch.device) -> Tensor:
    """Stack tensors of one shape (...) and copy them in one piece, (B, ...)."""
    if device.type != 'cuda' or tensors[0].device.type != 'cpu':
        return send(torch.stack(tensors), device)
    first = tensors[0]
    shape = (len(tensors), *first.shape)
    pinned = torch.empty(shape, dtype=first.dtype, pin_memory=True)
    return torch.stack(tensors, out=pinned).to(device, non_blocking=True)
