"""Timing that allows comparisons on a machine with other load.

The variants take turns, round by round, and ratios are taken within a round: what slows
the machine for a while slows both. A table has the median of the rounds and their
quartiles.
"""

import argparse
import ctypes
import functools
import gc
import logging
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope


def set_up(options: argparse.Namespace) -> None:
    """Set threads and scope, silence the hosts, and print a description of the machine.

    Args:
        options: With ``threads``, ``device``, ``repeats`` and ``amp``.
    """
    torch.set_num_threads(options.threads)
    silence_hosts()
    print(
        f'{platform.machine()}, {options.threads} thread(s), {options.device}, '
        f'torch {torch.__version__}, {options.repeats} rounds, '
        f'{"bf16" if options.amp else "fp32"}'
    )


def silence_hosts() -> None:
    """Silence the hosts, and set the scope in which types are looked up."""
    warnings.simplefilter('ignore')
    MMLogger.get_instance('benchmark').setLevel(logging.ERROR)
    init_default_scope('mmpretrain')


def keep_memory() -> bool:
    """Keep freed memory in this process, and return whether the C library can do so.

    By default glibc returns freed memory to the system when it happens to be at the end
    of the heap, and has it cleared when it is allocated again. That depends on what
    else the process holds, and changes a step of the same code by up to 5 %.
    """
    trim_threshold, mmap_max = -1, -4  # parameters of mallopt, from glibc's malloc.h
    if not sys.platform.startswith('linux'):
        return False
    set_option = getattr(ctypes.CDLL(None), 'mallopt', None)
    return set_option is not None and bool(
        set_option(trim_threshold, -1) and set_option(mmap_max, 0)
    )


def time_call(
    step: Callable[[], object],
    device: str = 'cpu',
    count: int = 1,
    between: Callable[[], object] = lambda: None,
) -> tuple[float, float]:
    """Return the seconds of a call: of work, and by the wall clock.

    On a CPU, work is the CPU time of this process, all threads, which other processes
    hardly change. On a GPU, which is synchronised before and after, it is the wall
    clock.

    Args:
        step: The call to time.
        device: ``'cpu'`` or ``'cuda'``.
        count: Number of calls in a row, of which the mean is returned.
        between: Called between them, and timed as well.
    """
    if device == 'cuda':
        torch.cuda.synchronize()
    wall, work = time.perf_counter(), time.process_time()
    step()
    for _ in range(count - 1):
        between()
        step()
    if device == 'cuda':
        torch.cuda.synchronize()
    wall, work = time.perf_counter() - wall, time.process_time() - work
    return (wall if device == 'cuda' else work) / count, wall / count


def take_turns(
    steps: Mapping[str, Callable[[], object]],
    repeats: int,
    device: str = 'cpu',
    before: Callable[[int], object] = lambda round_: None,
    steps_per_sample: int = 1,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Time steps that take turns: seconds of work and by the wall clock, by round.

    Freed memory stays in the process from then on, see `keep_memory`.

    Args:
        steps: The calls to time, by name.
        repeats: Number of rounds; one more comes first and warms up.
        device: ``'cpu'`` or ``'cuda'``.
        before: Called with the number of the round before every step.
        steps_per_sample: Steps between two synchronisations with the GPU, so that the
            CPU may run ahead as in training.
    """
    keep_memory()
    names = list(steps)
    work, wall = {n: [] for n in names}, {n: [] for n in names}
    gc.collect()
    # Otherwise each collection visits all objects of the imported libraries.
    gc.freeze()
    for round_ in range(repeats + 1):
        # Rotate, so that no step is always first.
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            renew = functools.partial(before, round_)
            renew()
            gc.collect()
            seconds, clock = time_call(steps[name], device, steps_per_sample, renew)
            if round_:
                work[name].append(seconds)
                wall[name].append(clock)
    gc.unfreeze()
    return work, wall


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles."""
    low, middle, high = (
        statistics.quantiles(values, n=4) if len(values) > 1 else list(values) * 3
    )
    return dict(median=middle, low=low, high=high)


def ratios(over: Sequence[float], under: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles of the ratio of two times, round by round."""
    return quartiles([a / b for a, b in zip(over, under, strict=True)])


def cell(found: Mapping[str, float], scale: float = 1.0, digits: int = 0) -> str:
    """Return the cell of a table for median and quartiles, times ``scale``."""
    low, middle, high = (scale * found[k] for k in ('low', 'median', 'high'))
    return f'{middle:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})'


def print_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Print a Markdown table, each row as soon as it is available.

    A table of rich would be printed only after its last row, maybe in an hour.
    """
    print(f'\n{title}\n\n| ' + ' | '.join(headings) + ' |\n|' + '---|' * len(headings))
    for row in rows:
        print('| ' + ' | '.join(row) + ' |', flush=True)
