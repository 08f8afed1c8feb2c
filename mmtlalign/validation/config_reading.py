"""Read a config file and the source of all its bases, with errors of one line."""

import ast
import os.path as osp
import re
import traceback
from typing import NamedTuple

from mmengine.config import Config
from mmengine.fileio import load

from mmtlalign.compat.own_configs import read_own_configs
from mmtlalign.errors import InputError

# mmengine's message where a child config has a dict and the base a list or a number.
INHERIT = re.compile(
    r'\S*?(\w+)=\{.*\} (?:in child config )?cannot inherit from base because '
    r".* but is of type <class '([\w.]+)'> in base"
)


def read_config(path: str) -> Config:
    """Read a config file with its bases.

    Raises:
        InputError: There is no such file, or it cannot be read; the message is one
            line.
    """
    if not osp.isfile(path):
        raise InputError(f"config '{path}' does not exist; check the path")
    read_own_configs()
    try:
        return Config.fromfile(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(explain_reading(error, path)) from error


def explain_reading(error: Exception, path: str) -> str:
    """Return in one line why a config could not be read, and what to do."""
    message = ' '.join(str(error).split())
    if match := INHERIT.match(message):
        name, base = match.groups()
        kind = base.rpartition('.')[2]
        if kind in ('list', 'tuple'):
            return (
                f"config {path}: '{name}' is a dict here but a list in the base. Write "
                'the whole list, or change its items in a loop over _base_ '
                '(docs/own_data.md shows both).'
            )
        return (
            f"config {path}: '{name}' is a dict here but {kind} in the base. Add "
            '_delete_=True to the dict to replace it.'
        )
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == path or frame.filename == osp.abspath(path)
    ]
    if isinstance(error, SyntaxError) and error.lineno:
        lines = [error.lineno]
    place = f', line {lines[-1]}' if lines else ''
    kind = type(error).__name__
    return f'config {path}{place} cannot be read: {message} ({kind}). Correct it.'


class Source(NamedTuple):
    """The names in the source of one config file.

    Attributes:
        path: The file.
        sets: Names assigned at its top level.
        reads: Names that its own code uses.
        base_reads: Names taken from its bases as ``_base_.name``.
    """

    path: str
    sets: set[str]
    reads: set[str]
    base_reads: set[str]

    @property
    def is_data(self) -> bool:
        """Whether the file holds values alone, with neither a base nor code."""
        return '_base_' not in self.sets and not self.sets & self.reads


def read_sources(path: str) -> list[Source]:
    """Read a Python, JSON or YAML config and all its bases.

    Returns:
        Bases before the files that use them. Empty for the lazy style (``read_base``),
        which imports every name of a base.
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
        return Source(path, set(load(path)), set(), base_reads)
    # mmengine fills in what else is in double braces, which need not be Python, such
    # as {{$VARIABLE:default}}.
    tree = ast.parse(re.sub(r'\{\{.*?\}\}', '0', text), path)
    reads = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                reads.add(name)
            case ast.Attribute(value=ast.Name(id='_base_'), attr=name):
                base_reads.add(name)
            case ast.Subscript(
                value=ast.Name(id='_base_'), slice=ast.Constant(value=name)
            ):
                base_reads.add(name)
    # Names of loops and imports are not settings, so only assignments count.
    sets = {
        node.id
        for statement in tree.body
        if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign))
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return Source(path, sets, reads, base_reads)
