"""What a case costs: seconds, peak memory, and whether a step waits for the GPU."""

import gc
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from tools.benchmarks import timing
from tools.benchmarks.peak_memory import peak_bytes
from tools.benchmarks.step.models import Network
from tools.benchmarks.step.operations import operations
from tools.benchmarks.step.steps import Batch, make_step
from tools.benchmarks.step.variants import PLAIN


@dataclass(frozen=True)
class Case:
    """A row of the table: one network in one setting.

    Attributes:
        model: Name of the network.
        size: Sides of the images in pixels.
        tokens: How many they are; None where that changes on the way.
        batch: Images.
        measure: ``'step'`` or ``'train'``.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``.
        attention: ``'stock'``, or the kernel that our variants are sped up with.
        threads: Of the CPU.
        device: ``'cpu'`` or ``'cuda'``.
    """

    model: str
    size: int
    tokens: int | None
    batch: int
    measure: str
    precision: str
    attention: str
    threads: int
    device: str


def measure(
    network: Network,
    case: Case,
    variants: Sequence[str],
    repeats: int,
    clock: str = 'work',
    compiled: bool = False,
    sync_check: bool = False,
    profile: bool = False,
) -> dict:
    """Times of all variants, which take turns, and what they hold at most.

    Args:
        network: Of the name in ``case``.
        case: What is measured.
        variants: Names of what is compared.
        repeats: Rounds.
        clock: ``'work'`` of the process or ``'wall'``, for the ratios.
        compiled: Whether the networks are compiled.
        sync_check: Whether to look for what waits for the GPU.
        profile: Whether to take the times of single operations, too.

    Returns:
        dict: The case and, by variant, ``seconds`` of work and by the ``wall``
        clock, a list of rounds each, and ``peak_bytes``; ``reference``, the faster
        plain CutMix; ``ratios`` and ``peak_ratios`` to it; if asked for ``waits`` and
        ``operations``.
    """
    torch.set_num_threads(case.threads)
    gc.collect()  # the networks of the case before
    if compiled:
        # Networks of one class count as one for the limit of graphs, beyond which
        # the rest would run eagerly without a word.
        torch.compiler.reset()
        torch._dynamo.config.cache_size_limit = 64
    batch = Batch(case.batch, case.size, case.device)
    steps = {v: make_step(network, v, batch, case, compiled) for v in variants}

    def before(round_: int) -> None:
        np.random.seed(round_)
        batch.renew()

    if compiled or case.device == 'cuda':
        # Graphs are made, kernels chosen and memory taken before the clock runs.
        timing.take_turns(steps, 1, case.device, before)
    work, wall = timing.take_turns(steps, repeats, case.device, before)
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
        row['waits'] = dict(waits(steps, before))
    if profile:
        row['operations'] = operations(steps, before, case.device)
    return row


def waits(
    steps: Mapping[str, Callable[[], object]], before: Callable[[int], object]
) -> Iterator[tuple[str, str | None]]:
    """Each step and the first place where it waits for the GPU, None if nowhere."""
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


def _place(error: Exception) -> str:
    """Where an error was raised, outside PyTorch: file, line and code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if '/torch/' not in f.filename.replace('\\', '/')]
    last = ours[-1]
    return f'{"/".join(Path(last.filename).parts[-3:])}:{last.lineno}: {last.line}'
