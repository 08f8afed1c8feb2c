"""Operators for an mmcv that was not compiled, from torchvision and plain PyTorch.

mmcv calls its operators through one compiled module, ``mmcv._ext``. Where there is
none, this package provides a module of that name: its functions take the arguments of
the compiled ones and write into the same tensors, so all of ``mmcv.ops`` works
unchanged. A compiled module always takes precedence.

Python finds the module through an import hook. Importing ``mmtlalign`` adds the hook;
so does ``mmtlalign.pth``, which is installed beside the package, in every Python
process of the environment, before any host is imported.

This file imports neither PyTorch nor mmcv before an operator is looked up.
"""

import functools
import importlib
import sys
from collections.abc import Callable
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from mmtlalign.compat.hosts import host_version, installed
from mmtlalign.errors import UnsupportedError

MODULE = 'mmcv._ext'
# File of this package -> functions of mmcv._ext that it implements.
_FILES = {
    'boxes': ('bbox_overlaps', 'nms', 'nms_match', 'softnms'),
    'deform_conv': (
        'deform_conv_backward_input',
        'deform_conv_backward_parameters',
        'deform_conv_forward',
        'modulated_deform_conv_backward',
        'modulated_deform_conv_forward',
        'ms_deform_attn_backward',
        'ms_deform_attn_forward',
    ),
    'focal_loss': (
        'sigmoid_focal_loss_backward',
        'sigmoid_focal_loss_forward',
        'softmax_focal_loss_backward',
        'softmax_focal_loss_forward',
    ),
    'info': ('get_compiler_version', 'get_compiling_cuda_version'),
    'roi': (
        'deform_roi_pool_backward',
        'deform_roi_pool_forward',
        'roi_align_backward',
        'roi_align_forward',
        'roi_pool_backward',
        'roi_pool_forward',
    ),
    'sync_bn': (
        'sync_bn_backward_data',
        'sync_bn_backward_param',
        'sync_bn_forward_mean',
        'sync_bn_forward_output',
        'sync_bn_forward_var',
    ),
    'upsample': (
        'carafe_backward',
        'carafe_forward',
        'carafe_naive_backward',
        'carafe_naive_forward',
        'masked_col2im_forward',
        'masked_im2col_forward',
        'psamask_backward',
        'psamask_forward',
    ),
}
# Function of mmcv._ext -> file of this package that implements it.
SUPPORTED = {name: file for file, names in _FILES.items() for name in names}


def install() -> None:
    """Add the import hook, which provides the operators if mmcv was not compiled."""
    this = sys.modules[__name__]
    if this not in sys.meta_path:
        sys.meta_path.append(this)  # type: ignore[arg-type]


def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
    """Find ``mmcv._ext``; the import system asks when nothing else has found it."""
    return ModuleSpec(MODULE, _Loader()) if name == MODULE else None


class _Loader(Loader):
    """Loader of the module that stands in for ``mmcv._ext``."""

    def exec_module(self, module: ModuleType) -> None:
        """Make the module look up its operators in this package."""
        module.__getattr__ = _operator  # type: ignore[method-assign]


def _operator(name: str) -> Any:
    """Return an operator of ``mmcv._ext``, or a function that raises an error.

    mmcv looks up all operators when it is imported, so a missing one must not fail
    before it is called.
    """
    if name.startswith('__'):
        raise AttributeError(f'module {MODULE!r} has no attribute {name!r}')
    return _supported(name) if name in SUPPORTED else _missing(name)


@functools.cache
def _supported(name: str) -> Any:
    """Return an operator of this package, which ``torch.compile`` calls as it is.

    If it were compiled, mmcv's autograd functions would return what is written into
    ``output`` as a second result, and all gradients would be 0 (torch 2.11).
    """
    import torch

    operator = getattr(importlib.import_module(f'{__name__}.{SUPPORTED[name]}'), name)
    return torch.compiler.disable(operator)


def _missing(name: str) -> Callable[..., NoReturn]:
    def operator(*args: Any, **kwargs: Any) -> NoReturn:
        caller = sys._getframe(1).f_globals.get('__name__', 'a caller')
        raise unsupported(f'{caller} needs the operator {name}')

    operator.__name__ = name
    return operator


def unsupported(need: str) -> UnsupportedError:
    """Return the error for a need that only a compiled mmcv meets."""
    return UnsupportedError(
        f'{need}, which only a compiled mmcv has. Compile it: bash tools/setup_env.sh '
        f'--compile-mmcv, or, in an environment of your own: {compile_command()}'
    )


def compile_command() -> str:
    """Return the command that compiles the operators of the installed mmcv."""
    version = host_version('mmcv')
    name = 'onedl-mmcv' if installed('onedl-mmcv') else 'mmcv'
    first = 'pip uninstall -y mmcv-lite && ' if installed('mmcv-lite') else ''
    return (
        f'{first}pip install --no-build-isolation --no-deps --no-cache-dir '
        f'--force-reinstall {name}=={version}'
    )
