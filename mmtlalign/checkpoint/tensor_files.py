"""Write tensors to a file, whole or not at all; read and write safetensors.

The suffix says the form: ``.safetensors`` holds tensors and strings and can run
no code; ``.pth`` (or ``.pt``, ``.bin``, ``.tar``) is what torch saves.
"""

import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmtlalign.errors import InputError

SAFE = '.safetensors'
TORCH = ('.pth', '.pt', '.bin', '.tar')


def is_safetensors(path: str | Path) -> bool:
    """Whether the suffix of a file says so."""
    return str(path).endswith(SAFE)


def check_target(path: str | Path) -> Path:
    """A file that can be written: it does not exist, and its suffix is known.

    Raises:
        InputError: It exists, or another suffix.
    """
    file = Path(path).expanduser()
    if file.exists():
        raise InputError(f'{file} is there already; name a new file, or remove it.')
    if file.suffix not in (SAFE, *TORCH):
        raise InputError(
            f'{file}: the suffix says what is written, {SAFE} or {", ".join(TORCH)}, '
            f'but it is {file.suffix!r}. Name a file with one of these.'
        )
    if is_safetensors(file):
        _safetensors()
    return file


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    meta: Mapping,
    key: str = 'state_dict',
) -> None:
    """Write a new file; if that fails, no part of it is left.

    Args:
        path: File to write, see :func:`check_target`. Its folder is made.
        tensors: By name.
        meta: Plain values. ``.pth`` has them under ``meta``; safetensors has strings
            only, so each value is written as JSON under its own name.
        key: What a ``.pth`` file has the tensors under. Safetensors has them bare.

    Raises:
        InputError: As :func:`check_target`.
    """
    file = check_target(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Memory of their own, in order: safetensors asks for it, and torch would write
    # all of what a view looks at.
    apart = {
        name: value.detach().clone().contiguous() for name, value in tensors.items()
    }
    if not is_safetensors(file):
        with _whole(file) as part:
            torch.save({key: apart, 'meta': dict(meta)}, part)
        return
    strings = {name: json.dumps(value) for name, value in meta.items()}
    with _whole(file) as part:
        # 'pt' is what readers of Hugging Face look for.
        _safetensors().torch.save_file(apart, part, {'format': 'pt', **strings})


@contextmanager
def _whole(file: Path):
    """A name to write under, which becomes ``file`` if all went well."""
    part = file.with_name(f'.{file.name}.{os.getpid()}.part')
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def read_safetensors(file: Path, device: str = 'cpu') -> dict:
    """Tensors under ``state_dict`` and metadata under ``meta``, as in a ``.pth``.

    Raises:
        InputError: The file is damaged, or is not safetensors.
    """
    package = _safetensors()
    try:
        with package.safe_open(str(file), 'pt', device=device) as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            strings = stream.metadata() or {}
    except Exception as error:  # the Rust reader has an exception of its own
        raise InputError(
            f'{file} is not a whole safetensors file ({error}). Copy or download it '
            'again; a file that torch.save wrote has the suffix .pth.'
        ) from error
    return {'state_dict': tensors, 'meta': {k: _value(v) for k, v in strings.items()}}


# mmengine asks `torch.load` for every local file. With this, `init_cfg` of any host
# takes safetensors as well; addresses are left to their own loaders.
@CheckpointLoader.register_scheme(prefixes=r'(?!\w+://).*\.safetensors$', force=True)
def load_from_safetensors(filename: str, map_location=None) -> dict:
    """:func:`read_safetensors` for mmengine; onto the CPU unless told otherwise."""
    return read_safetensors(Path(filename).expanduser(), str(map_location or 'cpu'))


def _value(text: str):
    try:
        return json.loads(text)
    except ValueError:  # written by others, who need not write JSON
        return text


def _safetensors():
    try:
        import safetensors.torch
    except ImportError as error:
        raise InputError(
            'Reading or writing .safetensors needs the package safetensors, which is '
            'not installed: pip install safetensors, or use .pth.'
        ) from error
    return safetensors
