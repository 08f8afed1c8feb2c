"""Read a checkpoint file, or say what is wrong with it.

``torch.load`` answers a web page saved as ``.pth`` with a pickle error and a
truncated file with a reader error. The reader here looks at the file first, so
that each wrong file gets the message that mends it.
"""

import re
import zipfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from mmtlalign.checkpoint.tensor_files import is_safetensors, read_safetensors
from mmtlalign.compat import data_pickle
from mmtlalign.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
ANOTHER_BACKBONE = (
    'Name another file with --cfg-options pretrained=FILE, or start from '
    'random weights with --cfg-options pretrained=None.'
)
# What a checkpoint of mmengine must hold to continue a run.
RESUMABLE = ('meta', 'state_dict', 'optimizer', 'message_hub')


@contextmanager
def trusted_types():
    """Let ``torch.load(weights_only=True)`` read mmengine's own checkpoints.

    It is the default from torch 2.6 on, and mmengine 0.10.7 does not know it:
    the message hub of a checkpoint holds mmengine's and NumPy's types.
    """
    safe = getattr(torch.serialization, 'safe_globals', None)
    if safe is None:  # before torch 2.5; mmengine trusts what it loads there
        yield
        return
    # HistoryBuffer names its own methods, which are read by `getattr`.
    # A namespace is what DeiT and its descendants save their command line as.
    types = [HistoryBuffer, getattr, Namespace, np.ndarray, np.dtype]
    types += [data_pickle.MAKE_ARRAY, data_pickle.MAKE_SCALAR]
    types += [type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u4', '?')]
    with safe(types):
        yield


def read_state_dict(path: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint file onto the CPU, running none of its code.

    The file is a training checkpoint of mmengine (the tensors are under
    ``state_dict``), a plain dict of tensors, or safetensors.

    Args:
        path: A local file; ``~`` is expanded.

    Returns:
        Tensors by name, with the version marks (``_metadata``) the file carries.

    Raises:
        InputError: There is no such file, it is not a checkpoint, is damaged, holds
            objects whose loading would run code, or holds no tensors.
    """
    return read_tensors(path, 'pretrained', ANOTHER_BACKBONE)


def read_tensors(
    path: str,
    setting: str,
    advice: str,
    under: Sequence[str] = ('state_dict',),
    bare: bool = True,
) -> dict[str, torch.Tensor]:
    """As :func:`read_state_dict`, for any setting and any code base.

    Args:
        path: A local file; ``~`` is expanded.
        setting: What the user calls the path.
        advice: What to do if the file is missing or wrong.
        under: Keys that may hold the tensors; the first that is there does.
            Defaults to ``('state_dict',)``. Safetensors has none.
        bare: Whether the file may be the tensors alone. Defaults to True.
    """
    return tensors_in(read_checkpoint(path, setting, advice), path, under, bare)


def tensors_in(
    content: dict,
    path: str,
    under: Sequence[str] = ('state_dict',),
    bare: bool = True,
) -> dict[str, torch.Tensor]:
    """The tensors of what :func:`read_checkpoint` read; see :func:`read_tensors`."""
    file = Path(path).expanduser()
    if is_safetensors(file) and bare:
        under = ('state_dict',)
    found = [key for key in under if key in content]
    tensors = content[found[0]] if found else content if bare else None
    whole = isinstance(tensors, dict) and all(map(torch.is_tensor, tensors.values()))
    if not whole or not tensors:
        raise InputError(
            f'{file} has no {" or ".join(map(repr, under))} of tensors; its keys are '
            f'{some_of(list(content))}. Checkpoints of other code bases must first '
            "be rewritten as {'state_dict': tensors under mmpretrain's names}: "
            'tools/model_converters/convert_weights.py knows some of them.'
        )
    return tensors


def check_checkpoint(path: str, resume: bool = False) -> None:
    """Make sure that a local file is a whole checkpoint before mmengine loads it.

    Addresses (``https://…``) are left to mmengine.

    Args:
        path: The file; ``~`` is expanded.
        resume: Whether a run is to continue from it, which takes more than
            weights.

    Raises:
        InputError: As :func:`read_state_dict`, or the file lacks what is needed.
    """
    if '://' in path:
        return
    content = read_checkpoint(path, 'checkpoint', 'Take an earlier checkpoint.', 'meta')
    lacking = [key for key in RESUMABLE if key not in content]
    if resume and lacking:
        raise InputError(
            f"'{path}' has no {', '.join(map(repr, lacking))}, which a run needs to "
            'continue; resume from an epoch_*.pth or iter_*.pth of the work '
            'directory, or start anew from its weights: --cfg-options load_from=…'
        )


def read_checkpoint(path: str, setting: str, advice: str, device: str = 'cpu') -> dict:
    """The dict in a file, read as data only.

    Args:
        path: A local file; ``~`` is expanded.
        setting: What the user calls the path.
        advice: What to do if the file is missing or wrong.
        device: Where the tensors go.

    Raises:
        InputError: As :func:`read_state_dict`.
    """
    file = Path(path).expanduser()
    _check_is_there(f'{setting}={path!r}', file, advice)
    if is_safetensors(file):
        return read_safetensors(file, device)
    _check_looks_like_checkpoint(file, advice)
    content = _load(file, device)
    if not isinstance(content, dict):
        raise InputError(
            f'{file} holds a {type(content).__name__}, but a checkpoint is a '
            "dict with its tensors under 'state_dict'. Save it with mmengine, "
            "or as {'state_dict': model.state_dict()}."
        )
    return content


def _check_is_there(given: str, file: Path, advice: str) -> None:
    if '://' in given:
        raise InputError(
            f'{given} is an address, but only local files are read. '
            'Download it first and name the file.'
        )
    if file.is_dir():
        found = some_of(sorted(entry.name for entry in file.glob('*.pth')))
        raise InputError(
            f'{given} is a folder, but one file is needed. It holds '
            f'these .pth files: {found}.'
        )
    if file.is_file():
        return
    # The configs write into work_dirs/<name of the config>.
    maker = file.parent.name + '.py'
    roots = (PACKAGE.parent / 'configs', PACKAGE / '.mim' / 'configs')
    configs = [hit for root in roots for hit in sorted(root.rglob(maker))]
    hint = ''
    if configs:
        made_by = configs[0]
        if made_by.is_relative_to(PACKAGE.parent):
            made_by = made_by.relative_to(PACKAGE.parent)
        hint = f' This command makes it: python tools/train.py {made_by}.'
    elif file.parent.is_dir():
        found = some_of(sorted(entry.name for entry in file.parent.glob('*.pth')))
        hint = f' That folder holds these .pth files: {found}.'
    raise InputError(f'{given} does not exist.{hint} {advice}')


def _check_looks_like_checkpoint(file: Path, advice: str) -> None:
    """Files of torch are zip archives, before torch 1.6 plain pickles."""
    with file.open('rb') as stream:
        head = stream.read(512)
    if head.startswith(b'PK\x03\x04'):
        if not zipfile.is_zipfile(file):
            raise InputError(
                f'{file} ({file.stat().st_size} bytes) is cut short: it begins like '
                'a checkpoint but its end is missing. Copy or download it again, '
                'or use the checkpoint before it.'
            )
        return
    if head.startswith(b'\x80'):
        return
    kind = f'its first bytes are {head[:16]!r}'
    if not head:
        kind = 'it is empty'
    elif head.lstrip().lower().startswith((b'<!doctype', b'<html', b'<?xml')):
        kind = 'it is a web page, as a failed download leaves behind'
    elif head.startswith(b'version https://git-lfs'):
        kind = 'it is a Git LFS pointer; `git lfs pull` brings the file itself'
    raise InputError(
        f'{file} is not a checkpoint: {kind}. A checkpoint is a file that '
        f'torch.save wrote. {advice}'
    )


def _load(file: Path, device: str):
    """``torch.load`` without running code that the file brings along."""
    try:
        _check_sums(file)
        if not hasattr(torch.serialization, 'safe_globals'):  # before torch 2.5
            return torch.load(file, map_location=device, pickle_module=data_pickle)
        with trusted_types():
            return torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # damage surfaces as any kind of exception
        needed = re.search(r'GLOBAL (\S+) was not', str(error))
        if isinstance(error, UnpicklingError) and needed:
            raise InputError(
                f'{file} holds an object of {needed[1]}, whose loading would run '
                'code, and a checkpoint is read as data only. If you trust the '
                "file, rewrite it once: torch.save({'state_dict': torch.load(FILE, "
                "weights_only=False)['state_dict']}, NEW_FILE)."
            ) from error
        reason = str(error).split('WeightsUnpickler error: ')[-1].split('\n')[0]
        raise InputError(
            f'{file} is damaged, or torch.save did not write it: it cannot be read '
            f'({type(error).__name__}: {reason}). Copy or download it again.'
        ) from error


def _check_sums(file: Path) -> None:
    """Compare the checksums; torch loads overwritten numbers without a word."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f'the checksum of {damaged} in it is wrong')


def some_of(names: list, most: int = 5) -> str:
    """At most ``most`` of the names, and how many there are more."""
    text = ', '.join(map(str, names[:most])) or 'none'
    return text + (f' and {len(names) - most} more' if len(names) > most else '')
