"""The types that checkpoints may hold, so that reading them runs no code.

From torch 2.5 on, ``torch.load(weights_only=True)`` reads mmengine's files within
:func:`trusted_types`. Before, this module serves as the pickle module of
``torch.load(file, pickle_module=data_pickle)``, which reads the same files: names
outside :data:`ALLOWED` are refused before any object is made.
"""

import codecs
import pickle
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer


def _history_method(owner: type, name: str) -> Callable:
    """Replace ``getattr``, which files call for methods of a HistoryBuffer."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'GLOBAL getattr({owner}, {name}) was not allowed')
    return getattr(owner, name)


# The functions that NumPy's pickles call; their module depends on NumPy's version.
MAKE_ARRAY, MAKE_SCALAR = (x.__reduce__()[0] for x in (np.zeros(1), np.float64(0)))
# Objects by their name in a file; protocol 2 writes Python 2's names.
ALLOWED: dict[str, Any] = {
    '__builtin__.getattr': _history_method,
    'builtins.getattr': _history_method,
    '_codecs.encode': codecs.encode,
    'argparse.Namespace': Namespace,
    'collections.OrderedDict': OrderedDict,
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'numpy.dtype': np.dtype,
    'numpy.ndarray': np.ndarray,
    'torch.Size': torch.Size,
    'torch.Tensor': torch.Tensor,
    'torch.device': torch.device,
    'torch.nn.parameter.Parameter': torch.nn.Parameter,
}
for _module in ('numpy.core', 'numpy._core'):
    ALLOWED[f'{_module}.multiarray._reconstruct'] = MAKE_ARRAY
    ALLOWED[f'{_module}.multiarray.scalar'] = MAKE_SCALAR
for _name in ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter'):
    ALLOWED[f'torch._utils.{_name}'] = getattr(torch._utils, _name)
ALLOWED |= {str(v): v for v in vars(torch).values() if isinstance(v, torch.dtype)}


@contextmanager
def trusted_types() -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` read mmengine's own checkpoints.

    ``weights_only=True`` is the default from torch 2.6 on, which mmengine 0.10.7 does
    not account for: the message hub of a checkpoint holds mmengine's and NumPy's types.
    """
    safe_globals = getattr(torch.serialization, 'safe_globals', None)
    if safe_globals is None:  # before torch 2.5; mmengine trusts what it loads there
        yield
        return
    # Pickles of HistoryBuffer read its methods by `getattr`. DeiT and its descendants
    # save their command line as a Namespace.
    types = [HistoryBuffer, getattr, Namespace, np.ndarray, np.dtype]
    types += [MAKE_ARRAY, MAKE_SCALAR]
    types += [type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u4', '?')]
    with safe_globals(types):
        yield


class Unpickler(pickle.Unpickler):
    """Unpickler of allowed names; torch subclasses it to load storages."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the object of a name.

        Raises:
            UnpicklingError: It is not allowed; the message is that of torch.
        """
        if f'{module}.{name}' not in ALLOWED:
            raise pickle.UnpicklingError(f'GLOBAL {module}.{name} was not allowed')
        return ALLOWED[f'{module}.{name}']


def load(file: BinaryIO, **options: Any) -> Any:
    """Read an object, as ``pickle.load`` does."""
    return Unpickler(file, **options).load()
