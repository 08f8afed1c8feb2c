"""The precision in which the operators compute."""

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """Return a detached tensor in float32, or in float64 if it is float64.

    Half precision is computed in float32 and rounded once, when the result is written,
    as torchvision's operators do under autocast.
    """
    kind = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return tensor.detach().to(kind)
