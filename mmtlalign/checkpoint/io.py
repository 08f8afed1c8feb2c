"""Read checkpoint files as data, explain what is wrong with them, and write new ones.

For a web page saved as ``.pth``, ``torch.load`` raises a pickle error. The reader here
looks at the file first, so that the message says what is wrong and what to do.

The suffix gives the format: ``.safetensors`` holds tensors and strings and can run
no code; ``.pth`` (or ``.pt``, ``.bin``, ``.tar``) is what torch saves.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmtlalign.compat import data_pickle
from mmtlalign.compat.files import atomic_write
from mmtlalign.errors import InputError, some_of

SAFETENSORS = '.safetensors'
TORCH = ('.pth', '.pt', '.bin', '.tar')
PACKAGE = Path(__file__).resolve().parents[1]


# ------------------------------------------------------------------------ reading


def read_tensors(
    path: str,
    setting: str,
    advice: str,
    keys: Sequence[str] = ('state_dict',),
    bare: bool = True,
) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint of any code base onto the CPU.

    The file is a training checkpoint, a plain dict of tensors, or safetensors. None of
    its code is run.

    Args:
        path: A local file; ``~`` is expanded.
        setting: Name of the setting or option that gives the path, for messages.
        advice: What to do if the file is missing or wrong, for messages.
        keys: Entries that may hold the tensors; the first that exists is read.
            Defaults to ``('state_dict',)``. Safetensors files have no entries.
        bare: Whether the file may hold the tensors alone. Defaults to True.

    Returns:
        Tensors by name, with the version marks (``_metadata``) of the file.

    Raises:
        InputError: There is no such file, it is not a checkpoint, is damaged, holds
            objects whose loading would run code, or holds no tensors.
    """
    return tensors_in(read_checkpoint(path, setting, advice), path, keys, bare)


def tensors_in(
    content: dict,
    path: str,
    keys: Sequence[str] = ('state_dict',),
    bare: bool = True,
) -> dict[str, Tensor]:
    """Return the tensors of what :func:`read_checkpoint` read.

    Args:
        content: Content of the file.
        path: The file, for the message.
        keys, bare: Where the tensors may be, see :func:`read_tensors`.

    Raises:
        InputError: There are no tensors.
    """
    file = Path(path).expanduser()
    if is_safetensors(file) and bare:
        keys = ('state_dict',)
    found = [key for key in keys if key in content]
    tensors = content[found[0]] if found else content if bare else None
    all_tensors = isinstance(tensors, dict) and all(
        map(torch.is_tensor, tensors.values())
    )
    if not all_tensors or not tensors:
        raise InputError(
            f'{file} has no {" or ".join(map(repr, keys))} of tensors; its keys are '
            f'{some_of(list(content))}. Checkpoints of other code bases must first be '
            "rewritten as {'state_dict': tensors under mmpretrain's names}: "
            'tools/model_converters/convert_weights.py converts some of them.'
        )
    return tensors


def read_checkpoint(path: str, setting: str, advice: str, device: str = 'cpu') -> dict:
    """Read the dict in a file, as data only.

    Args:
        path: A local file; ``~`` is expanded.
        setting: Name of the setting or option that gives the path, for messages.
        advice: What to do if the file is missing or wrong, for messages.
        device: Device of the tensors. Defaults to ``'cpu'``.

    Raises:
        InputError: There is no such file, it is not a checkpoint, is damaged, or holds
            objects whose loading would run code.
    """
    file = Path(path).expanduser()
    _check_is_file(f'{setting}={path!r}', file, advice)
    if is_safetensors(file):
        return read_safetensors(file, device)
    _check_format(file, advice)
    content = _load(file, device)
    if not isinstance(content, dict):
        raise InputError(
            f'{file} holds a {type(content).__name__}, but a checkpoint is a '
            "dict with its tensors under 'state_dict'. Save it with mmengine, "
            "or as {'state_dict': model.state_dict()}."
        )
    return content


def _check_is_file(given: str, file: Path, advice: str) -> None:
    if '://' in given:
        raise InputError(
            f'{given} is an address, but only local files are read. '
            'Download it first and name the file.'
        )
    if file.is_dir():
        raise InputError(
            f'{given} is a folder, but one file is needed. It holds '
            f'these .pth files: {_checkpoints_in(file)}.'
        )
    if not file.is_file():
        hint = _command_for(file)
        if not hint and file.parent.is_dir():
            found = _checkpoints_in(file.parent)
            hint = f' That folder holds these .pth files: {found}.'
        raise InputError(f'{given} does not exist.{hint} {advice}')


def _checkpoints_in(folder: Path) -> str:
    return some_of(sorted(file.name for file in folder.glob('*.pth')))


def _command_for(file: Path) -> str:
    """Return a sentence with the command that makes a missing checkpoint, or ''.

    Runs write into ``work_dirs/NAME_OF_THE_CONFIG``.
    """
    for root in (PACKAGE.parent / 'configs', PACKAGE / '.mim' / 'configs'):
        for config in sorted(root.rglob(f'{file.parent.name}.py')):
            path = config.relative_to(PACKAGE.parent)
            return f' This command makes it: python tools/train.py {path}.'
    return ''


def _check_format(file: Path, advice: str) -> None:
    """Check that a file is a zip archive, or a plain pickle as before torch 1.6."""
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
        kind = 'it is a web page, probably from a failed download'
    elif head.startswith(b'version https://git-lfs'):
        kind = 'it is a Git LFS pointer; `git lfs pull` brings the file itself'
    raise InputError(
        f'{file} is not a checkpoint: {kind}. A checkpoint is a file that '
        f'torch.save wrote. {advice}'
    )


def _load(file: Path, device: str) -> Any:
    """Run ``torch.load`` without running code of the file."""
    try:
        _check_sums(file)
        if not hasattr(torch.serialization, 'safe_globals'):  # before torch 2.5
            return torch.load(file, map_location=device, pickle_module=data_pickle)
        with data_pickle.trusted_types():
            return torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file may raise any kind of exception
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
    """Compare the checksums of the archive, which torch does not do."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f'the checksum of {damaged} in it is wrong')


# -------------------------------------------------------------------- safetensors


def is_safetensors(path: str | Path) -> bool:
    """Return whether a file has the suffix of safetensors."""
    return str(path).endswith(SAFETENSORS)


def read_safetensors(file: Path, device: str = 'cpu') -> dict:
    """Read tensors under ``state_dict`` and metadata under ``meta``, as in a ``.pth``.

    Args:
        file: The file.
        device: Device of the tensors. Defaults to ``'cpu'``.

    Raises:
        InputError: The file is damaged, or is not safetensors.
    """
    package = _safetensors()
    try:
        with package.safe_open(str(file), 'pt') as stream:  # knows no 'meta' device
            tensors = {k: stream.get_tensor(k).to(device) for k in list(stream.keys())}
            strings = stream.metadata() or {}
    except Exception as error:  # safetensors has an exception class of its own
        raise InputError(
            f'{file} is not a whole safetensors file ({error}). Copy or download it '
            'again; a file that torch.save wrote has the suffix .pth.'
        ) from error
    meta = {name: _from_json(text) for name, text in strings.items()}
    return {'state_dict': tensors, 'meta': meta}


# mmengine calls `torch.load` for every local file. With this, `init_cfg` takes
# safetensors as well; URLs keep their own loaders.
@CheckpointLoader.register_scheme(prefixes=r'(?!\w+://).*\.safetensors$', force=True)
def load_from_safetensors(filename: str, map_location: Any = None) -> dict:
    """Read safetensors for mmengine, onto the CPU by default."""
    return read_safetensors(Path(filename).expanduser(), str(map_location or 'cpu'))


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # written by others, who need not write JSON
        return text


def _safetensors() -> ModuleType:
    try:
        import safetensors.torch
    except ImportError as error:
        raise InputError(
            'Reading or writing .safetensors needs the package safetensors, which is '
            'not installed: pip install safetensors, or use .pth.'
        ) from error
    return safetensors


# ------------------------------------------------------------------------ writing


def check_target(path: str | Path) -> Path:
    """Check that a file does not exist yet, and that its suffix is known.

    Raises:
        InputError: It exists, or has another suffix.
    """
    file = Path(path).expanduser()
    if file.exists():
        raise InputError(f'{file} already exists; name a new file, or remove it.')
    if file.suffix not in (SAFETENSORS, *TORCH):
        raise InputError(
            f'{file}: the suffix selects the format, {SAFETENSORS} or '
            f'{", ".join(TORCH)}, but it is {file.suffix!r}. Name a file with one of '
            'these.'
        )
    if is_safetensors(file):
        _safetensors()
    return file


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    key: str = 'state_dict',
) -> None:
    """Write a new file; if that fails, no part of it is left.

    Args:
        path: File to write, see :func:`check_target`. Its folder is made.
        tensors: Tensors by name.
        meta: Plain values. ``.pth`` has them under ``meta``; safetensors has strings
            only, so each value is written as JSON under its own name.
        key: Entry of a ``.pth`` file for the tensors. Safetensors has no entries.

    Raises:
        InputError: The file exists, or its suffix is not known.
    """
    file = check_target(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Contiguous copies: safetensors requires them, and torch would write the whole
    # storage of a view.
    copies = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    with atomic_write(file) as part:
        if is_safetensors(file):
            # Readers of Hugging Face expect the format 'pt'.
            strings = {name: json.dumps(value) for name, value in meta.items()}
            _safetensors().torch.save_file(copies, part, {'format': 'pt', **strings})
        else:
            torch.save({key: copies, 'meta': dict(meta)}, part)


def hash_tensors(tensors: Mapping[str, Tensor], types: bool = True) -> str:
    """Return the SHA-256 over names and bytes of tensors, in the order of names.

    Args:
        tensors: Tensors by name.
        types: Whether dtypes and shapes are hashed as well, as in the ``sha256`` of
            exported files. Defaults to True.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        head = f'{name} {value.dtype} {tuple(value.shape)}\n' if types else name
        total.update(head.encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
