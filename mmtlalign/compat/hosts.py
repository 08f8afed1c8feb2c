"""Check that the installed host libraries fit together, without importing them."""

import re
import warnings
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from importlib.util import find_spec
from pathlib import Path

# Import name: oldest version that works, newest that was tested. Both ends are
# the pins of requirements/: the classic and the onedl stack.
HOSTS = {
    'torch': ('2.1.2', '2.11.0'),
    'mmengine': ('0.10.7', '0.10.12'),
    'mmcv': ('2.1.0', '2.3.6'),
    'mmpretrain': ('1.2.0', '1.3.6'),
    'mmdet': ('3.3.0', '3.5.1'),
    'mmseg': ('1.2.2', '1.4.2'),
}
# By stack, import name: the distributions that put their files there, the pinned one
# first.
DISTRIBUTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    'classic': {
        'mmengine': ('mmengine', 'mmengine-lite'),
        'mmcv': ('mmcv', 'mmcv-lite', 'mmcv-full'),
        'mmpretrain': ('mmpretrain',),
        'mmdet': ('mmdet',),
        'mmseg': ('mmsegmentation',),
    },
    'onedl': {
        'mmengine': ('onedl-mmengine',),
        'mmcv': ('onedl-mmcv',),
        'mmpretrain': ('onedl-mmpretrain',),
        'mmdet': ('onedl-mmdetection',),
        'mmseg': ('onedl-mmsegmentation',),
    },
}
REMEDY = 'The versions that work together are in requirements/.'


def check_hosts() -> None:
    """Check the hosts that are installed.

    Raises:
        ImportError: Hosts are too old, or distributions overwrite each other; one
            message names them all, and what to do.

    Warns:
        UserWarning: Hosts are newer than tested.
    """
    together = find_clashes()
    if together:
        raise ImportError(
            f'mmtlalign: {", ".join(together)} are installed together, but they write '
            'the same packages over each other. Make a new environment with one of '
            'them: bash tools/setup_env.sh onedl (or classic).'
        )
    old, new = [], []
    for name, (oldest, newest) in HOSTS.items():
        version = host_version(name)
        if version is None:
            continue
        if release(version) < release(oldest):
            old.append(f'{name} {version} is installed, {oldest} or newer is needed')
        elif release(version) > release(newest):
            new.append(f'{name} {version} is installed, tested up to {newest}')
    if old:
        raise ImportError(f'mmtlalign: {"; ".join(old)}. {REMEDY}')
    if new:
        warnings.warn(f'mmtlalign: {"; ".join(new)}. {REMEDY}', stacklevel=2)


def find_clashes() -> list[str]:
    """Return the installed distributions that do not go together.

    They come from both stacks, or are two of one stack for one import name, such as
    mmcv and mmcv-lite.
    """
    found = [
        [list(filter(installed, owners)) for owners in names.values()]
        for names in DISTRIBUTIONS.values()
    ]
    both = all(any(stack) for stack in found)
    return [
        name
        for stack in found
        for owners in stack
        for name in owners
        if both or len(owners) > 1
    ]


def host_version(name: str) -> str | None:
    """Return the version of a host without importing it.

    The literal in its `version.py` is the truth: it also holds for a host on
    PYTHONPATH. The onedl hosts have none there and ask their distribution.

    Args:
        name: Import name, a key of `HOSTS`.

    Returns:
        The version; None where it is not installed or hides it.
    """
    spec = find_spec(name)
    if spec is None or not spec.origin:
        return None
    file = Path(spec.origin).with_name('version.py')
    text = file.read_text(encoding='utf-8') if file.exists() else ''
    literal = re.search(
        r"^__version__\s*(?::.*)?=\s*['\"](\d[^'\"]*)", text, re.MULTILINE
    )
    if literal:
        return literal[1]
    owners = [d for names in DISTRIBUTIONS.values() for d in names.get(name, (name,))]
    return next(filter(None, map(installed, owners)), None)


def installed(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return distribution_version(distribution)
    except PackageNotFoundError:
        return None


def release(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: '2.11.0+cu130' -> (2, 11, 0)."""
    leading = re.findall(r'^\d[\d.]*', version)[0]
    return tuple(int(part) for part in leading.split('.') if part)
