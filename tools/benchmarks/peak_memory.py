"""Peak memory of a call, on a CPU or a GPU."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch


def peak_bytes(step: Callable[[], object], device: str = 'cpu') -> int:
    """Return the peak bytes of tensors that a call allocates beyond what exists before.

    Args:
        step: Called once.
        device: ``'cpu'``, where torch's profiler counts every allocation, or
            ``'cuda'``.
    """
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        step()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'trace.json'
        profile.export_chrome_trace(str(file))
        events = json.loads(file.read_text())['traceEvents']
    events = [event for event in events if event.get('name') == '[memory]']
    totals = [
        event['args']['Total Allocated']
        for event in sorted(events, key=lambda event: event['ts'])
    ]
    first = sorted(events, key=lambda event: event['ts'])[0]['args']
    return max(totals) - (first['Total Allocated'] - first['Bytes'])
