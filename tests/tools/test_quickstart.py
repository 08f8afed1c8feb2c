"""The main job: its parts, and the whole way in little."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from repository import ROOT

from tools.experiments.table import table_cells
from tools.output import format_table

CONFIGS = ROOT / 'configs/quickstart'


def test_control_differs_in_head_and_augment_alone():
    ours, control = (
        Config.fromfile(next(CONFIGS.glob(f'{name}_*.py'))).to_dict()
        for name in ('tlalign', 'cutmix')
    )
    assert ours['model']['head'].pop('type') == 'mmtlalign.TLAlignLinearClsHead'
    assert control['model']['head'].pop('type') == 'LinearClsHead'
    ours_augment = ours['model']['train_cfg'].pop('augments')
    control_augment = control['model']['train_cfg'].pop('augments')
    assert ours_augment == [dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)]
    assert control_augment == [dict(type='mmtlalign.CutMix', alpha=1.0)]
    assert ours == control


@pytest.mark.parametrize('name', ['upernet', 'cascade'])
def test_backbones_of_the_tasks_are_those_of_pretraining(name):
    pretrain = Config.fromfile(next(CONFIGS.glob('tlalign_*.py'))).model.backbone
    dense = Config.fromfile(next(CONFIGS.glob(f'*{name}*.py'))).model.backbone
    for key in ('arch', 'patch_size', 'window_size', 'init_cfg'):
        assert dense[key] == pretrain[key]


def run_quickstart(folder, *args, **kwargs):
    command = ['bash', str(ROOT / 'tools/quickstart.sh'), '--smoke', *args]
    command += ['--work-dir', str(folder / 'runs'), '--data', str(folder / 'data')]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, 'MMTLALIGN_PYTHON': sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **kwargs,
    )


def wait_for(path, process, patience=400):
    end = time.monotonic() + patience
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, f'{path} did not appear'
        time.sleep(0.2)


@pytest.fixture(scope='module')
def smoke(tmp_path_factory):
    """A run that is stopped when the first tasks begin, and then resumed."""
    folder = tmp_path_factory.mktemp('smoke')
    runs = folder / 'runs'
    first = run_quickstart(folder)
    wait_for(runs / 'segment-tlalign-seed0/last_checkpoint', first)
    first.send_signal(signal.SIGINT)
    stopped = first.communicate(timeout=60)[0]
    done = (runs / 'pretrain-tlalign-seed0/state.json').read_bytes()
    unfinished = json.loads((runs / 'segment-tlalign-seed0/state.json').read_text())
    second = run_quickstart(folder, '--resume')
    finished = second.communicate()[0]
    assert second.returncode == 0, finished
    return dict(
        folder=folder,
        runs=runs,
        status=first.returncode,
        stopped=stopped,
        done=done,
        unfinished=unfinished,
        finished=finished,
    )


# Trains eight small models: about two minutes on two cores.
@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_resume_goes_on(smoke):
    assert smoke['status'] == 130
    assert 'bash tools/quickstart.sh --smoke' in smoke['stopped']
    assert smoke['stopped'].rstrip().endswith('--resume')
    assert 'Traceback' not in smoke['stopped']
    assert not smoke['unfinished']['done'] and smoke['unfinished']['seconds'] > 0
    # Finished stages are kept as they are, an unfinished one goes on.
    assert (smoke['runs'] / 'pretrain-tlalign-seed0/state.json').read_bytes() == smoke[
        'done'
    ]
    kept = [line for line in smoke['finished'].splitlines() if '(kept)' in line]
    names = [line.split()[1] for line in kept if not line.startswith('[ ')]
    names += [line.split()[2] for line in kept if line.startswith('[ ')]
    done = {'data', 'pretrain-tlalign-seed0', 'export-tlalign-seed0'}
    assert done <= set(names) and not any('segment' in name for name in names)
    log = (smoke['runs'] / 'segment-tlalign-seed0/console.log').read_text()
    assert log.count('\n$ ') == 2 and 'resumed epoch: 0, iter: ' in log


@pytest.mark.slow
def test_summary_and_table_agree(smoke):
    summary = json.loads((smoke['runs'] / 'summary.json').read_text())
    table = format_table(table_cells(summary['columns'], summary['table']))
    assert table in smoke['finished']
    assert (smoke['runs'] / 'table.txt').read_text() == table + '\n'
    rows = {row['start']: row for row in summary['table']}
    assert list(rows) == ['tlalign', 'control', 'scratch']
    assert summary['columns'] == [
        'top-1 %',
        'UperNet: mIoU %',
        'Cascade R-CNN: box AP',
        'Cascade R-CNN: mask AP',
        'labels: RMSE %',
        'labels: phantom points',
    ]
    # Of random weights there is no classifier.
    of_classifiers = {'top-1 %', 'labels: RMSE %', 'labels: phantom points'}
    for start, row in rows.items():
        left_out = of_classifiers if start == 'scratch' else set()
        assert set(row['values']) == set(summary['columns']) - left_out
        for column in set(row['values']) - {'labels: phantom points'}:
            assert 0 <= row['values'][column]['0'] <= 100
    for name, seconds in summary['seconds'].items():
        state = json.loads((smoke['runs'] / name / 'state.json').read_text())
        assert state['done'] and seconds == pytest.approx(state['seconds'], abs=0.1)
    assert len(summary['seconds']) == 14
    assert summary['versions']['torch'] and summary['machine']['cores'] >= 1


@pytest.mark.slow
def test_backbones_are_handed_on(smoke):
    import torch

    def backbone(stage, when):
        path = smoke['runs'] / stage / f'iter_{when}.pth'
        state = torch.load(path, weights_only=False)['state_dict']
        return state['backbone.stages.0.blocks.0.attn.w_msa.qkv.weight']

    # The first steps of the warm-up move the weights far less than two random
    # starts differ.
    start = backbone('pretrain-tlalign-seed0', 12)
    near = (backbone('segment-tlalign-seed0', 8) - start).abs().mean()
    far = (backbone('segment-scratch-seed0', 8) - start).abs().mean()
    assert near < far / 10


@pytest.mark.slow
def test_figures_show_something(smoke):
    report = (smoke['runs'] / 'report.md').read_text()
    shown = re.findall(r'!\[.*\]\((.*)\)', report)
    names = [
        'curves',
        *(f'{t}-tlalign-seed0' for t in ('detect', 'pretrain', 'segment')),
    ]
    assert [Path(name).stem for name in shown] == names
    for name in shown:
        picture = np.asarray(Image.open(smoke['runs'] / name).convert('RGB'))
        assert min(picture.shape[:2]) > 400 and picture.std() > 20


def test_help_needs_no_environment(tmp_path):
    command = ['bash', str(ROOT / 'tools/quickstart.sh'), '--fast', '--help']
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert '[--fast]' in shown and shown.splitlines()[0].startswith('Set up')
    assert shown.splitlines()[-1].endswith('setup_env.sh')


def test_a_new_run_keeps_the_old_one(tmp_path):
    runs = tmp_path / 'runs'
    runs.mkdir()
    (runs / 'summary.json').write_text('old')
    process = run_quickstart(tmp_path)
    # The first line is of the set-up, which does not listen.
    line = next(line for line in process.stdout if 'kept as' in line)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (old,) = tmp_path.glob('runs.old-*')
    assert str(old) in line
    assert (old / 'summary.json').read_text() == 'old'
