"""How many images a second a network handles, beside a control that takes turns."""

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
    """How fast a step is.

    Attributes:
        images_per_second: By the median step.
        seconds: Of every step.
    """

    images_per_second: float
    seconds: tuple[float, ...]

    def ratio(self, control: 'Throughput') -> float:
        """Return how many times as fast it is as a control, the median of the rounds.

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
    """Time steps that take turns, so that what slows the machine slows all of them.

    Args:
        steps: What is timed, by name; each handles a batch.
        batch: Images of a step.
        device: Where they run; a GPU is waited for before and after every step.
        warm_up: Rounds before the timing.
        repeats: Rounds that count.
        clock: ``'wall'``, or ``'work'``: the time that the process works, all threads,
            which other processes hardly change. On a CPU only.

    Raises:
        InputError: There is no round, no image, or no such clock.
    """
    if repeats < 1 or warm_up < 0 or batch < 1:
        raise InputError(
            f'batch={batch}, warm_up={warm_up}, repeats={repeats}: batch and repeats '
            'take 1 or more, warm_up 0 or more.'
        )
    cuda = torch.device(device).type == 'cuda'
    if clock not in ('wall', 'work') or (cuda and clock == 'work'):
        raise InputError(f"clock={clock!r}: takes 'wall', or on a CPU 'work'.")
    now = time.perf_counter if clock == 'wall' else time.process_time
    wait = torch.cuda.synchronize if cuda else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    # Else a step may begin with the collection of what the libraries have imported.
    gc.collect()
    gc.freeze()
    try:
        for round_ in range(warm_up + repeats):
            gc.collect()
            # No step is always first.
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
        forward: Called with both.
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
    """Return a call that trains a step, and leaves the network in training mode.

    Args:
        model: A classifier of OpenMMLab; what its ``data_preprocessor`` and ``loss`` do
            (normalising, mixing, tracing) is part of the step.
        optimizer: An ``OptimWrapper`` of its parameters.
        data: ``inputs`` (B, 3, H, W) on the device of the model, and ``data_samples``.
        dtype: Precision of autocast in the forward pass; None is the network's own.
    """

    def step() -> None:
        if not model.training:
            model.train()
        # A step writes into the samples, and mmpretrain's CutMix into the images.
        samples = [sample.new() for sample in data['data_samples']]
        batch = dict(inputs=data['inputs'].clone(), data_samples=samples)
        batch = model.data_preprocessor(batch, training=True)
        with autocast(data['inputs'], dtype):
            losses = model(**batch, mode='loss')
        optimizer.update_params(model.parse_losses(losses)[0])

    return step


def autocast(images: Tensor, dtype: torch.dtype | None) -> torch.autocast:
    """Return the context that computes in a precision on the device of images."""
    return torch.autocast(images.device.type, dtype, enabled=dtype is not None)


def describe_setting(
    batch: int, device: str, dtype: torch.dtype | None
) -> dict[str, Any]:
    """Return what a throughput depends on, for a report."""
    cuda = torch.device(device).type == 'cuda'
    return dict(
        batch=batch,
        precision='fp32' if dtype is None else str(dtype).removeprefix('torch.'),
        device=torch.cuda.get_device_name(device) if cuda else 'cpu',
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        compiled=False,
    )
