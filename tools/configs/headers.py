"""The comment at the top of every recipe: title, command, results, cost and sources.

    # DeiT-S with TL-Align on ImageNet-1k, from scratch.
    #   bash tools/dist_train.sh configs/tlalign/NAME.py 8 --amp
    # Expected: top-1 80.6 (plain DeiT 79.8), from the official README.
    # Measured: not yet.
    # Cost: not measured by us.
    # Source: official TL-Align script and ICCV 2023, §4.1.
    # Ours: see schedules/deit_300e.py.

`Expected` quotes published results, with their source. `Measured` has our own results,
with the seeds and the page that states the command, or begins with `not yet`. `Cost` is
the cost of training. `Source` says where the settings come from, and `Ours` lists the
choices that no source states. Tables and metafiles are generated from these lines, so
change numbers only there.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

FIELDS = ('expected', 'measured', 'cost', 'source', 'ours')
MARK = '# Made by tools/configs/generate.py: change its tables, not this file.'
WIDTH = 88


@dataclass
class Header:
    """The opening comment of a recipe; `run` holds the lines of its commands."""

    title: str
    run: list[str]
    expected: str
    measured: str
    cost: str
    source: str
    ours: str

    def render(self) -> str:
        """Return the comment, wrapped."""
        fields = [f'{name.title()}: {getattr(self, name)}' for name in FIELDS]
        lines = [
            *wrap(self.title),
            *(f'# {line}'.rstrip() for line in self.run),
            *(line for field in fields for line in wrap(field)),
        ]
        return '\n'.join(lines) + '\n'


def wrap(text: str) -> list[str]:
    """Break a text into lines of a comment, without breaking names and paths."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent='# ',
        subsequent_indent='# ',
        break_long_words=False,
        break_on_hyphens=False,
    )


def read_header(path: Path) -> Header:
    """Read the opening comment of a recipe.

    Raises:
        ValueError: If it does not have the form above.
    """
    text = path.read_text(encoding='utf-8').removeprefix(f'{MARK}\n')
    lines = [
        line[1:].removeprefix(' ') for line in text.split('\n_base_')[0].split('\n')
    ]
    parts, part = {'title': [], 'run': []}, 'title'
    for line in lines:
        name = line.partition(':')[0].lower()
        if name in FIELDS and line[0].isupper():
            part, line = name, line.partition(':')[2]
        elif part == 'title' and line.startswith('  '):
            part = 'run'
        parts.setdefault(part, []).append(line if part == 'run' else line.strip())
    if list(parts) != ['title', 'run', *FIELDS]:
        raise ValueError(
            f'{path}: the header has the parts {list(parts)} instead of title, run, '
            f'{FIELDS}'
        )
    run = parts.pop('run')
    return Header(run=run, **{name: ' '.join(text) for name, text in parts.items()})
