"""Throughput of networks in images per second, measured in turns with a baseline."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.evaluation.cost import Forward, scores


@dataclass(frozen=True)
class Throughput:
    """Speed of a step.

    Attributes:
        images_per_second: Throughput by the median step.
        seconds: Duration of every step.
    """

    images_per_second: float
    seconds: tuple[float, ...]

    def ratio(self, control: 'Throughput') -> float:
        """Return the speed relative to a baseline, as the median over the rounds.

        Both must come from one call of :func:`measure_throughput`.
        """
        rounds = zip(control.seconds, self.seconds, strict=True)
        return statistics.median(theirs / ours for theirs, ours in rounds)


def measure_throughput(
    steps: Mapping[str, Callable[[], object]],
    batch: int,
    device: str | torch.device = 'cpu',
    warm_up: int = 10,
    repeats: int = 20,
    clock: str = 'wall',
) -> dict[str, Throughput]:
    """Time several steps in turns, so that a slow machine affects all of them equally.

    Args:
        steps: The steps by name; each processes a batch.
        batch: Number of images of a step.
        device: Device of the steps; a GPU is synchronised before and after every step.
        warm_up: Number of rounds before the timing.
        repeats: Number of rounds that are timed.
        clock: ``'wall'``, or ``'work'``: the CPU time of the process over all threads,
            which other processes hardly affect. On a CPU only.

    Raises:
        InputError: There is no round or no image, or the clock is unknown.
    """
    if repeats < 1 or warm_up < 0 or batch < 1:
        raise InputError(
            f'batch={batch}, warm_up={warm_up}, repeats={repeats}: give batch and '
            'repeats of 1 or more, and warm_up of 0 or more.'
        )
    cuda = torch.device(device).type == 'cuda'
    if clock not in ('wall', 'work') or (cuda and clock == 'work'):
        raise InputError(f"clock={clock!r}: choose 'wall', or on a CPU 'work'.")
    now = time.perf_counter if clock == 'wall' else time.process_time
    wait = torch.cuda.synchronize if cuda else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    # Else a step may begin with the collection of what the libraries have imported.
    gc.collect()
    gc.freeze()
    try:
        for round_ in range(warm_up + repeats):
            gc.collect()
            # Rotate the order, so that no step is always first.
            first = round_ % len(steps)
            for name in [*steps, *steps][first : first + len(steps)]:
                wait()
                start = now()
                steps[name]()
                wait()
                if round_ >= warm_up:
                    seconds[name].append(now() - start)
    finally:
        gc.unfreeze()
    return {
        name: Throughput(batch / statistics.median(taken), tuple(taken))
        for name, taken in seconds.items()
    }


def inference_step(
    model: nn.Module,
    images: Tensor,
    forward: Forward = scores,
    dtype: torch.dtype | None = None,
) -> Callable[[], None]:
    """Return a call that runs a network without gradients, and leaves it in eval mode.

    Args:
        model: Network on the device of the images.
        images: Normalised (B, 3, H, W).
        forward: Called with model and images.
        dtype: Precision of autocast; None is the network's own.
    """

    def step() -> None:
        if model.training:
            model.eval()
        with torch.no_grad(), autocast(images, dtype):
            forward(model, images)

    return step


def training_step(
    model: nn.Module,
    optimizer: Any,
    data: Mapping[str, Any],
    dtype: torch.dtype | None = None,
) -> Callable[[], None]:
    """Return a call of one training step, which leaves the network in training mode.

    Args:
        model: A classifier of OpenMMLab; the step includes its ``data_preprocessor``
            and ``loss`` (normalising, mixing, tracing).
        optimizer: An ``OptimWrapper`` of its parameters.
        data: ``inputs`` (B, 3, H, W) on the device of the model, and ``data_samples``.
        dtype: Precision of autocast in the forward pass; None is the network's own.
    """

    def step() -> None:
        if not model.training:
            model.train()
        # Copies, as a step changes the samples, and mmpretrain's CutMix the images.
        samples = [sample.new() for sample in data['data_samples']]
        batch = dict(inputs=data['inputs'].clone(), data_samples=samples)
        batch = model.data_preprocessor(batch, training=True)
        with autocast(data['inputs'], dtype):
            losses = model(**batch, mode='loss')
        optimizer.update_params(model.parse_losses(losses)[0])

    return step


def autocast(images: Tensor, dtype: torch.dtype | None) -> torch.autocast:
    """Return the autocast context of a precision for the device of images."""
    return torch.autocast(images.device.type, dtype, enabled=dtype is not None)


def describe_setting(
    batch: int, device: str, dtype: torch.dtype | None
) -> dict[str, Any]:
    """Return the settings that a throughput depends on, for a report."""
    cuda = torch.device(device).type == 'cuda'
    return dict(
        batch=batch,
        precision='fp32' if dtype is None else str(dtype).removeprefix('torch.'),
        device=torch.cuda.get_device_name(device) if cuda else 'cpu',
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        compiled=False,
    )
