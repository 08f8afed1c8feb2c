"""Reading checkpoints: torch's safe list, and errors that name the file."""

import os.path as osp
import zipfile
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from mmtlalign.engine.errors import InputError

__all__ = ['check_checkpoint', 'trusted_types']

# What a checkpoint of mmengine must hold to continue a run.
RESUMABLE = ('meta', 'state_dict', 'optimizer', 'message_hub')


@contextmanager
def trusted_types():
    """Let ``torch.load(weights_only=True)`` read mmengine's own checkpoints.

    It is the default from torch 2.6 on, and mmengine 0.10.7 does not know it:
    the message hub of a checkpoint holds mmengine's and NumPy's types.
    """
    safe = getattr(torch.serialization, 'safe_globals', None)
    if safe is None:  # before torch 2.5 `torch.load` trusts every file
        yield
        return
    core = np._core if hasattr(np, '_core') else np.core
    # HistoryBuffer names its own methods, which are read by `getattr`.
    types = [HistoryBuffer, getattr, np.ndarray, np.dtype]
    types += [core.multiarray._reconstruct, core.multiarray.scalar]
    types += [type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u4', '?')]
    with safe(types):
        yield


def check_checkpoint(path: str, resume: bool = False) -> None:
    """Make sure that a local file is a whole checkpoint.

    The archive's checksums are read as well: torch itself loads a file with
    overwritten bytes without a word. Addresses (``https://…``) are left to
    mmengine.

    Args:
        path (str): The file.
        resume (bool): Whether a run is to continue from it, which takes more
            than weights.

    Raises:
        InputError: If the file is missing, cut short, damaged, no checkpoint,
            or does not hold what is needed.
    """
    if '://' in path:
        return
    path = osp.expanduser(path)
    if not osp.isfile(path):
        raise InputError(f"checkpoint '{path}' does not exist; check the path")
    remedy = 'copy or save it again, or take an earlier checkpoint'
    size = osp.getsize(path)
    try:
        damaged = zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip()
        with trusted_types():
            checkpoint = torch.load(path, map_location='meta')
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"checkpoint '{path}' ({size} bytes) cannot be read: it is cut short, "
            f'damaged or not a checkpoint ({reason}); {remedy}'
        ) from error
    if damaged:
        raise InputError(
            f"checkpoint '{path}' is damaged: the checksum of '{damaged}' in it is "
            f'wrong; {remedy}'
        )
    if not isinstance(checkpoint, dict):
        raise InputError(
            f"'{path}' holds a {type(checkpoint).__name__}, a checkpoint is a dict "
            "with 'state_dict'; give a file saved by tools/train.py"
        )
    lacking = [key for key in RESUMABLE if key not in checkpoint]
    if resume and lacking:
        raise InputError(
            f"'{path}' has no {', '.join(map(repr, lacking))}, which a run needs to "
            'continue; resume from an epoch_*.pth or iter_*.pth of the work '
            'directory, or start anew from its weights: --cfg-options load_from=…'
        )
