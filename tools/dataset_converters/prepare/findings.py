"""What a check of a data folder found: rows of one readable table."""

from dataclasses import dataclass, field
from pathlib import Path

# Of many names, so many are shown.
SHOWN = 3


@dataclass(frozen=True)
class Row:
    """One thing that was looked at.

    Args:
        what (str): What it is.
        found (str): What is there.
        expected (str): What should be.
        verdict (str): ``'ok'``, ``'part'`` (less than published, and that is fine),
            ``'wrong'`` or ``'missing'``.
        remedy (str): What to do about it.
    """

    what: str
    found: str
    expected: str
    verdict: str
    remedy: str = ''


@dataclass
class Findings:
    """The rows of one check.

    Args:
        root (Path): The data folder.
        subset (bool): Whether a part of the published data is fine. Defaults to
            False.
        full (bool): Decode every file rather than a sample. Defaults to False.
    """

    root: Path
    subset: bool = False
    full: bool = False
    rows: list = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong or missing."""
        return all(row.verdict in ('ok', 'part') for row in self.rows)

    def count(self, what: str, found: int, expected: int, remedy: str = '') -> None:
        """Compare a number with the published one."""
        verdict = 'ok' if found == expected else 'wrong'
        if not found:
            verdict = 'missing'
        elif found < expected and self.subset:
            verdict = 'part'
        if found < expected and verdict == 'wrong' and not remedy:
            remedy = 'unpack the archive again; if a part is what you want: --subset'
        self.rows.append(Row(what, f'{found:,}', f'{expected:,}', verdict, remedy))

    def faults(self, what: str, names: list, looked: int, remedy: str = '') -> None:
        """Say which of some files have a fault.

        Args:
            what (str): The fault.
            names (list[str]): Those that have it, with the reason if there is one.
            looked (int): How many were looked at.
            remedy (str): What to do.
        """
        shown = '; '.join(map(str, names[:SHOWN]))
        more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
        found = f'{len(names)}: {shown}{more}' if names else f'0 of {looked:,}'
        verdict = 'wrong' if names else 'ok'
        self.rows.append(Row(what, found, '0', verdict, remedy if names else ''))

    def there(self, path: str, remedy: str = '') -> bool:
        """Look whether a file or folder is there; a row only if it is not."""
        if (self.root / path).exists():
            return True
        self.rows.append(Row(path, 'not there', 'there', 'missing', remedy))
        return False

    def table(self) -> str:
        """The rows as text, and below it what to do."""
        head = Row('what', 'found', 'expected', '')
        rows = [head, *self.rows]
        wide = [
            max(len(getattr(row, key)) for row in rows) for key in ('what', 'expected')
        ]
        lines = []
        for row in rows:
            mark = row.verdict.upper() if row.verdict in ('wrong', 'missing') else ''
            lines.append(
                f'  {row.what:<{wide[0]}}  {row.expected:>{wide[1]}}  '
                f'{mark or row.verdict:<7}  {row.found}'.rstrip()
            )
        remedies = [f'  {row.what}: {row.remedy}' for row in self.rows if row.remedy]
        return '\n'.join(
            [*lines, *(['', 'What to do:'] if remedies else []), *remedies]
        )
