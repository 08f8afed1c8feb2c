"""A pickle module that reads data and runs no code, for torch before 2.5.

``torch.load(weights_only=True)`` knows mmengine's types only from torch 2.5 on
(``safe_globals``). Before, ``torch.load(file, pickle_module=data_pickle)`` reads the
same files: names outside :data:`ALLOWED` are refused before anything is made of them.
"""

import codecs
import pickle
from argparse import Namespace
from collections import OrderedDict

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer


def _method(owner: type, name: str):
    """``getattr`` for the one thing it is needed for: methods of a HistoryBuffer."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'GLOBAL getattr({owner}, {name}) was not allowed')
    return getattr(owner, name)


# What NumPy's pickles call, wherever this version keeps it.
MAKE_ARRAY, MAKE_SCALAR = (x.__reduce__()[0] for x in (np.zeros(1), np.float64(0)))
NUMPY = dict(_reconstruct=MAKE_ARRAY, scalar=MAKE_SCALAR)
DTYPES = {
    str(value): value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype)
}
# By the names that files have for them: Python 2's too, as protocol 2 writes.
ALLOWED = {
    '__builtin__.getattr': _method,
    'builtins.getattr': _method,
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
    **{f'numpy.core.multiarray.{name}': value for name, value in NUMPY.items()},
    **{f'numpy._core.multiarray.{name}': value for name, value in NUMPY.items()},
    **{
        f'torch._utils.{name}': getattr(torch._utils, name)
        for name in ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter')
    },
    **DTYPES,
}


class Unpickler(pickle.Unpickler):
    """Finds what is allowed. torch adds its storages in a subclass of its own."""

    def find_class(self, module: str, name: str):
        """The object of a name, or the error that torch raises as well."""
        if f'{module}.{name}' not in ALLOWED:
            raise pickle.UnpicklingError(f'GLOBAL {module}.{name} was not allowed')
        return ALLOWED[f'{module}.{name}']


def load(file, **options):
    """As ``pickle.load``."""
    return Unpickler(file, **options).load()
