"""Explain in one line which dict of a config could not be built, and why."""

import contextlib
import difflib
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from mmtlalign import errors

BUILDERS = ('build_from_cfg', 'build_model_from_cfg', 'build_runner_from_cfg')


@contextlib.contextmanager
def explained_builds() -> Iterator[None]:
    """Turn errors while a config is built into one line that names the dict.

    Errors of files and of memory are left as they are, and so are those for which
    ``short_errors`` has a message of its own.

    Raises:
        InputError: Something of the config could not be built.
    """
    try:
        yield
    except (errors.InputError, OSError, MemoryError):
        raise
    except Exception as error:
        known = (*errors.MISSPELT, 'end should be larger than begin', 'CUDA')
        if any(sign in str(error) for sign in known):
            raise
        fault = explain_building(error)
        if fault is None:
            raise
        raise errors.InputError(f'{fault}. Correct it.') from error


def explain_building(error: BaseException) -> str | None:
    """Return what could not be built of the config, or None if nothing was built.

    Args:
        error: The error that ended the run.
    """
    # mmengine re-raises errors of hooks; the cause has the frames.
    inner = error.__cause__ or error.__context__
    errors_of = [error, inner] if inner else [error]
    frames = [f for e in errors_of for f, _ in traceback.walk_tb(e.__traceback__)]
    whole = next((found for frame in frames if (found := _config_of(frame))), None)
    place, kind = '', ''
    for frame in frames:
        code, given = frame.f_code.co_name, None
        if code in BUILDERS:
            given = frame.f_locals.get('cfg')
        elif code == 'initialize':
            given = frame.f_locals.get('init_cfg')
        elif code == 'init_weights':
            place = place or 'init_cfg of the model'
        elif code.startswith('build_'):
            place = place or code.removeprefix('build_')
            continue
        if given is None:
            continue
        if isinstance(given, Mapping) and given.get('type'):
            kind = str(getattr(given['type'], '__name__', given['type']))
        place = _path_of(given, whole) or place
    if not place and not kind:
        return None
    optimizer = _get(whole, 'optim_wrapper', 'optimizer', 'type')
    if place == 'optim_wrapper' and isinstance(optimizer, str):
        kind = f'optimizer {optimizer}'
    text = ' '.join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError) and error.args:
        text = f'it needs {" ".join(str(error.args[0]).split())!r}'
    text = text if len(text) < 400 else f'{text[:400]} …'
    # The place where it was raised, for users whose own class failed.
    last = frames[-1]
    text += f' ({type(error).__name__}, {last.f_code.co_filename}:{last.f_lineno})'
    of = f' ({kind})' if kind and kind != place else ''
    return f'{place or kind}{of} cannot be built: {text}'


def name_near_type(message: str) -> str:
    """Return a registry's message about an unknown type, with the nearest known name.

    Args:
        message: Message of the registry; any other text is returned as it is.
    """
    name, sign, rest = message.partition(' is not in the ')
    of, registry, _ = rest.partition(' registry')
    # Loaded, since one of its registries said this.
    host = sys.modules.get('mmengine.registry')
    if not sign or not registry or host is None:
        return message
    owners = {
        one
        for name_of, module in list(sys.modules.items())
        if name_of.endswith('.registry')
        for one in vars(module).values()
        if isinstance(one, host.Registry) and one.name == of.rpartition('::')[2]
    }
    known = {
        f'{owner.scope}.{kind}' if '.' in name else kind
        for owner in owners
        for kind in owner.module_dict
    }
    near = difflib.get_close_matches(name, sorted(known), n=1)
    hint = (
        f"Did you mean '{near[0]}'?" if near else 'Import the module that registers it.'
    )
    return f"type='{name}' is not in the {of} registry. {hint}"


def _config_of(frame: FrameType) -> Any:
    """Return the whole config that a runner was built with."""
    owner = frame.f_locals.get('self')
    found: Any = getattr(owner, 'cfg', None) if hasattr(owner, 'train_loop') else None
    found = found if found is not None else frame.f_locals.get('cfg')
    if not isinstance(found, Mapping) and not hasattr(found, 'to_dict'):
        return None
    whole: Any = found
    return whole if 'model' in whole and 'work_dir' in whole else None


def _get(node: Any, *path: str) -> Any:
    for key in path:
        node = (node.get(key) if hasattr(node, 'get') else None) or {}
    return node


def _path_of(part: Any, whole: Any) -> str | None:
    """Return the dotted path of a dict, or of a list of dicts, in a config."""
    if whole is None or not isinstance(part, (Mapping, list, tuple)):
        return None
    for path, node in _dicts(whole):
        if node is part or node == part:
            return path
    return None


def _dicts(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    items: Any = ()
    if isinstance(node, Mapping) or hasattr(node, 'to_dict'):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    if path:
        yield path, node
    for key, child in items:
        yield from _dicts(child, f'{path}.{key}'.lstrip('.'))
