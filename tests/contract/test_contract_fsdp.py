"""A row of the tracing contract: FSDP2 over two processes changes nothing."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from contract_rows import ROWS
from repository import ROOT

try:
    from torch.distributed.fsdp import fully_shard  # noqa: F401
except ImportError:
    # Older ones shard flattened parameters, which is another interface.
    pytest.skip('fully_shard came with torch 2.6', allow_module_level=True)

LIB = ROOT / 'tests/lib'


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """What both processes found, over all rows: starting them takes longest."""
    file = tmp_path_factory.mktemp('fsdp') / 'found.json'
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(map(str, (ROOT, LIB))),
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='',
    )
    started = [
        subprocess.Popen(
            [sys.executable, LIB / 'fsdp_parts.py', str(rank), port, file],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in started:
            said, _ = process.communicate(timeout=600)
            assert process.returncode == 0, said[-2000:]
    finally:
        for process in started:
            process.kill()
    return [json.loads(Path(f'{file}.{rank}').read_text()) for rank in range(2)]


@pytest.mark.slow  # the first row waits for two processes that go through all
@pytest.mark.parametrize('row', ROWS)
def test_sharded_training_equals_the_whole_one(row, found):
    for rank in found:
        result = rank[row]
        assert 'error' not in result, result['error']
        assert result['loss'] < 1e-5
        assert result['share'] < 1e-6
        assert result['gradient'] < 1e-4
        # Each had a batch of its own, and its gradients were seen.
        assert result['differ'] > 1e-3
        assert result['gradients'] > 10
