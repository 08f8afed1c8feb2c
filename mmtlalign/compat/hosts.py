"""Which host libraries are installed, and whether they fit together."""

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

# Import name: the distributions that put their files there, by stack.
DISTRIBUTIONS = {
    'mmengine': (('mmengine', 'mmengine-lite'), ('onedl-mmengine',)),
    'mmcv': (('mmcv', 'mmcv-lite', 'mmcv-full'), ('onedl-mmcv',)),
    'mmpretrain': (('mmpretrain',), ('onedl-mmpretrain',)),
    'mmdet': (('mmdet',), ('onedl-mmdetection',)),
    'mmseg': (('mmsegmentation',), ('onedl-mmsegmentation',)),
}


def installed(distribution):
    """Version of an installed distribution, or None."""
    try:
        return distribution_version(distribution)
    except PackageNotFoundError:
        return None


def host_version(name):
    """Version of a host without importing it.

    The literal in its `version.py` is the truth: it also holds for a host on
    PYTHONPATH. The onedl hosts have none there and ask their distribution.

    Args:
        name (str): import name, a key of `HOSTS`.

    Returns:
        str or None: the version; None where it is not installed or hides it.
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
    owners = [d for stack in DISTRIBUTIONS.get(name, ()) for d in stack] or [name]
    return next(filter(None, map(installed, owners)), None)


def release(version):
    """The leading numbers of a version: '2.11.0+cu130' -> (2, 11, 0)."""
    return tuple(
        int(part) for part in re.match(r'\d+(?:\.\d+)*', version)[0].split('.')
    )


def clashes():
    """Distributions that overwrite each other or come from both stacks.

    Returns:
        tuple: (classic, onedl), the lists of installed distribution names of
        each stack if both are there, else two empty lists. Two distributions of
        one stack for one import name (mmcv and mmcv-lite) count too.
    """
    classic, onedl, twins = [], [], []
    for ours, theirs in DISTRIBUTIONS.values():
        here = [d for d in ours if installed(d)]
        classic += here
        onedl += [d for d in theirs if installed(d)]
        twins += here if len(here) > 1 else []
    if classic and onedl:
        return classic, onedl
    return twins, []


def check_hosts():
    """Check the hosts that are installed.

    Raises:
        ImportError: one message with every host that is too old, or the
            distributions that do not go together, and what to do.

    Warns:
        UserWarning: one message with the hosts newer than tested.
    """
    classic, onedl = clashes()
    if classic:
        found = ', '.join(classic + onedl)
        raise ImportError(
            f'mmtlalign: {found} are installed together, but they write '
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
    remedy = 'The versions that work together are in requirements/.'
    if old:
        raise ImportError(f'mmtlalign: {"; ".join(old)}. {remedy}')
    if new:
        warnings.warn(f'mmtlalign: {"; ".join(new)}. {remedy}', stacklevel=2)
