"""Measure a case: seconds, peak memory, operations, and waits for the GPU."""

import gc
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from tools.benchmarks import timing
from tools.benchmarks.peak_memory import peak_bytes
from tools.benchmarks.step.models import Case, Network
from tools.benchmarks.step.steps import Batch, make_step
from tools.benchmarks.step.variants import PLAIN

USER_SCOPE = 7  # at::RecordScope of torch.profiler.record_function


def measure(
    network: Network,
    case: Case,
    variants: Sequence[str],
    repeats: int,
    clock: str = 'work',
    compiled: bool = False,
    sync_check: bool = False,
    profiled: bool = False,
    steps_per_sample: int = 1,
) -> dict:
    """Measure the times of all variants, which take turns, and their peak memory.

    Args:
        network: The network that ``case`` names.
        case: The case to measure.
        variants: Names of the variants to compare.
        repeats: Number of rounds.
        clock: ``'work'``, the CPU time of the process, or ``'wall'``, for the ratios.
        compiled: Whether the networks are compiled.
        sync_check: Whether to look for calls that wait for the GPU.
        profiled: Whether to measure single operations, too.
        steps_per_sample: Steps between two waits for the GPU.

    Returns:
        The case and, by variant, ``seconds`` of CPU time and by the ``wall`` clock, a
        list of rounds each, and ``peak_bytes``; ``reference``, the faster plain
        CutMix; ``ratios`` and ``peak_ratios`` to it; if asked for, ``waits`` and
        ``operations``.
    """
    torch.set_num_threads(case.threads)
    gc.collect()  # the networks of the case before
    if compiled:
        # The limit of graphs counts networks of one class together; beyond it the
        # rest would silently run eagerly.
        torch.compiler.reset()
        torch._dynamo.config.cache_size_limit = 64
    batch = Batch(case.batch, case.size, case.device)
    steps = {v: make_step(network, v, batch, case, compiled) for v in variants}

    def before(round_: int) -> None:
        np.random.seed(round_)
        batch.renew()

    if compiled or case.device == 'cuda':
        # Compile, choose kernels and allocate memory before the clock runs.
        timing.take_turns(steps, 1, case.device, before)
    work, wall = timing.take_turns(
        steps, repeats, case.device, before, steps_per_sample
    )
    peaks = {}
    for variant, step in steps.items():
        before(0)
        peaks[variant] = peak_bytes(step, case.device)
    times = work if clock == 'work' else wall
    plain = [v for v in PLAIN if v in times] or list(times)
    reference = min(plain, key=lambda variant: median(times[variant]))
    row = asdict(case) | dict(
        reference=reference,
        seconds=work,
        wall=wall,
        peak_bytes=peaks,
        ratios={v: timing.ratios(times[v], times[reference]) for v in times},
        peak_ratios={v: peaks[v] / peaks[reference] for v in peaks},
    )
    if sync_check:
        row['waits'] = dict(find_waits(steps, before))
    if profiled:
        row['operations'] = profile_operations(steps, before, case.device)
    return row


def find_waits(
    steps: Mapping[str, Callable[[], object]], before: Callable[[int], object]
) -> Iterator[tuple[str, str | None]]:
    """Yield each step and the first place where it waits for the GPU, if any."""
    for name, step in steps.items():
        before(0)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode('error')
        try:
            step()
        except RuntimeError as error:
            if 'synchroniz' not in str(error):
                raise
            yield name, _place(error)
        else:
            yield name, None
        finally:
            torch.cuda.set_sync_debug_mode('default')


def profile_operations(
    steps: Mapping[str, Callable[[], object]],
    before: Callable[[int], object],
    device: str,
    rounds: int = 3,
) -> dict[str, dict[str, float]]:
    """Return the seconds of each operation of each step, without those that it calls.

    On a GPU the operations are its kernels.

    Args:
        steps: Steps by name; they take turns.
        before: Called with the number of the round before every step.
        device: Device whose time is measured, ``'cpu'`` or ``'cuda'``.
        rounds: Number of rounds, of which the median is taken. Profiling itself costs
            time: compare operations, not whole steps.

    Returns:
        Seconds by step and operation.
    """
    kinds = [ProfilerActivity.CPU]
    if device == 'cuda':
        kinds.append(ProfilerActivity.CUDA)
    found = {name: {} for name in steps}
    for round_ in range(rounds):
        for name, step in steps.items():
            before(round_)
            with profile(activities=kinds) as profiled:
                step()
            events = profiled.key_averages()
            # Named ranges, which a GPU lists once more by the same names.
            ranges = {event.key for event in events if event.scope == USER_SCOPE}
            for event in events:
                # On a GPU kernels count; their operators have the same time again.
                on_gpu = event.device_type == DeviceType.CUDA
                if on_gpu != (device == 'cuda') or event.key in ranges:
                    continue
                # In older profilers some calls end before the calls inside them.
                seconds = max(0.0, 1e-6 * _own_time(event, device))
                found[name].setdefault(event.key, []).append(seconds)
    return {
        name: {
            key: median(times + [0.0] * (rounds - len(times)))
            for key, times in found[name].items()
        }
        for name in steps
    }


def _place(error: Exception) -> str:
    """Return where an error was raised, outside PyTorch: file, line and code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if '/torch/' not in f.filename.replace('\\', '/')]
    last = ours[-1]
    return f'{"/".join(Path(last.filename).parts[-3:])}:{last.lineno}: {last.line}'


def _own_time(event, device: str) -> float:
    """Return the microseconds of an operation itself."""
    if device == 'cpu':
        return event.self_cpu_time_total
    if hasattr(event, 'self_device_time_total'):
        return event.self_device_time_total
    return event.self_cuda_time_total  # its name in older PyTorch
