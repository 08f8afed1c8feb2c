"""Which top-level names do the files of a config set, and which do they read?

mmengine evaluates a config file by file and keeps only the values. Whether a
name such as ``crop_size`` is a variable of the file or a setting that nobody
reads is seen in the source alone.
"""

import ast
import os.path as osp
import re
from typing import NamedTuple

from mmengine.config import Config
from mmengine.fileio import load

__all__ = ['Source', 'read_sources']


class Source(NamedTuple):
    """One config file.

    ``sets``: names assigned at its top level; ``reads``: names that its own
    code uses; ``base_reads``: names taken from its bases as ``_base_.name``.
    """

    path: str
    sets: set[str]
    reads: set[str]
    base_reads: set[str]


def read_sources(path: str) -> list[Source]:
    """Read a config file and all its bases.

    Args:
        path (str): A Python, JSON or YAML config.

    Returns:
        list[Source]: Bases before the files that use them. Empty for the
        lazy style (``read_base``), whose bases hand on every name they have.
    """
    path = osp.abspath(path)
    if path.endswith('.py') and Config._is_lazy_import(path):
        return []
    sources = []
    for base in Config._get_base_files(path):
        sources += read_sources(Config._get_cfg_path(base, path)[0])
    return [*sources, parse(path)]


def parse(path: str) -> Source:
    """Parse one config file."""
    with open(path, encoding='utf-8') as file:
        text = file.read()
    base_reads = set(re.findall(r'\{\{\s*_base_\.(\w+)[\w.]*\s*\}\}', text))
    if not path.endswith('.py'):
        return Source(path, set(load(path)) - {'_base_'}, set(), base_reads)
    # What is left in double braces is filled in by mmengine and may be no
    # Python, as {{$VARIABLE:default}}.
    tree = ast.parse(re.sub(r'\{\{.*?\}\}', '0', text), path)
    sets, reads = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            reads.add(node.id)
        elif isinstance(node, ast.Attribute) and is_base(node.value):
            base_reads.add(node.attr)
        elif isinstance(node, ast.Subscript) and is_base(node.value):
            base_reads.add(getattr(node.slice, 'value', None))
    for statement in tree.body:
        # Names of loops and imports are no settings, and never end up as such
        # by mistake.
        if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    sets.add(node.id)
    return Source(path, sets, reads, base_reads)


def is_base(node: ast.AST) -> bool:
    """Whether an expression is the name ``_base_``."""
    return isinstance(node, ast.Name) and node.id == '_base_'
