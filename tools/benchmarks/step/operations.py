"""Where the time of a step goes: seconds of each operation, by PyTorch's profiler."""

from collections.abc import Callable, Mapping
from statistics import median

from torch.profiler import ProfilerActivity, profile


def operations(
    steps: Mapping[str, Callable[[], object]],
    before: Callable[[int], object],
    device: str,
    rounds: int = 3,
) -> dict[str, dict[str, float]]:
    """Seconds that each operation of each step takes itself, without those it calls.

    Args:
        steps: By name; they take turns.
        before: Called with the number of the round before every step.
        device: Whose time is taken, ``'cpu'`` or ``'cuda'``.
        rounds: The median of so many. Profiling itself costs time: compare operations,
            not whole steps.

    Returns:
        dict: By step and operation.
    """
    kinds = [ProfilerActivity.CPU]
    if device == 'cuda':
        kinds.append(ProfilerActivity.CUDA)
    found = {name: {} for name in steps}
    for round_ in range(rounds):
        for name, step in steps.items():
            before(round_)
            with profile(activities=kinds) as seen:
                step()
            for event in seen.key_averages():
                # Older profilers end some calls before what they call.
                seconds = max(0.0, 1e-6 * _own_time(event, device))
                found[name].setdefault(event.key, []).append(seconds)
    return {
        name: {
            key: median(times + [0.0] * (rounds - len(times)))
            for key, times in found[name].items()
        }
        for name in steps
    }


def _own_time(event, device: str) -> float:
    """Microseconds."""
    if device == 'cpu':
        return event.self_cpu_time_total
    if hasattr(event, 'self_device_time_total'):
        return event.self_device_time_total
    return event.self_cuda_time_total  # its name in older PyTorch
