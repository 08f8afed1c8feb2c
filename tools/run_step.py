"""Run one command of a set-up, and show one live line with its progress and time.

    python tools/run_step.py --log FILE NAME -- COMMAND ...

On a terminal the line is rewritten in place, elsewhere one is printed every half
minute. All output goes to the log; a failure shows its errors in full. Standard library
only: it runs before rich is installed.
"""

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from typing import TextIO

SECONDS_BETWEEN_LINES = 30

# Ninja's own line: `[12/78] c++ ... -c /path/nms.cpp -o ...` (or `nvcc ...`).
COMPILES = re.compile(r'^\s*\[(\d+)/(\d+)\].*?([\w.+-]+\.(?:cpp|cu|cc|c|mm))\b')
PIP = re.compile(
    r'^\s*(Collecting|Downloading|Using cached|Building wheel for|'
    r'Installing collected packages|Preparing metadata)\b[: ]*(.*)'
)


def progress(line: str) -> str | None:
    """Return the progress in a line of pip's or ninja's output, or None."""
    match = COMPILES.match(line)
    if match:
        return f'file {match[1]} of {match[2]}, {match[3]}'
    match = PIP.match(line)
    if not match:
        return None
    if match[1] == 'Installing collected packages':
        return f'installing {len(match[2].split(","))} packages'
    what = match[2].split('(')[0].strip().rsplit('/', 1)[-1]
    return f'{match[1].lower()} {what}'.strip()


def clock(seconds: float) -> str:
    """Return seconds as m:ss."""
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d}'


class Line:
    """The live line of a step.

    Args:
        name: Name of the step.
        stream: Stream to write to.
    """

    def __init__(self, name: str, stream: TextIO):
        self.name = name
        self.stream = stream
        self.live = stream.isatty()
        self.start = self.last = time.monotonic()

    def show(self, detail: str) -> None:
        """Rewrite the line, or print another one if enough time has passed."""
        now = time.monotonic()
        if now - self.last < (0.2 if self.live else SECONDS_BETWEEN_LINES):
            return
        self.last = now
        text = f'  {self.name}: {detail}, {clock(now - self.start)}'
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f'\r\033[K{text[:width]}')
        else:
            self.stream.write(text + '\n')
        self.stream.flush()

    def end(self, result: str) -> None:
        """Print the final line."""
        start = '\r\033[K' if self.live else ''
        time_taken = clock(time.monotonic() - self.start)
        self.stream.write(f'{start}  {self.name}: {result}, {time_taken}\n')
        self.stream.flush()


def errors(lines: list[str], last: int = 40) -> list[str]:
    """Return the lines that explain a failure: every error, then the last lines.

    Compiler commands contain -Werror and the like, which are not errors.
    """
    tail = lines[-last:]
    found = [
        line
        for line in lines[:-last]
        if re.search(r'\berror\b', line, re.IGNORECASE) and ' -c ' not in line
    ]
    return found + (['  ...'] if found else []) + tail


def run(name: str, command: list[str], log: str) -> int:
    """Run a command behind a live line.

    Args:
        name: Name of the step, which is shown.
        command: Program and arguments.
        log: File that the whole output is appended to.

    Returns:
        Exit code of the command, 130 if it was stopped by Ctrl-C.
    """
    line = Line(name, sys.stderr)
    lines, detail = [], 'starting'
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
    )
    output = queue.Queue()

    def read():
        for text in process.stdout:
            output.put(text)
        output.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        with open(log, 'a', encoding='utf-8') as file:
            file.write(f'$ {" ".join(command)}\n')
            while True:
                try:
                    text = output.get(timeout=0.5)
                except queue.Empty:
                    text = ''
                if text is None:
                    break
                if text:
                    file.write(text)
                    file.flush()
                    lines.append(text.rstrip())
                    detail = progress(text) or detail
                line.show(detail)
        code = process.wait()
    except KeyboardInterrupt:
        # Ctrl-C has reached the command, too: let it clean up.
        process.wait()
        line.end('stopped; the same command starts this step again')
        return 130
    if code:
        line.end(f'failed with exit code {code}')
        print('\n'.join(errors(lines)), file=sys.stderr)
        print(f'  the whole output is in {os.path.abspath(log)}', file=sys.stderr)
    else:
        line.end('done')
    return code


def main() -> int:
    """Run the given command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--log', required=True)
    parser.add_argument('name')
    parser.add_argument('command', nargs=argparse.REMAINDER)
    args = parser.parse_args()
    command = args.command[1:] if args.command[:1] == ['--'] else args.command
    return run(args.name, command, args.log)


if __name__ == '__main__':
    sys.exit(main())
