"""Which compiled operators of mmcv the stock configs call: docs/mmcv_operators.md.

    python tools/analysis_tools/mmcv_operators.py                # of all stock configs
    python tools/analysis_tools/mmcv_operators.py CONFIG ...     # of these configs
    python tools/analysis_tools/mmcv_operators.py --write docs/mmcv_operators.md
    python tools/analysis_tools/mmcv_operators.py --check docs/mmcv_operators.md

The answer comes from the source of the classes that a config names, see reach.py.
All stock configs take a few minutes.
"""

import argparse
import logging
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine import Config

from tools.analysis_tools.reach import calls_of, simplify
from tools.output import insert_between, track

COMMAND = 'python tools/analysis_tools/mmcv_operators.py --write docs/mmcv_operators.md'
BEGIN = f'<!-- made by: {COMMAND} -->'
END = '<!-- end of the tables -->'
LIBRARIES = ('mmdet', 'mmseg', 'mmpretrain', 'mmtlalign')
MODES = {'loss': 'training', 'predict': 'testing'}
DEVICES = {'cuda': 'GPU', 'cpu': 'CPU'}
# Number of folder names in a cell of the first table.
SHOWN = 8

# Function of mmcv._ext: the modes and devices in which a model can call it.
Calls = Mapping[str, Collection[tuple[str, str]]]


class Answer(NamedTuple):
    """The operators that a config of a family, such as 'mmdet: faster_rcnn', needs."""

    family: str
    calls: Calls


# --- the configs --------------------------------------------------------------------


def stock_configs() -> list[tuple[str, Path, Path]]:
    """Return library, folder and file of all stock configs."""
    configs = []
    for library in LIBRARIES:
        folder = Path(import_module(library).__file__).parent / '.mim' / 'configs'
        if library == 'mmtlalign':
            folder = Path(__file__).resolve().parents[2] / 'configs'
        files = [f for f in folder.rglob('*.py') if '_base_' not in f.parts]
        configs += [(library, folder, file) for file in sorted(files)]
    return configs


def ask(
    configs: Sequence[tuple[str, Path, Path]],
) -> tuple[list[Answer], dict[str, str]]:
    """Return what configs with a model need, and errors of others by file."""
    answers, failures, known = [], {}, {}
    with track('configs', len(configs)) as advance:
        for library, folder, file in configs:
            advance(1)
            try:
                config = Config.fromfile(file)
                if 'model' not in config:
                    continue
                model = config.model
                if 'teacher_config' in model:  # of distillation
                    paths = (above / model.teacher_config for above in file.parents)
                    teacher = next(path for path in paths if path.is_file())
                    model.teacher = Config.fromfile(teacher).model
            except Exception as error:
                failures[f'{library}: {file.relative_to(folder)}'] = type(
                    error
                ).__name__
                continue
            scope = config.get('default_scope', library or 'mmdet')
            model = simplify(model)
            key = scope + repr(model)
            if key not in known:
                known[key] = calls_of(model, scope)
            family = f'{library or scope}: {file.relative_to(folder).parts[0]}'
            answers.append(Answer(family, known[key]))
    return answers, failures


# --- the tables ---------------------------------------------------------------------


def stem(function: str) -> str:
    """Return the operator that a function is the forward or backward pass of."""
    return re.sub(r'_(forward|backward).*$', '', function)


def code(names: Iterable[str]) -> str:
    """Return names as code, in order."""
    return ', '.join(f'`{name}`' for name in sorted(names))


def without_compiling(calls: Calls, supported: Collection[str]) -> str:
    """Return 'yes', 'no' or where a model works without a compiled mmcv."""
    missing = {
        place for name in calls if name not in supported for place in calls[name]
    }
    if not missing:
        return 'yes'
    modes, devices = map(set, zip(*missing))
    works = ['on a CPU'] * ('cpu' not in devices) + ['testing'] * (modes == {'loss'})
    if not works and ('predict', 'cpu') not in missing:
        works = ['testing on a CPU']
    return ', '.join(works) or 'no'


def operator_rows(
    answers: Sequence[Answer], supported: Collection[str]
) -> Iterator[list[str]]:
    """Yield the rows of the first table: what each operator is needed for."""
    functions, users, places = defaultdict(set), defaultdict(list), defaultdict(set)
    for answer in answers:
        for operator in {stem(name) for name in answer.calls}:
            users[operator].append(answer.family)
        for name, where in answer.calls.items():
            functions[stem(name)].add(name)
            places[stem(name)] |= where
    for operator in sorted(users, key=lambda name: (-len(users[name]), name)):
        modes, devices = map(set, zip(*places[operator]))
        families = sorted(set(users[operator]))
        more = f' and {len(families) - SHOWN} more' if len(families) > SHOWN else ''
        yield [
            code(functions[operator]),
            'no' if functions[operator] - set(supported) else 'yes',
            str(len(users[operator])),
            ', '.join(MODES[mode] for mode in MODES if mode in modes),
            ', '.join(DEVICES[device] for device in DEVICES if device in devices),
            list_families(families[:SHOWN]) + more,
        ]


def list_families(families: Iterable[str]) -> str:
    """Return 'library: folder' names with each library named once."""
    folders = defaultdict(list)
    for family in families:
        library, _, folder = family.partition(': ')
        folders[library].append(folder)
    return '; '.join(f'{library}: {", ".join(folders[library])}' for library in folders)


def family_rows(
    answers: Sequence[Answer], supported: Collection[str]
) -> Iterator[list[str]]:
    """Yield the rows of the second table: the folders that need the same operators."""
    sizes = Counter(answer.family for answer in answers)
    groups = defaultdict(Counter)
    for answer in answers:
        operators = frozenset(stem(name) for name in answer.calls)
        works = without_compiling(answer.calls, supported)
        groups[operators, works][answer.family] += 1
    order = sorted(groups, key=lambda key: (len(key[0]), sorted(key[0])))
    for operators, works in order:
        families = groups[operators, works]
        names = [
            name if count == sizes[name] else f'{name} ({count} of {sizes[name]})'
            for name, count in sorted(families.items())
        ]
        yield [
            code(operators) or 'none',
            works,
            str(families.total()),
            list_families(names),
        ]


def tables(
    answers: Sequence[Answer], failures: Mapping[str, str], supported: Collection[str]
) -> str:
    """Return both tables and what could not be loaded, as Markdown."""
    headings = (
        [
            'function of `mmcv._ext`',
            'without compiled mmcv',
            'configs',
            'called in',
            'on',
            'folders',
        ],
        ['operators', 'without compiled mmcv', 'configs', 'folders'],
    )
    blocks = []
    for own, rows in zip(headings, (operator_rows, family_rows)):
        lines = [own, ['---'] * len(own), *rows(answers, supported)]
        blocks.append('\n'.join(f'| {" | ".join(line)} |' for line in lines))
    unread = ''.join(f'\n* `{name}`: {why}' for name, why in sorted(failures.items()))
    if unread:
        blocks.append(f'Not answered, because they could not be loaded:\n{unread}')
    return '\n\n'.join(blocks)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, write or check the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='*', type=Path, metavar='CONFIG')
    parser.add_argument(
        '--supported',
        metavar='NAMES',
        help='comma-separated functions that work without a compiled mmcv (default: '
        'those of this package)',
    )
    page = parser.add_mutually_exclusive_group()
    page.add_argument(
        '--write', type=Path, metavar='PAGE', help='insert the tables into PAGE'
    )
    page.add_argument(
        '--check', type=Path, metavar='PAGE', help='fail if PAGE is not up to date'
    )
    options = parser.parse_args(arguments)
    if options.supported is None:
        supported = import_module('mmtlalign.compat.mmcv_ops').SUPPORTED
    else:
        supported = options.supported.split(',')
    given = [('', file.resolve().parent, file.resolve()) for file in options.configs]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            text = tables(*ask(given or stock_configs()), supported)
    finally:
        logging.disable(logging.NOTSET)
    file = options.write or options.check
    if file is None:
        print(text)
        return
    before = file.read_text(encoding='utf-8')
    after = insert_between(before, text, BEGIN, END)
    if options.write:
        file.write_text(after, encoding='utf-8')
    elif before != after:
        sys.exit(f'{file} is out of date. Run: {COMMAND}')


if __name__ == '__main__':
    main()
