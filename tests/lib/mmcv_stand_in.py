"""The stand-in for ``mmcv._ext``, also where mmcv is compiled, and random inputs."""

import importlib.util
import sys
from importlib.machinery import PathFinder

# First, since it lets Python find the operators where mmcv was not compiled.
from mmtlalign.compat import mmcv_ops

# isort: split
import mmcv.ops
import pytest
import torch


def is_compiled():
    """Return whether the installed mmcv has compiled operators."""
    return PathFinder.find_spec(mmcv_ops.MODULE, mmcv.__path__) is not None


needs_compiled = pytest.mark.skipif(
    not is_compiled(), reason='compares with a compiled mmcv'
)


def stand_in():
    """Return a new module with our operators."""
    spec = mmcv_ops.find_spec(mmcv_ops.MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # mmcv asks for all when it is imported, which imports torchvision, too.
    assert all(hasattr(module, name) for name in mmcv_ops.SUPPORTED)
    return module


def files():
    """Return the modules of mmcv.ops that call compiled operators."""
    assert mmcv.ops
    found = {n: m for n, m in sys.modules.items() if n.startswith('mmcv.ops.')}
    return {n: m for n, m in found.items() if hasattr(m, 'ext_module')}


def use(module, monkeypatch):
    """Let all of mmcv.ops call the operators of a module."""
    for file in files().values():
        monkeypatch.setattr(file, 'ext_module', module)


def boxes(count, size=60.0, dtype=torch.float32):
    """Random boxes ``(count, 4)``, many of which overlap, and their scores."""
    corner, side = torch.rand(2, count, 2) * size
    found = torch.cat([corner, corner + side / 2], 1)
    return found.to(dtype), torch.rand(count).to(dtype)


def regions(count, size=60.0, images=2):
    """Random regions ``(count, 5)``, some partly outside the image."""
    corner = torch.rand(count, 2) * size - size / 8
    far = corner + torch.rand(count, 2) * size / 2 + 1
    image = torch.randint(images, (count, 1)).float()
    return torch.cat([image, corner, far], 1)


def run(operator, tensors, dtype, backward=True):
    """Return the outcome and the gradients of the given tensors.

    tensors: Floating ones are cast and get gradients; None stays.
    """
    inputs = [
        t.detach().to(dtype).requires_grad_(backward)
        if t is not None and t.is_floating_point()
        else t
        for t in tensors
    ]
    output = operator(*inputs)
    if not backward:
        return [output]
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    grads = torch.autograd.grad(
        (output * weights.to(output)).sum(), wanted, allow_unused=True
    )
    zeros = [torch.zeros_like(t) if g is None else g for t, g in zip(wanted, grads)]
    return [output.detach(), *zeros]


TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-9}


def compare(operator, reference, tensors, dtype, backward=True):
    """Assert that values and gradients are those of a reference in float64."""
    ours = run(operator, tensors, dtype, backward)
    right = run(reference, tensors, torch.float64, backward)
    for mine, other in zip(ours, right, strict=True):
        assert mine.dtype == dtype
        assert other.abs().max() > 0
        tolerance = TOLERANCE[dtype]
        torch.testing.assert_close(mine.double(), other, rtol=tolerance, atol=tolerance)
