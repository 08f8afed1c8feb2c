"""tools/train.py and tools/test.py on a tiny task."""

import json
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from tiny_run import TOOLS, run_tool, write_config, write_images

from mmtlalign.engine import precision


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The folder of the tiny data set."""
    return write_images(tmp_path_factory.mktemp('tiny_data'))


@pytest.fixture
def train(monkeypatch, tmp_path, data):
    """Train the tiny config and return the work directory."""

    def run(*args, text='', work='work'):
        config = write_config(tmp_path, data, text)
        run_tool(monkeypatch, 'train', config, '--work-dir', tmp_path / work, *args)
        return tmp_path / work

    return run


def scalars(work):
    """The records of the newest run in a work directory."""
    newest = max(work.glob('*/vis_data/scalars.json'), key=lambda p: p.stat().st_mtime)
    return [json.loads(line) for line in newest.read_text().splitlines()]


def weights(work, epoch):
    """The weights of a checkpoint."""
    path = work / f'epoch_{epoch}.pth'
    return torch.load(path, weights_only=False)['state_dict']


def assert_same(left, right):
    """Two state dicts are equal to the bit."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


@pytest.mark.parametrize(
    ('tool', 'options'),
    [
        (
            'train',
            ['--resume', '--amp', '--auto-scale-lr', '--work-dir', '--local-rank'],
        ),
        ('test', ['--out', '--tta', '--work-dir', '--cfg-options', '--launcher']),
    ],
)
def test_help(tool, options):
    done = subprocess.run(
        [sys.executable, TOOLS / f'{tool}.py', '--help'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for option in options:
        assert option in done.stdout


@pytest.mark.parametrize(
    'tool, said',
    [('dist_train.sh', 'CONFIG PROCESSES'), ('dist_test.sh', 'CHECKPOINT PROCESSES')],
)
def test_scripts_for_several_processes_say_how_to_call_them(tool, said):
    done = subprocess.run(
        ['bash', TOOLS / tool, 'only_a_config.py'], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert said in done.stderr


def test_out_needs_a_pickle_name(monkeypatch, tmp_path, data):
    config = write_config(tmp_path, data)
    with pytest.raises(SystemExit, match="'some.txt' must end with .pkl"):
        run_tool(monkeypatch, 'test', config, 'some.pth', '--out', 'some.txt')


def test_missing_config_is_named(monkeypatch):
    with pytest.raises(SystemExit, match="config 'nowhere.py' does not exist"):
        run_tool(monkeypatch, 'train', 'nowhere.py')


def test_train_then_test(train, monkeypatch, tmp_path, data):
    work = train()
    losses = [line['loss'] for line in scalars(work) if 'loss' in line]
    assert losses[-1] < losses[0]
    out = tmp_path / 'predictions.pkl'
    config = write_config(tmp_path, data)
    run_tool(
        monkeypatch,
        'test',
        *(config, work / 'epoch_2.pth', '--work-dir', tmp_path / 't', '--out', out),
    )
    assert out.exists()
    tested = json.loads(next((tmp_path / 't').glob('*/*.json')).read_text())
    trained = [line for line in scalars(work) if 'accuracy/top1' in line]
    assert tested['accuracy/top1'] == trained[-1]['accuracy/top1']


def test_averaged_weights_are_tested(train, monkeypatch, tmp_path, data, capsys):
    hook = "custom_hooks = [dict(type='EMAHook', momentum=0.5)]"
    config = write_config(tmp_path, data, hook)
    args = (train() / 'epoch_2.pth', '--work-dir', tmp_path / 't')
    run_tool(monkeypatch, 'test', config, *args)
    assert 'accuracy/top1' in capsys.readouterr().out


TTA = """
tta_model = dict(type='AverageClsScoreTTA')
flips = [dict(type='RandomFlip', prob=p) for p in (0.0, 1.0)]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[flips, [dict(type='PackInputs')]]),
]
"""


def test_test_time_augmentation(train, monkeypatch, tmp_path, data, capsys):
    checkpoint = train() / 'epoch_2.pth'
    config = write_config(tmp_path, data, TTA)
    args = (checkpoint, '--work-dir', tmp_path / 'tta', '--tta')
    run_tool(monkeypatch, 'test', config, *args)
    assert 'accuracy/top1' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='tta_model'):
        run_tool(monkeypatch, 'test', write_config(tmp_path, data), *args)


@pytest.mark.parametrize('how', ['auto', 'path'])
def test_resume_equals_uninterrupted(train, how):
    whole = train(work='whole')
    half = train('--cfg-options', 'default_hooks.checkpoint.interval=1', work='half')
    (half / 'epoch_2.pth').unlink()
    (half / 'last_checkpoint').write_text(str(half / 'epoch_1.pth'))
    train('--resume', *([half / 'epoch_1.pth'] if how == 'path' else []), work='half')
    assert_same(weights(whole, 2), weights(half, 2))


def test_amp_computes_in_half_precision(train):
    seen = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: (
            seen.append(output.dtype) if isinstance(module, torch.nn.Linear) else None
        )
    )
    try:
        work = train('--amp')
    finally:
        hook.remove()
    assert {torch.float16, torch.bfloat16} & set(seen)
    losses = [line['loss'] for line in scalars(work) if 'loss' in line]
    assert losses[-1] < losses[0]
    assert all(value.dtype == torch.float32 for value in weights(work, 2).values())


def test_amp_refuses_an_unknown_wrapper(train):
    with pytest.raises(SystemExit, match='OtherWrapper'):
        train('--amp', '--cfg-options', 'optim_wrapper.type=OtherWrapper')


def test_auto_scale_lr(train, capsys):
    plain = scalars(train(work='plain'))[0]['lr']
    assert '--auto-scale-lr' in capsys.readouterr().out
    scaled = scalars(train('--auto-scale-lr', work='scaled'))[0]['lr']
    assert 'Global batch 8 = 8 images x 1' in capsys.readouterr().out
    assert scaled == pytest.approx(plain * 8 / 64)


def test_auto_scale_lr_needs_the_batch_of_the_recipe(train):
    with pytest.raises(SystemExit, match='base_batch_size'):
        train('--auto-scale-lr', text='auto_scale_lr = None')


def test_console_is_quiet_and_the_file_complete(train, capsys):
    work = train(text="optim_wrapper['paramwise_cfg'] = dict(bias_lr_mult=0.5)")
    shown = capsys.readouterr()
    lines = shown.out.strip().splitlines()
    steps = [line for line in lines if 'Epoch(train)' in line]
    assert len(steps) == 8
    # Per epoch also a checkpoint and two lines of validation.
    assert len(lines) <= 8 + 2 * 3 + 5
    log = next(work.glob('*/*.log')).read_text()
    for bulk in ('System environment', 'Config:', 'paramwise_options', 'Hooks will'):
        assert bulk in log
        assert bulk not in shown.out
    assert 'backbone.layers.0' in log


@pytest.mark.parametrize(
    ('option', 'wrong', 'right'),
    [
        ('optim_wraper.type=OptimWrapper', 'optim_wraper', 'optim_wrapper'),
        ('auto_scale_lr.enabel=True', 'enabel', 'auto_scale_lr.enable'),
        ('default_hooks.chekpoint.interval=2', 'chekpoint', 'default_hooks.checkpoint'),
        ('optim_wrapper.paramwise_cfg.norm_decay=0', 'norm_decay', 'norm_decay_mult'),
        ('model.bakbone.depth=3', 'bakbone', 'ImageClassifier'),
        ('train_cfg.max_epoch=3', 'max_epoch', 'EpochBasedTrainLoop'),
        ('val_evaluator.topkk=1', 'topkk', 'Accuracy'),
        ('model.backbone.type=VisionTransfomer', 'VisionTransfomer', 'model registry'),
        ('pipeline=[]', 'pipeline', 'already'),
        ('pretrained=some.pth', 'pretrained', 'PretrainedBackboneHook'),
    ],
)
def test_option_that_nobody_reads(train, option, wrong, right):
    with pytest.raises(SystemExit) as stop:
        train('--cfg-options', option)
    assert wrong in str(stop.value)
    assert right in str(stop.value)


@pytest.mark.parametrize(
    'device, capability, scope, given, expected',
    [
        ('cpu', None, 'mmpretrain', 'OptimWrapper', 'mmtlalign.Bf16OptimWrapper'),
        ('cpu', None, 'mmdet', 'AmpOptimWrapper', 'mmtlalign.Bf16OptimWrapper'),
        ('cuda', (9, 0), 'mmpretrain', 'OptimWrapper', 'mmtlalign.Bf16OptimWrapper'),
        ('cuda', (7, 5), 'mmpretrain', 'OptimWrapper', 'AmpOptimWrapper'),
        ('cuda', (9, 0), 'mmdet', 'OptimWrapper', 'AmpOptimWrapper'),
        ('cuda', (9, 0), 'mmpretrain', 'AmpOptimWrapper', 'AmpOptimWrapper'),
    ],
)
def test_mixed_precision_of_each_device(
    monkeypatch, device, capability, scope, given, expected
):
    monkeypatch.setattr(precision, 'get_device', lambda: device)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capability)
    cfg = Config(dict(default_scope=scope, optim_wrapper=dict(type=given)))
    for _ in range(2):  # the second time there is nothing to do
        precision.mixed_precision(cfg)
        assert cfg.optim_wrapper.type == expected
    scaled = expected == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.get('loss_scale') == ('dynamic' if scaled else None)
