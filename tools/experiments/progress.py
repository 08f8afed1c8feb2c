"""A progress bar for a training run in another process."""

import json
import shutil
import sys
import time
from pathlib import Path


class Screen:
    """The bars of the runs that are going on, below what was said before.

    On a terminal the bars are redrawn in place; elsewhere, as in a log file, a
    line is printed for each now and then. One thread draws.

    Args:
        stream (TextIO): Where to draw. Defaults to standard output.
        every (float): Seconds between two lines if it is no terminal.
    """

    def __init__(self, stream=None, every=20.0):
        self.stream = stream or sys.stdout
        self.every = every
        self.live = self.stream.isatty()
        self.drawn, self.shown = 0, time.monotonic()

    def draw(self, bars):
        """Draw the present state of some bars.

        Args:
            bars (list[ProgressBar]): One line each.
        """
        now = time.monotonic()
        if self.live:
            self.erase()
            width = shutil.get_terminal_size().columns - 1
            for bar in bars:
                self.stream.write(f'{bar.line(now)[:width]}\n')
            self.drawn = len(bars)
        elif now - self.shown >= self.every:
            self.shown = now
            for bar in bars:
                self.stream.write(f'{bar.line(now)}\n')
        self.stream.flush()

    def say(self, message):
        """Print a line that stays."""
        self.erase()
        self.stream.write(f'{message}\n')
        self.stream.flush()

    def erase(self):
        """Take the bars away."""
        # Up one line, and clear it.
        self.stream.write('\x1b[1A\x1b[2K' * self.drawn)
        self.drawn = 0


class ProgressBar:
    """How far a run of the tools is, and how long it will still take.

    It reads the scalars that mmengine writes anyway.

    Args:
        title (str): Stands in front of the bar.
        folder (Path): Work directory of the run.
        total (int): Iterations of the run; 0 where there is nothing to count.
    """

    def __init__(self, title, folder, total):
        self.title, self.folder, self.total = title, Path(folder), total
        self.began = time.monotonic()
        self.first = None

    def line(self, now):
        """Text of the bar.

        Args:
            now (float): ``time.monotonic()``.

        Returns:
            str: Without line ends.
        """
        elapsed = clock(now - self.began)
        records = [r for r in read_scalars(self.folder) if 'loss' in r]
        step = records[-1]['step'] if self.total and records else 0
        if not step:
            return f'{self.title}  {"starting" if self.total else "working"}  {elapsed}'
        if step >= self.total:
            return f'{self.title}  evaluating  {elapsed}'
        self.first = self.first or (now, step)
        done = step / self.total
        bar = '█' * round(20 * done) + '░' * (20 - round(20 * done))
        text = f'{self.title}  {bar} {done:4.0%}  loss {records[-1]["loss"]:.3f}'
        if step > self.first[1]:
            rate = (now - self.first[0]) / (step - self.first[1])
            text += f'  {clock(rate * (self.total - step))} left'
        return text


def read_scalars(folder):
    """Read the newest record file of a run of mmengine.

    Args:
        folder (Path): Its work directory.

    Returns:
        list[dict]: The records in order; empty before the first.
    """
    files = sorted(Path(folder).glob('*/vis_data/scalars.json'))
    if not files:
        return []
    records = []
    for line in files[-1].read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            # The line that is being written just now.
            break
    return records


def last_metrics(folder, names):
    """Read what the last evaluation of a run measured.

    Args:
        folder (Path): Its work directory.
        names (dict[str, str]): Name wanted -> mmengine's name.

    Returns:
        dict[str, float]: Values under the wanted names.

    Raises:
        LookupError: If the run did not measure one of them.
    """
    for record in reversed(read_scalars(folder)):
        if any(name in record for name in names.values()):
            return {wanted: record[name] for wanted, name in names.items()}
    raise LookupError(
        f'{folder} holds no record of {", ".join(names.values())}: the run ended '
        'before its evaluation; run it again'
    )


def clock(seconds):
    """Write seconds as minutes and seconds, ``'1:05'``."""
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d}'
