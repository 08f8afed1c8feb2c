"""The table of backbones whose labels can be traced, as docs/backbones.md shows it.

    python tools/analysis_tools/list_models.py                            # print it
    python tools/analysis_tools/list_models.py --write docs/backbones.md  # insert it

It is made from what is registered in mmtlalign/tracing, for the hosts that are
installed; nothing is written by hand.
"""

import argparse
import functools
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.output import insert_between

# Imports of the hosts come after the command line is read.
COMMAND = 'python tools/analysis_tools/list_models.py --write docs/backbones.md'
BEGIN = f'<!-- made by: {COMMAND} -->'
END = '<!-- end of the table -->'
HOSTS = ('mmpretrain', 'mmdet', 'timm', 'mmtlalign')


@functools.cache
def registered() -> set[Any]:
    """Return all classes that mmpretrain and mmdet have registered."""
    import mmdet.registry
    import mmpretrain.registry

    import mmtlalign.backbones  # noqa: F401  (registers our own)

    hosts = (mmpretrain.registry, mmdet.registry)
    return {kind for host in hosts for kind in host.MODELS.module_dict.values()}


def host_of(cls: type) -> str:
    """Return the library that a class comes from."""
    return cls.__module__.partition('.')[0]


def names_of(cls: type, known: Collection[type]) -> list[str]:
    """Return a class and its host's subclasses that inherit all that is known of it."""
    from mmtlalign.tracing.unsupported import UNSUPPORTED

    heirs = [
        heir
        for heir in registered()
        if isinstance(heir, type)
        and issubclass(heir, cls)
        and next(c for c in heir.__mro__ if c in known) is cls
        and host_of(heir) == host_of(cls)
        and not any(c.__name__ in UNSUPPORTED for c in heir.__mro__)
    ]
    others = sorted(heir.__name__ for heir in heirs if heir is not cls)
    return [cls.__name__, *others]


def row_of(cls: type, known: Mapping[type, Any]) -> str:
    """Return a row of the table."""
    note = known[cls].note
    reads = []
    if 'class' in note:
        reads.append('class token')
    if 'learnt_weights' in note:
        reads.append('nothing')
    elif 'mean' in note:
        reads.append("`attention='received'`")
    names = ', '.join(f'`{name}`' for name in names_of(cls, known))
    return f'| {host_of(cls)} | {names} | {note} | {", or ".join(reads) or note} |'


def table() -> str:
    """Return all lines of the table, without the markers."""
    from mmtlalign.engine.console import filter_known_warnings

    filter_known_warnings()
    registered()
    from mmtlalign.tracing.support import supported_backbones

    known = supported_backbones()
    classes = sorted(known, key=lambda c: (HOSTS.index(host_of(c)), c.__name__))
    return '\n'.join(
        [
            '| from | backbone | output read at | TransMix reads |',
            '|---|---|---|---|',
            *(row_of(cls, known) for cls in classes),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--write',
        type=Path,
        metavar='PAGE',
        help='page to update, which must have both marker lines',
    )
    options = parser.parse_args(arguments)
    if options.write is None:
        print(table())
        return
    page = options.write.read_text(encoding='utf-8')
    page = insert_between(page, table(), BEGIN, END)
    options.write.write_text(page, encoding='utf-8')


if __name__ == '__main__':
    main()
