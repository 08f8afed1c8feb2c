"""Check that the installed host libraries fit together, without importing them."""

import re
import warnings
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as distribution_version
from importlib.util import find_spec
from pathlib import Path

# Import name: oldest version that works, newest that was tested. They are the pins
# in requirements/ of the classic and the onedl stack; the newest torch is the one in
# the table of docs/install.md.
HOSTS = {
    'torch': ('2.1.2', '2.15.0'),
    'mmengine': ('0.10.7', '0.10.12'),
    'mmcv': ('2.1.0', '2.3.6'),
    'mmpretrain': ('1.2.0', '1.3.6'),
    'mmdet': ('3.3.0', '3.5.1'),
    'mmseg': ('1.2.2', '1.4.2'),
}
# Stack -> import name -> the distributions that install it, the pinned one first.
DISTRIBUTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    'classic': {
        'mmengine': ('mmengine', 'mmengine-lite'),
        'mmcv': ('mmcv-lite', 'mmcv', 'mmcv-full'),
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
# Stack -> the first mmcv that its mmdet and mmseg refuse, and the one to install.
REFUSED_MMCV = {
    'classic': ('2.2.0', 'mmcv-lite==2.1.0'),
    'onedl': ('2.4.0', 'onedl-mmcv==2.3.6'),
}
REMEDY = 'The versions that work together are in requirements/.'


def check_hosts() -> None:
    """Check the versions of the hosts that are installed.

    Raises:
        ImportError: Hosts are too old or incompatible, or distributions overwrite each
            other; the message says what to do.

    Warns:
        UserWarning: Hosts are newer than tested.
    """
    together = find_clashes()
    if together:
        raise ImportError(
            f'mmtlalign: {", ".join(together)} are installed together, but they '
            "overwrite each other's files. Make a new environment with one of them: "
            'bash tools/setup_env.sh onedl (or classic).'
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
    for problem in filter(None, (find_unfit_torchvision(), find_refused_mmcv())):
        raise ImportError(f'mmtlalign: {problem}')
    if new:
        warnings.warn(f'mmtlalign: {"; ".join(new)}. {REMEDY}', stacklevel=2)


def find_clashes() -> list[str]:
    """Return the installed distributions that exclude each other.

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


def find_unfit_torchvision() -> str | None:
    """Return what is wrong if torchvision was built for another torch, else None.

    Its operators then fail to load: "operator torchvision::nms does not exist".
    """
    torch, torchvision = host_version('torch'), installed('torchvision')
    if torch is None or torchvision is None:
        return None
    for line in requires('torchvision') or []:
        needed = re.match(r'torch\s*\(?(==|>=)\s*([\w.]+)', line)
        if needed is None:
            continue
        rule, built_for = needed.groups()
        fits = release(built_for) == release(torch)
        if not fits and (rule == '==' or release(torch) < release(built_for)):
            return (
                f'torchvision {torchvision} was built for torch {built_for}, but torch '
                f'{torch} is installed. Take the one that fits: '
                f'pip install --upgrade torchvision torch=={torch.partition("+")[0]}'
            )
    return None


def find_refused_mmcv() -> str | None:
    """Return what is wrong if the installed mmcv is too new for mmdet or mmseg."""
    version = host_version('mmcv')
    for stack, (below, pinned) in REFUSED_MMCV.items():
        owners = (DISTRIBUTIONS[stack][name][0] for name in ('mmdet', 'mmseg'))
        hosts = list(filter(installed, owners))
        if version and hosts and release(version) >= release(below):
            return (
                f'mmcv {version} is installed, but {" and ".join(hosts)} '
                f'cannot use {below} and newer. Take an older one: pip install {pinned}'
            )
    return None


def host_version(name: str) -> str | None:
    """Return the version of a host without importing it.

    The literal in its `version.py` comes first, because it also holds for a host on
    PYTHONPATH. The onedl hosts do not have one; their version is that of the
    distribution.

    Args:
        name: Import name, a key of `HOSTS`.

    Returns:
        The version; None if the host is not installed or the version is not found.
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
