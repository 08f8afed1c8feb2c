"""Report of the check of a data folder: one table, and remedies."""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

# Number of names shown of many.
SHOWN = 3


@dataclass(frozen=True)
class Row:
    """One thing that was checked.

    Attributes:
        what: Its name.
        found: What was found.
        expected: What should be there.
        verdict: ``'ok'``, ``'part'`` (less than published, which is allowed),
            ``'wrong'`` or ``'missing'``.
        remedy: What to do about it.
    """

    what: str
    found: str
    expected: str
    verdict: str
    remedy: str = ''


@dataclass
class CheckReport:
    """Rows of the check of one data folder.

    Attributes:
        root: Data folder.
        subset: Whether a part of the published data is enough.
        full: Whether every file is decoded, rather than a sample.
        again: What to do about files that are broken.
        rows: Results so far.
    """

    root: Path
    subset: bool = False
    full: bool = False
    again: str = 'unpack them again'
    rows: list[Row] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong or missing."""
        return all(row.verdict in ('ok', 'part') for row in self.rows)

    @property
    def is_part(self) -> bool:
        """Whether something is less than published."""
        return any(row.verdict == 'part' for row in self.rows)

    def count(self, what: str, found: int, expected: int, remedy: str = '') -> None:
        """Compare a number with the published one."""
        verdict = 'ok' if found == expected else 'wrong'
        if not found:
            verdict = 'missing'
        elif found < expected and self.subset:
            verdict = 'part'
        if found < expected and verdict == 'wrong' and not remedy:
            remedy = 'unpack the archive again; if you want only a part: --subset'
        self.rows.append(Row(what, f'{found:,}', f'{expected:,}', verdict, remedy))

    def faults(self, what: str, names: list, checked: int, remedy: str = '') -> None:
        """Report the files that have a fault.

        Args:
            what: Fault.
            names: Files that have it, with the reason if there is one.
            checked: Number of files that were checked.
            remedy: What to do.
        """
        shown = '; '.join(map(str, names[:SHOWN]))
        more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
        found = f'{len(names)}: {shown}{more}' if names else f'0 of {checked:,}'
        verdict = 'wrong' if names else 'ok'
        self.rows.append(Row(what, found, '0', verdict, remedy if names else ''))

    def exists(self, path: str, remedy: str = '') -> bool:
        """Return whether a file or folder exists; report it if not."""
        if (self.root / path).exists():
            return True
        self.rows.append(Row(path, 'not there', 'there', 'missing', remedy))
        return False

    def show(self, console: Console) -> None:
        """Print the rows as a table, and below it what to do."""
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        table.add_column('what')
        table.add_column('expected', justify='right')
        table.add_column('')
        table.add_column('found', overflow='fold')
        for row in self.rows:
            alarm = row.verdict in ('wrong', 'missing')
            verdict = row.verdict.upper() if alarm else row.verdict
            cells = row.what, row.expected, verdict, row.found
            table.add_row(*cells, style='bold red' if alarm else None)
        console.print(table)
        remedies = [f'  {row.what}: {row.remedy}' for row in self.rows if row.remedy]
        if remedies:
            console.print('\nWhat to do:', *remedies, sep='\n')
