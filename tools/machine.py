"""Describe the machine, the versions and the code behind measured numbers."""

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTIONS = [
    *('torch', 'timm', 'numpy', 'scikit-learn', 'pillow', 'mmtlalign'),
    *('mmcv', 'onedl-mmcv', 'mmcv-lite', 'mmengine', 'onedl-mmengine'),
    *('mmpretrain', 'onedl-mmpretrain', 'mmdet', 'onedl-mmdetection'),
    *('mmsegmentation', 'onedl-mmsegmentation'),
]


def describe_machine() -> dict[str, Any]:
    """Return the cores of this process, the processor, the load and the system."""
    return dict(
        cores=len(os.sched_getaffinity(0)),
        processor=processor(),
        load_average=[round(load, 2) for load in os.getloadavg()],
        system=platform.platform(),
        python=platform.python_version(),
    )


def processor() -> str:
    """Return the name of the processor."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(':', 1)[1] for line in lines if line.startswith('model name')]
    return names[0].strip() if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of the installed distributions that numbers depend on."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def code_version(root: Path) -> str:
    """Return the commit of the code, and whether files were changed since.

    Args:
        root: Top folder of the project.

    Returns:
        The commit; without git the version of the package.
    """
    try:
        commit, changed = (
            subprocess.run(
                ['git', '-C', str(root), *words],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for words in (['rev-parse', 'HEAD'], ['status', '--porcelain', '-uno'])
        )
    except (OSError, subprocess.CalledProcessError):
        return 'version ' + versions().get('mmtlalign', 'unknown')
    return commit[:12] + (' with changes' if changed else '')


# The code that training and evaluation run, relative to the top folder.
SOURCES = ('mmtlalign', 'tools/evaluation', 'tools/evaluate.py', 'tools/train.py')


def source_digest(root: Path) -> str:
    """Return 12 hex digits that change with the code of training and evaluation.

    Unlike the commit, they do not change with documentation, tests or other tools.

    Args:
        root: Top folder of the project.
    """
    digest = hashlib.sha256()
    for source in SOURCES:
        path = root / source
        files = sorted(path.rglob('*.py')) if path.is_dir() else [path]
        for file in files:
            digest.update(str(file.relative_to(root)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
