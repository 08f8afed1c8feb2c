"""The precision in which the operators compute, and their determinism."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """Return a detached tensor in float32, or in float64 if it is float64.

    Half precision is computed in float32 and rounded once, when the result is written,
    as torchvision's operators do under autocast.
    """
    kind = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return tensor.detach().to(kind)


def exact_regions(rois: Tensor) -> Tensor:
    """Return regions (R, 5) in full precision; warn if they were rounded before."""
    if rois.dtype == torch.bfloat16:
        warnings.warn(
            'The boxes are in bfloat16, which rounds pixels above 512 to multiples of '
            '4 and above 1,024 to multiples of 8: train detection in float16 '
            '(AmpOptimWrapper) or float32.',
            RuntimeWarning,
            stacklevel=2,
        )
    return full_precision(rois)


@contextmanager
def nondeterministic() -> Iterator[None]:
    """Let an operator without a deterministic version run, with PyTorch's warning.

    The compiled operators of mmcv run in that mode, too.
    """
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=warns)
