"""EsViT on two processes over gloo equals one process of the same global batch."""

import os
import subprocess
import sys

import pytest
import torch
from esvit_parts import settings
from golden_files import close
from knn_parts import hook
from repository import ROOT

PATHS = (ROOT, ROOT / 'tests/lib', ROOT / 'tests/methods')


@pytest.fixture
def trained(tmp_path):
    """Train with a number of processes; return the checkpoint and the accuracies."""

    def run(processes: int, batch: int):
        work = tmp_path / f'work{processes}'
        config = settings(work, batch=batch, log_level='INFO')
        config.custom_imports = dict(imports=['esvit_parts', 'knn_parts'])
        config.custom_hooks.append(hook())
        # Adam would blow rounding errors up where a gradient is near zero.
        config.optim_wrapper = dict(optimizer=dict(type='SGD', lr=1.0))
        path = tmp_path / f'run{processes}.py'
        config.dump(path)
        command = [sys.executable, ROOT / 'tools' / 'train.py', path]
        if processes > 1:
            command = ['bash', ROOT / 'tools' / 'dist_train.sh', path, str(processes)]
        env = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(map(str, PATHS)),
            PYTHON=sys.executable,
            OMP_NUM_THREADS='1',
            CUDA_VISIBLE_DEVICES='',
        )
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        file = torch.load(work / 'epoch_2.pth', weights_only=False)
        lines = [li for li in done.stdout.splitlines() if 'k-NN of the' in li]
        return file['state_dict'], lines[-1].split('percent of')[1]

    return run


# Starts processes that import all hosts.
@pytest.mark.slow
def test_two_processes_equal_one(trained):
    one, accuracy = trained(1, batch=8)
    two, other = trained(2, batch=4)
    assert one.keys() == two.keys()
    for name, value in one.items():
        close(two[name], value, 1e-5)
    # Each process saw other regions.
    assert one['centers.region.value'].abs().max() > 1e-3
    assert other == accuracy
