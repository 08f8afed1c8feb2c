"""Two processes over gloo train as one process with the same global batch."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from repository import ROOT

STAGE = ROOT / 'configs' / 'quickstart' / 'tlalign_swin-mini-p4-w3_digits-48px.py'
STEPS = 6

# The stage as it is, but for what is random in the data.
CONFIG = f"""
_base_ = '{STAGE}'
custom_imports = dict(imports=['dist_parts'])
custom_hooks = [dict(type='RecordLoss')]
model = dict(
    train_cfg=dict(
        augments=[dict(type='mmtlalign.AUGMENT', alpha=1.0, patch_size=4)],
        probs=[1.0],
    )
)
train_dataloader = dict(
    batch_size=BATCH,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(64, 64)),
            dict(type='PackInputs'),
        ]
    ),
)
val_dataloader = None
val_cfg = None
val_evaluator = None
train_cfg = dict(max_iters={STEPS}, val_interval={STEPS})
param_scheduler = dict(_delete_=True, type='ConstantLR', factor=1.0, by_epoch=False)
"""


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """Forty noisy images of ten classes in the stage's folder layout."""
    root = tmp_path_factory.mktemp('digits')
    draw = np.random.RandomState(0)
    for kind in range(10):
        folder = root / 'train' / str(kind)
        folder.mkdir(parents=True)
        for index in range(4):
            image = draw.randint(0, 255, (64, 64, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f'{index}.png'), image)
    return root


@pytest.fixture
def losses(tmp_path, digits):
    """Train with a number of processes; return the losses (steps, processes)."""

    def run(processes: int, augment: str, batch: int) -> np.ndarray:
        work = tmp_path / f'work{processes}'
        config = tmp_path / f'stage{processes}.py'
        text = CONFIG.replace('AUGMENT', augment).replace('BATCH', str(batch))
        config.write_text(text)
        command = [sys.executable, ROOT / 'tools' / 'train.py', config]
        if processes > 1:
            command = ['bash', ROOT / 'tools' / 'dist_train.sh', config, str(processes)]
        command += ['--work-dir', work, '--cfg-options', f'data_root={digits}']
        path = os.pathsep.join(map(str, (ROOT, ROOT / 'tests/lib')))
        env = dict(
            os.environ,
            PYTHONPATH=path,
            PYTHON=sys.executable,
            OMP_NUM_THREADS='1',
            CUDA_VISIBLE_DEVICES='',
        )
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        columns = []
        for rank in range(processes):
            lines = (work / f'loss_{rank}.jsonl').read_text().splitlines()
            records = [json.loads(line) for line in lines]
            assert {record['size'] for record in records} == {batch}
            columns.append([record['loss'] for record in records])
        return np.array(columns).T

    return run


# Starts three Python processes that import all hosts.
@pytest.mark.slow
def test_two_processes_equal_one(losses):
    one = losses(1, 'InterleavedTokenCutMix', batch=16)
    two = losses(2, 'TokenCutMix', batch=8)
    assert one.shape == (STEPS, 1)
    assert two.shape == (STEPS, 2)
    # Each saw its own half, and the weights moved.
    assert np.abs(two[:, 0] - two[:, 1]).min() > 1e-4
    assert np.ptp(one) > 1e-2
    np.testing.assert_allclose(two.mean(1), one[:, 0], atol=1e-5, rtol=0)
