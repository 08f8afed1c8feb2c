"""What the tools write: tables and progress on the console, and JSON files."""

import io
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich import box, progress
from rich.console import Console
from rich.table import Table

from mmtlalign.compat.files import atomic_write

# Lines that go into a pipe or a file are never wrapped.
UNWRAPPED = 10_000


def open_console(stream: TextIO | None = None, stderr: bool = False) -> Console:
    """Return a console for plain text, as wide as the terminal.

    Args:
        stream: Where to write, instead of the standard streams.
        stderr: Whether that is standard error instead of standard output.
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
        *columns: What is shown of each task; bars on a terminal only.
        console: Where to draw. Defaults to standard output.
        interval: Seconds between two outputs if that is no terminal.
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
        """Stop drawing; what is done stays visible unless it is transient."""
        super().stop()
        if self.disable and not self.live.transient:
            self.console.print(self.get_renderable())


@contextmanager
def track(
    title: str, total: int, in_bytes: bool = False, console: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """Show the progress of one long piece of work on standard error.

    Args:
        title: Stands in front.
        total: Bytes or things in all; 0 if that is not known.
        in_bytes: Whether bytes are counted, whose last line stays.
        console: Where to draw instead.

    Yields:
        A function that counts on by a number.
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
    """Return rows of text as a table, the first column left, the others right.

    Args:
        rows: Cells, the headings first.
        markdown: Whether the table is one of Markdown, rather than of a terminal.
        left: Columns that are aligned to the left.
    """
    frame = box.MARKDOWN if markdown else box.SIMPLE_HEAD
    table = Table(box=frame, show_edge=markdown, pad_edge=markdown)
    for number, heading in enumerate(rows[0]):
        table.add_column(heading, justify='left' if number in left else 'right')
    for row in rows[1:]:
        table.add_row(*row)
    stream = io.StringIO()
    open_console(stream).print(table)
    # A frame of Markdown has blank lines in place of its upper and lower edge.
    return '\n'.join(line for line in stream.getvalue().splitlines() if line.strip())


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file in one step, so that nobody reads half of it."""
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
