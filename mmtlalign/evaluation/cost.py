"""The cost of a network in parameters and multiply-accumulates.

The "FLOPs" of papers are multiply-accumulates (MACs) of matrix products, including the
two of attention, and of convolutions. Element-wise operations, norms, softmax and
interpolation are not counted, as in the papers. The count is that of PyTorch's counter.
It misses fused attention on a CPU, so attention is forced into two products.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from mmtlalign.compat.torch_2_1 import math_attention
from mmtlalign.errors import InputError, UnsupportedError, some_of
from mmtlalign.modes import eval_mode

Forward = Callable[[nn.Module, Tensor], Any]
# Operators of several tensors that contain no matrix product or convolution.
FREE = {
    *('cat', 'stack', 'copy', 'where', 'set', 'lerp', 'cudnn_batch_norm'),
    *('native_layer_norm', 'native_group_norm', 'native_batch_norm'),
    *('_native_batch_norm_legit', '_native_batch_norm_legit_no_training'),
    *('_batch_norm_no_update', '_batch_norm_with_update', '_fused_rms_norm'),
    *('index_put', '_index_put_impl', 'scatter', 'scatter_add', 'masked_scatter'),
    *('index_add', 'index_copy', 'slice_scatter', 'select_scatter'),
}


@dataclass(frozen=True)
class Cost:
    """Size of a network and the work of a forward pass.

    Attributes:
        parameters: Number of parameters; shared ones are counted once.
        macs: Multiply-accumulates of one image.
        size: Height and width of the image in pixels.
        unused: Names of the parameters that the forward pass does not use.
    """

    parameters: int
    macs: int
    size: tuple[int, int]
    unused: tuple[str, ...] = ()


def scores(model: nn.Module, images: Tensor) -> Any:
    """Run a network from images (B, 3, H, W) to its output.

    Args:
        model: A classifier of OpenMMLab, or any module that takes only images.
        images: Normalised (B, 3, H, W).
    """
    if hasattr(model, 'data_preprocessor'):
        return model(images, mode='tensor')
    return model(images)


def count(
    model: nn.Module, size: int | tuple[int, int], forward: Forward = scores
) -> Cost:
    """Count parameters and multiply-accumulates.

    The network runs in eval mode on one image on PyTorch's ``meta`` device, without
    memory or values; if its forward pass needs values, on a grey image.

    Args:
        model: Any network, on any device; it is not changed.
        size: Side in pixels, or height and width.
        forward: Called with the model and images (1, 3, H, W).

    Raises:
        InputError: The network does not run at this size.
        UnsupportedError: It calls operators that PyTorch's counter does not support.
    """
    height, width = (size, size) if isinstance(size, int) else size
    parameters = dict(model.named_parameters())
    found: tuple[int, set[str]] | Exception
    try:
        found = _count_on_meta(model, (height, width), forward)
    except UnsupportedError:
        raise
    except Exception as error:
        values = not any(p.is_meta for p in parameters.values())
        found = error
        if values:
            found = _count_with_values(model, (height, width), forward)
    if isinstance(found, Exception):
        reason = str(found).strip().rstrip('.') or type(found).__name__
        raise InputError(
            f'{type(model).__name__} does not run on an image of {height} x {width} '
            f'pixels: {reason}. Give the image size that it was built for.'
        ) from found
    macs, used = found
    total = sum(p.numel() for p in parameters.values())
    unused = tuple(name for name in parameters if name not in used)
    return Cost(total, macs, (height, width), unused)


def _count_on_meta(
    model: nn.Module, size: tuple[int, int], forward: Forward
) -> tuple[int, set[str]]:
    """Return multiply-accumulates and names of used parameters, on the meta device."""
    # A copy, as some networks cache tensors for their last image size.
    model = _copy_on_meta(model)
    model.eval()
    images = torch.empty(1, 3, *size, device='meta', dtype=_dtype(model))
    return _run(lambda: forward(model, images), dict(model.named_parameters()))


def _copy_on_meta(model: nn.Module) -> nn.Module:
    """Copy a network without allocating its parameters and buffers."""
    copies = {}
    for tensor in (*model.parameters(), *model.buffers()):
        new = torch.empty_like(tensor, device='meta', requires_grad=False)
        if isinstance(tensor, nn.Parameter):
            new = nn.Parameter(new, tensor.requires_grad)
        copies[id(tensor)] = new
    return copy.deepcopy(model, copies)


def _count_with_values(
    model: nn.Module, size: tuple[int, int], forward: Forward
) -> tuple[int, set[str]] | Exception:
    """Return the same from a run on the model's device, or the error of that run."""
    tensors = dict(model.named_parameters())
    device = next((p.device for p in tensors.values()), 'cpu')
    images = torch.zeros(1, 3, *size, device=device, dtype=_dtype(model))
    try:
        with eval_mode(model):
            return _run(lambda: forward(model, images), tensors)
    except UnsupportedError:
        raise
    except Exception as error:
        return error


def _dtype(model: nn.Module) -> torch.dtype:
    floats = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(floats, torch.float32)


# With gradients nn.MultiheadAttention and nn.TransformerEncoderLayer do not use their
# fused fast path, which the counter does not support.
@torch.enable_grad()
def _run(
    call: Callable[[], Any], tensors: Mapping[str, Tensor]
) -> tuple[int, set[str]]:
    operators = _Operators()
    # The counter decomposes composite calls, and the outer mode sees the parts.
    with math_attention(), operators, FlopCounterMode(display=False) as counter:
        call()
    counted = counter.get_flop_counts().get('Global', {})
    unknown = sorted(map(str, operators.seen - set(counted)))
    if unknown:
        raise UnsupportedError(
            f'{some_of(unknown)}: PyTorch {torch.__version__} cannot count the '
            'multiplications of these operators, so the total would be too small. '
            'Count the model without fused layers.'
        )
    used = {name for name, tensor in tensors.items() if id(tensor) in operators.read}
    return counter.get_total_flops() // 2, used


class _Operators(TorchDispatchMode):
    """Mode that records the operators that may multiply tensors, and tensors read.

    Attributes:
        seen: Operators that take several floating-point tensors and are not in
            :data:`FREE`, and operators of other libraries.
        read: ``id`` of every tensor that was an argument.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[Any] = set()
        self.read: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        self.read.update(map(id, given))
        real = [x for x in given if x.is_floating_point() or x.is_complex()]
        several = sum(x.numel() > 1 for x in real) > 1
        own = func.namespace in ('aten', 'prim', 'prims')
        name = func._schema.name.partition('::')[2].removesuffix('_')
        free = name in FREE or torch.Tag.pointwise in func.tags
        if not own or (several and not free):
            self.seen.add(func._overloadpacket)
        return func(*args, **kwargs)


def image_size(cfg: Mapping[str, Any]) -> int | None:
    """Return the side in pixels of a classifier config's images, None if unknown.

    It is the crop of the test pipeline, else ``img_size`` of the backbone, else the
    largest crop of the training pipeline.

    Args:
        cfg: A config of mmpretrain.
    """

    def crops(node: Any) -> Iterator[int]:
        if isinstance(node, Mapping):
            if str(node.get('type', '')).endswith('Crop'):
                side = node.get('crop_size') or node.get('scale') or 0
                yield max(side) if isinstance(side, (tuple, list)) else side
            node = list(node.values())
        if isinstance(node, (list, tuple)):
            for child in node:
                yield from crops(child)

    test, train = (
        max((side for side in crops(cfg.get(name)) if side), default=None)
        for name in ('test_dataloader', 'train_dataloader')
    )
    own = cfg['model'].get('backbone', {}).get('img_size')
    return test or (max(own) if isinstance(own, (tuple, list)) else own) or train
