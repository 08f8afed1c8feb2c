"""Describe the machine, the versions and the code behind measured numbers."""

import ast
import hashlib
import io
import os
import platform
import subprocess
import tokenize
from importlib import metadata
from pathlib import Path
from typing import Any

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
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


# The code of a kind of job, relative to the top folder; training needs no evaluation.
SOURCES = {
    'training': ('mmtlalign', 'tools/train.py'),
    'evaluation': ('mmtlalign', 'tools/evaluation', 'tools/evaluate.py'),
}
NOT_OF_TRAINING = 'mmtlalign/evaluation'


def source_digest(root: Path, kind: str) -> str:
    """Return 12 hex digits that change with the code of training, or of evaluation.

    Unlike the commit, they do not change with docstrings, comments, tests, other tools
    and documentation.

    Args:
        root: Top folder of the project.
        kind: ``'training'`` or ``'evaluation'``.
    """
    digest = hashlib.sha256()
    for source in SOURCES[kind]:
        path = root / source
        for file in sorted(path.rglob('*.py')) if path.is_dir() else [path]:
            name = file.relative_to(root).as_posix()
            if kind == 'training' and name.startswith(NOT_OF_TRAINING):
                continue
            digest.update(name.encode())
            digest.update(bare_source(file.read_text(encoding='utf-8')).encode())
    return digest.hexdigest()[:12]


def bare_source(text: str) -> str:
    """Return Python source without docstrings, comments and blank lines."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            place = node.body[0]
            for row in range(place.lineno, place.end_lineno + 1):
                lines[row - 1] = ''
    return '\n'.join(line.rstrip() for line in lines if line.strip())
