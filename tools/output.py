"""Output of the tools: tables and progress on the console, pages and JSON files."""

import io
import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich import box, progress
from rich.console import Console
from rich.table import Table

from mmtlalign.compat.files import atomic_write

# Width for output to a pipe or a file, so that lines are never wrapped.
UNWRAPPED = 10_000


def open_console(stream: TextIO | None = None, stderr: bool = False) -> Console:
    """Return a console for plain text, as wide as the terminal.

    Args:
        stream: Stream to write to, instead of the standard ones.
        stderr: Whether to write to standard error instead of standard output.
    """
    console = Console(
        file=stream, stderr=stderr, markup=False, highlight=False, emoji=False
    )
    if not console.is_terminal:
        console.width = UNWRAPPED
    return console


class Progress(progress.Progress):
    """Progress bars of rich; a pipe or a log file gets plain lines now and then.

    Args:
        *columns: Columns shown for each task; bars on a terminal only.
        console: Console to draw on. Defaults to standard output.
        interval: Seconds between two outputs if it is not a terminal.
        **options: Other arguments of ``rich.progress.Progress``.
    """

    def __init__(
        self,
        *columns: progress.ProgressColumn,
        console: Console | None = None,
        interval: float = 30.0,
        **options: Any,
    ):
        console = console or open_console()
        if not console.is_terminal:
            columns = [c for c in columns if not isinstance(c, progress.BarColumn)]
        super().__init__(
            *columns, console=console, disable=not console.is_terminal, **options
        )
        self.interval, self.printed_at = interval, self.get_time()

    def update(self, task_id: progress.TaskID, **changes: Any) -> None:
        """Change a task, and print all of them if it is time."""
        super().update(task_id, **changes)
        if self.disable and self.get_time() - self.printed_at >= self.interval:
            self.printed_at = self.get_time()
            self.console.print(self.get_renderable())

    def stop(self) -> None:
        """Stop drawing; the last state stays visible unless it is transient."""
        super().stop()
        if self.disable and not self.live.transient:
            self.console.print(self.get_renderable())


@contextmanager
def track(
    title: str, total: int, in_bytes: bool = False, console: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """Show the progress of one long task on standard error.

    Args:
        title: Text before the bar.
        total: Number of bytes or items in all; 0 if it is not known.
        in_bytes: Whether bytes are counted; then the last line stays visible.
        console: Console to draw on instead.

    Yields:
        A function that advances the progress by a number.
    """
    bars = Progress(
        progress.TextColumn('{task.description}', markup=False),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.DownloadColumn() if in_bytes else progress.MofNCompleteColumn(),
        console=console or open_console(stderr=True),
        transient=not in_bytes,
    )
    with bars:
        task = bars.add_task(title, total=total or None)
        yield lambda number: bars.update(task, advance=number)


def format_table(
    rows: Sequence[Sequence[str]],
    markdown: bool = False,
    left: Collection[int] = (0,),
) -> str:
    """Return rows of text as a table.

    Args:
        rows: Cells, the headings first.
        markdown: Whether to return Markdown, rather than a table for a terminal.
        left: Columns that are aligned left, the others right. Defaults to the first.
    """
    frame = box.MARKDOWN if markdown else box.SIMPLE_HEAD
    table = Table(box=frame, show_edge=markdown, pad_edge=markdown)
    for number, heading in enumerate(rows[0]):
        table.add_column(heading, justify='left' if number in left else 'right')
    for row in rows[1:]:
        table.add_row(*row)
    stream = io.StringIO()
    open_console(stream).print(table)
    # rich draws the upper and lower edge of a Markdown table as blank lines.
    return '\n'.join(line for line in stream.getvalue().splitlines() if line.strip())


def insert_between(page: str, text: str, begin: str, end: str) -> str:
    """Return a page with a text between its two marker lines.

    Raises:
        SystemExit: The page lacks them.
    """
    head, found_begin, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found_begin or not found_end:
        sys.exit(f'The page lacks the lines "{begin}" and "{end}": add them first.')
    return f'{head}{begin}\n\n{text}\n\n{end}{tail}'


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file atomically, so that nobody can read a partial file."""
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
