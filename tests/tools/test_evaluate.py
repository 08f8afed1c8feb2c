"""tools/evaluate.py: one pass, results that can be kept, paired comparison, report."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import needs_corruptions
from mmengine.config import Config
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import MODELS
from repository import ROOT, tool

from mmtlalign.errors import InputError
from mmtlalign.evaluation.classifier import load_classifier
from mmtlalign.validation.config import load_config

CONFIG = """
default_scope = 'mmpretrain'
data_preprocessor = dict(
    num_classes=4, mean=[120.0, 115.0, 105.0], std=[60.0, 58.0, 57.0], to_rgb=True
)
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32
        ),
        img_size=32,
        patch_size=8,
    ),
    head=dict(
        type='mmtlalign.TLAlignVisionTransformerClsHead',
        num_classes=4,
        in_channels=16,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(augments=[dict(type='mmtlalign.TokenCutMix', patch_size=8)]),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(
        type='CustomDataset',
        data_root={root!r},
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=32),
            dict(type='PackInputs'),
        ],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = dict(type='Accuracy', topk=(1,))
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
"""
ALL = ('robustness', 'occlusion', 'attention', 'labels', 'cost')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Folder with images, a config and two checkpoints."""
    folder = tmp_path_factory.mktemp('run')
    draw = np.random.default_rng(0)
    for number in range(24):
        place = folder / 'images' / f'class{number % 4}'
        place.mkdir(parents=True, exist_ok=True)
        image = draw.integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(str(place / f'{number}.png'), cv2.resize(image, (32, 32)))
    write_objects(folder / 'objects')
    (folder / 'tiny.py').write_text(CONFIG.format(root=str(folder / 'images')))
    cfg = load_config(str(folder / 'tiny.py'))
    for seed, name in enumerate(('a.pth', 'b.pth')):
        model, _ = load_classifier(cfg, seed=seed)
        with torch.no_grad():
            model.head.layers.head.weight.normal_(std=1.0)
        torch.save(dict(state_dict=model.state_dict(), meta={}), folder / name)
    return folder


def write_objects(folder):
    """Write twelve images with a square each, in COCO's format."""
    (folder / 'val').mkdir(parents=True)
    images, annotations = [], []
    for number in range(12):
        image = np.full((40, 48, 3), 90, np.uint8)
        x, y, side = 2 + 3 * (number % 6), 3 + 2 * (number % 4), 12 + number
        image[y : y + side, x : x + side] = (200, 30 * (number % 3), 40)
        cv2.imwrite(str(folder / 'val' / f'{number}.png'), image)
        images.append(dict(id=number, file_name=f'{number}.png', height=40, width=48))
        corners = [x, y, x + side, y, x + side, y + side, x, y + side]
        annotations.append(
            dict(
                id=number + 1,
                image_id=number,
                category_id=1,
                segmentation=[corners],
                bbox=[x, y, side, side],
                area=side**2,
                iscrowd=0,
            )
        )
    content = dict(
        images=images, annotations=annotations, categories=[dict(id=1, name='square')]
    )
    (folder / 'instances_val.json').write_text(json.dumps(content))


def evaluate(run, monkeypatch, out, *arguments, checkpoint='a.pth'):
    """Run the tool in this process; returns exit status and results."""
    given = [str(run / 'tiny.py'), str(run / checkpoint), '--out', str(out)]
    given += ['--workers', '0', *map(str, arguments)]
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', *given])
    with pytest.raises(SystemExit) as end:
        tool('evaluate').main()
    file = Path(out) / 'results.json'
    return end.value.code, json.loads(file.read_text()) if file.is_file() else None


def numbers(results, suites=ALL):
    """Everything measured but time and machine: (item, setting, network) -> metrics."""
    return {
        (name, row['setting'], row['network']): (
            row['metrics'],
            row['n'],
            row['standard_error'],
            row['spread'],
        )
        for name, item in results['items'].items()
        for row in item['rows']
        if item['suite'] in suites and name not in ('inference', 'training')
    }


def equal(one, other):
    assert one.keys() == other.keys()
    for key, (metrics, *rest) in one.items():
        assert metrics == pytest.approx(other[key][0], abs=1e-4, nan_ok=True), key
        assert rest == pytest.approx(other[key][1:], abs=1e-4), key


FEW = ('--severities', 3, '--pairs', 16, '--seeds', 0, 1)
OBJECTS = 'objects/instances_val.json'


READ: dict[str, set] = {}


def record_options(patch):
    """Note in READ which options the items of a measurement look at."""
    from tools.evaluation import context, run

    now = set()

    class Recorded(context.Options):
        def __getattribute__(self, name):
            now.add(name)
            return super().__getattribute__(name)

    def measure_conditions(context, items, *given, measure=run.measure_conditions):
        now.clear()
        measure(context, items, *given)
        READ['one pass'] = set(now)

    def measure_item(context, item, *given, measure=run.measure_item):
        now.clear()
        measure(context, item, *given)
        READ[item.name] = set(now)

    patch.setattr(context, 'Options', Recorded)
    patch.setattr(run, 'measure_conditions', measure_conditions)
    patch.setattr(run, 'measure_item', measure_item)


@pytest.fixture(scope='module')
def whole(run, tmp_path_factory):
    out = tmp_path_factory.mktemp('whole')
    with pytest.MonkeyPatch.context() as patch:
        record_options(patch)
        more = ('--control', run / 'b.pth', '--objects', run / OBJECTS)
        code, results = evaluate(run, patch, out, '--suite', *ALL, *FEW, *more)
    assert code == 0
    return out, results


def test_every_item_has_rows_or_a_reason(whole):
    _, results = whole
    from tools.evaluation.suites import ITEMS

    names = [item.name for item in ITEMS if item.suite in ALL]
    assert list(results['items']) == names
    for name, item in results['items'].items():
        assert bool(item['rows']) != bool(item['skipped']), name
    skipped = {name for name, item in results['items'].items() if item['skipped']}
    assert {'imagenet-a', 'imagenet-c', 'imagenet-o', 'v2', 'real'} <= skipped
    assert '1000 classes' in results['items']['imagenet-a']['skipped']


def test_items_depend_on_the_options_that_they_name(whole):
    from tools.evaluation.items import ConditionItem
    from tools.evaluation.suites import ITEMS

    options = {'limit', 'pairs', 'seeds', 'severities', 'saliency', 'objects'}
    named = {item.name: set(item.options) for item in ITEMS}
    named['one pass'] = {
        name
        for item in ITEMS
        if isinstance(item, ConditionItem)
        for name in item.options
    }
    assert len(READ) > 8
    for name, read in READ.items():
        assert read & options <= named[name], name


def test_another_option_measures_what_depends_on_it_alone(run, monkeypatch, tmp_path):
    given = ('--items', 'random', 'rmse', '--suite', 'occlusion', 'labels')
    evaluate(run, monkeypatch, tmp_path, *given, '--seeds', 0, '--pairs', 16)
    before = json.loads((tmp_path / 'results.json').read_text())['items']
    more = ('--seeds', 0, '--pairs', 32, '--resume')
    _, results = evaluate(run, monkeypatch, tmp_path, *given, *more)
    assert results['items']['random'] == before['random']
    assert results['items']['rmse'] != before['rmse']
    assert results['items']['rmse']['rows'][0]['n'] == 32


def test_clean_accuracy_is_that_of_tools_test(run, whole, monkeypatch, tmp_path):
    _, results = whole
    config = tmp_path / 'tested.py'
    config.write_text((run / 'tiny.py').read_text().split('optim_wrapper')[0])
    given = [str(config), str(run / 'a.pth'), '--work-dir', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', ['test.py', *given])
    tool('test').main()
    (scalars,) = tmp_path.rglob('*.json')
    accuracy = json.loads(scalars.read_text())['accuracy/top1']
    clean = numbers(results)['clean', '', 'model'][0]['top-1 %']
    assert clean == pytest.approx(accuracy, abs=1e-4)


@pytest.mark.parametrize(
    'item',
    ['clean', pytest.param('corruptions', marks=needs_corruptions), 'random', 'fgsm'],
)
def test_differences_are_those_of_the_rows(whole, item):
    found = numbers(whole[1])
    keys = [key for key in found if key[0] == item and key[2] == 'difference']
    assert keys
    for name, setting, _ in keys:
        model, control = (
            next(iter(found[name, setting, n][0].values()))
            for n in ('model', 'control')
        )
        (value,) = found[name, setting, 'difference'][0].values()
        assert value == pytest.approx(model - control, abs=1e-6)


def test_differences_are_paired(whole):
    out, results = whole
    found = numbers(results)
    with np.load(out / 'images' / 'clean.npz') as images:
        one, other = (images[f'{n}/clean/correct'] for n in ('model', 'control'))
    only = (one & ~other).sum(), (other & ~one).sum()
    n = len(one)
    error = 100 * np.sqrt(sum(only) - (only[0] - only[1]) ** 2 / n) / n
    assert found['clean', '', 'difference'][2] == pytest.approx(error)


@pytest.mark.parametrize(
    'place, by, whole, word',
    [
        (1, 'mass', 0, 'dropped'),
        (2, 'patches', 0, 'dropped'),
        (2, 'mass', 1, 'kept'),
    ],
)
def test_whole_images_lie_at_their_end_of_a_curve(place, by, whole, word):
    from mmtlalign.evaluation.conditions import Predictions
    from tools.evaluation import occlusion

    def predictions(accuracy):
        top = np.zeros((100, 1), int)
        labels = (np.arange(100) >= round(100 * accuracy)).astype(int)[:, None]
        return Predictions(top, *np.zeros((3, 100)), labels)

    item = occlusion.ITEMS[place]
    results = {('model', 'clean'): predictions(0.9)}
    for ratio in occlusion.RATIOS:
        for axis in ('patches', 'mass'):
            name = f'{item.name} {axis} {ratio}'
            results['model', name] = predictions(0.9 - 0.5 * abs(ratio - whole))
    context = SimpleNamespace(
        image_size=(224, 224), options=SimpleNamespace(saliency='self')
    )
    rows = [r for r in item.rows(context, results) if f'by {by}' in r.setting]
    area, *rest = rows
    assert area.metrics['area %'] == pytest.approx(67.5)
    assert word in area.protocol['area']
    for row in rest:
        expected = 90 - 50 * abs(row.protocol['x'] - whole)
        assert row.metrics['top-1 %'] == pytest.approx(expected)
        assert row.protocol['x_label'].endswith(word)


def test_a_network_does_not_differ_from_itself(run, monkeypatch, tmp_path):
    given = ('--suite', 'robustness', '--items', 'clean', 'corruptions')
    given += ('--control', run / 'a.pth', '--severities', 5)
    _, results = evaluate(run, monkeypatch, tmp_path, *given)
    for item in results['items'].values():
        for row in item['rows']:
            if row['network'] == 'difference':
                assert set(row['metrics'].values()) == {0}
                assert row['p'] in (None, 1)


def test_batches_do_not_matter(run, whole, monkeypatch, tmp_path):
    suites = ('robustness', 'occlusion', 'attention', 'labels')
    given = ('--suite', *suites, *FEW, '--objects', run / OBJECTS)
    given += ('--control', run / 'b.pth', '--batch-size', 5, '--workers', 1)
    # What draws, and what is measured by itself; attacks take a minute more.
    items = ['random', 'salient', 'shuffle', 'jaccard', 'rmse', 'presence']
    if find_spec('imagecorruptions'):
        items.append('corruptions')
    _, results = evaluate(run, monkeypatch, tmp_path, *given, '--items', *items)
    expected = numbers(whole[1], suites)
    found = numbers(results, suites)
    assert {key[0] for key in found} == set(items)
    equal(found, {key: expected[key] for key in found})


def test_the_limit_takes_part_of_the_same_draws(run, whole, monkeypatch, tmp_path):
    given = ('--suite', 'occlusion', '--items', 'random', '--seeds', 0, 1)
    evaluate(run, monkeypatch, tmp_path, *given, '--limit', 12)
    with np.load(tmp_path / 'images' / 'random.npz') as part:
        with np.load(whole[0] / 'images' / 'random.npz') as every:
            assert part['index'].tolist() == list(range(0, 24, 2))
            for name in part.files:
                if name.endswith('correct'):
                    assert np.array_equal(part[name], every[name][::2]), name


def test_every_number_of_the_report_is_in_the_results(whole):
    out, results = whole
    from tools.evaluation.report import number

    known = {'', '–'}
    for item in results['items'].values():
        for row in item['rows']:
            for value in (
                *row['metrics'].values(),
                *(row['standard_error'], row['spread'], row['n']),
                *(row['interval'] or ()),
            ):
                known |= {number(value), str(value)}
            known.add(f'{row["p"]:.2g}' if row['p'] is not None else '')
    text = (out / 'report.html').read_text()
    checked = 0
    for line in re.findall(r'<tr>(.*?)</tr>', text, re.S):
        cells = re.findall(r'<td>([^<]*)</td>', line)
        # In front of them stand setting and metric.
        found = [cell for cell in cells if re.match(r'-?[\d.,e-]+( [±(].*)?$', cell)]
        for one in re.findall(r'-?[\d,]*\.?\d+(?:e[-+]?\d+)?', ' '.join(found)):
            assert one in known, (one, line)
            checked += 1
    assert checked > 300
    assert '<script' not in text and 'src="http' not in text


def test_what_was_measured_is_kept(run, monkeypatch, tmp_path, capsys):
    given = ('--suite', 'occlusion', '--seeds', 0, 1)
    evaluate(run, monkeypatch, tmp_path, *given, '--items', 'shuffle')
    code, _ = evaluate(run, monkeypatch, tmp_path, *given)
    assert '--resume keeps' in code and '--overwrite replaces' in code
    capsys.readouterr()
    _, results = evaluate(run, monkeypatch, tmp_path, *given, '--resume')
    assert 'shuffle: earlier result kept' in capsys.readouterr().out
    assert {'random', 'salient', 'non-salient', 'shuffle'} == set(results['items'])
    # Other settings are measured anew.
    evaluate(run, monkeypatch, tmp_path, *given, '--resume', '--limit', 8)
    assert 'earlier result' not in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, said',
    [
        (('--items', 'corruption'), "Did you mean 'corruptions'?"),
        (('--suite', 'occlusion', '--saliency', 'dino.npy'), 'nor a file'),
        (
            ('--suite', 'attention', '--objects', 'nowhere.json'),
            'not a COCO instances file',
        ),
        (('--suite', 'attention', '--data', 'nowhere'), 'name another with --objects'),
    ],
)
def test_mistakes(run, monkeypatch, tmp_path, capsys, arguments, said):
    code, _ = evaluate(run, monkeypatch, tmp_path, *arguments, '--list')
    assert said in f'{code} {capsys.readouterr().out}'


@pytest.mark.parametrize('option, least', [('--workers', 0), ('--limit', 1)])
def test_numbers_that_are_too_low(monkeypatch, capsys, option, least):
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', 'c.py', option, str(least - 1)])
    with pytest.raises(SystemExit):
        tool('evaluate').main()
    assert f'{option} takes a number from {least} on' in capsys.readouterr().err


def test_a_config_of_another_task_is_refused(monkeypatch, tmp_path):
    config = ROOT / 'configs/quickstart/swin-mini-p4-w3_upernet_digits-96x96.py'
    given = [str(config), '--out', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', *given])
    with pytest.raises(SystemExit) as end:
        tool('evaluate').main()
    assert 'is not a classifier' in str(end.value.code)
    assert not (tmp_path / 'results.json').exists()


def test_a_checkpoint_of_other_classes_is_refused(run, monkeypatch, tmp_path):
    cfg = Config.fromfile(run / 'tiny.py')
    cfg.model.head.num_classes = cfg.data_preprocessor.num_classes = 7
    model, _ = load_classifier(cfg)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'seven.pth')
    given = [str(run / 'tiny.py'), str(tmp_path / 'seven.pth')]
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', *given, '--out', str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        tool('evaluate').main()
    assert 'have another shape' in str(end.value.code)
    assert not (tmp_path / 'results.json').exists()


def test_strict_fails_where_something_is_not_measured(run, monkeypatch, tmp_path):
    given = ('--suite', 'robustness', '--items', 'clean', 'v2', '--strict')
    code, results = evaluate(run, monkeypatch, tmp_path, *given)
    assert code == 3
    assert results['items']['v2']['skipped'] and results['items']['clean']['rows']


def test_saliency_of_a_file_is_equal_for_both(run, monkeypatch, tmp_path):
    maps = np.random.default_rng(0).random((24, 4, 4))
    np.save(tmp_path / 'maps.npy', maps)
    given = ('--suite', 'occlusion', '--items', 'salient')
    given += ('--saliency', tmp_path / 'maps.npy')
    _, results = evaluate(run, monkeypatch, tmp_path / 'out', *given)
    rows = results['items']['salient']['rows']
    assert not any(row['notes'] for row in rows)


START = """
import runpy, sys
import mmtlalign.evaluation.part_files as parts
parts.SAVE_SECONDS = 0
sys.argv = ['tools/evaluate.py', *sys.argv[1:]]
runpy.run_path('tools/evaluate.py', run_name='__main__')
"""


def command(run, out, *arguments):
    given = [str(run / 'tiny.py'), str(run / 'a.pth'), '--out', str(out)]
    given += ['--control', str(run / 'b.pth'), '--workers', '0', '--batch-size', '2']
    return [*given, *map(str, arguments)]


def test_boxes_without_masks_judge_boxes(run, monkeypatch, tmp_path):
    images = tmp_path / 'data/imagenet/val'
    images.mkdir(parents=True)
    lines = []
    for number in range(4):
        name = f'ILSVRC2012_val_{number:08d}.JPEG'
        shutil.copy(run / f'objects/val/{number}.png', images / name)
        lines.append(f'val/{name},{number},2,30,30')
    (tmp_path / 'boxes.txt').write_text('\n'.join(lines))
    given = ('--suite', 'attention', 'labels', '--items', 'jaccard', 'boxes')
    given += ('empty-box', '--objects', tmp_path / 'boxes.txt')
    given += ('--data', tmp_path / 'data')
    status, results = evaluate(run, monkeypatch, tmp_path / 'out', *given)
    assert not status
    for item in ('jaccard', 'empty-box'):
        assert results['items'][item]['skipped'].endswith('has boxes, no masks')
    rows = results['items']['boxes']['rows']
    assert any('MaxBoxAcc %' in row['metrics'] for row in rows)
    assert {row['n'] for row in rows} == {4}


def test_two_runs_do_not_write_into_one_folder(run, monkeypatch, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    lines = [
        'import fcntl, time',
        f"file = open({str(out / '.lock')!r}, 'w')",
        'fcntl.lockf(file, fcntl.LOCK_EX)',
        "print('process 7 on another', file=file, flush=True)",
        "print('locked', flush=True)",
        'time.sleep(60)',
    ]
    command = [sys.executable, '-c', '\n'.join(lines)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == 'locked\n'
        status, _ = evaluate(run, monkeypatch, out, '--items', 'clean')
        other.kill()
    assert 'in use by process 7 on another' in str(status)
    assert '--out FOLDER' in str(status)


@pytest.mark.slow  # four starts of a process
def test_killed_and_resumed(run, tmp_path):
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    items = ('--suite', 'robustness', 'labels', *FEW)
    items += ('--items', 'clean', 'corruptions', 'rmse')
    start = [sys.executable, '-c', START]
    given = command(run, tmp_path / 'killed', *items)
    process = subprocess.Popen([*start, *given], cwd=ROOT, env=env)
    while len(list(tmp_path.glob('killed/parts/*/*.npz'))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list(tmp_path.glob('killed/parts/*/*.npz')))
    assert kept >= 3 and not (tmp_path / 'killed' / 'images').exists()
    run_again = [*start, *given, '--resume']
    done = subprocess.run(run_again, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r'earlier results of [1-9]\d* of \d+ images kept', done.stdout)
    given = command(run, tmp_path / 'whole', *items)
    subprocess.run([*start, *given], cwd=ROOT, env=env, check=True)
    killed, whole = (
        json.loads((tmp_path / name / 'results.json').read_text())
        for name in ('killed', 'whole')
    )
    assert numbers(killed) == numbers(whole)


@pytest.mark.slow  # two processes of torchrun
def test_two_processes(run, whole, tmp_path):
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    launch = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2']
    launch += ['--master-port', '29517', 'tools/evaluate.py']
    suites = ('robustness', 'occlusion', 'attention', 'labels')
    given = command(run, tmp_path, '--suite', *suites, *FEW, '--launcher', 'pytorch')
    given += ['--objects', str(run / OBJECTS)]
    subprocess.run([*launch, *given], cwd=ROOT, env=env, check=True)
    results = json.loads((tmp_path / 'results.json').read_text())
    equal(numbers(results, suites), numbers(whole[1], suites))


class RoundedViT(VisionTransformer):
    """Reads rounded pixels, through which no gradient passes."""

    def forward(self, x):
        return super().forward(x.detach().round())


def test_a_masked_gradient_is_not_attacked(run, monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS.module_dict, 'RoundedViT', RoundedViT)
    given = ('--items', 'clean', 'fgsm', '--cfg-options')
    given += (f'model.backbone.type={RoundedViT.__name__}',)
    _, results = evaluate(run, monkeypatch, tmp_path, *given)
    assert 'gradient is masked' in results['items']['fgsm']['skipped']
    assert 'fgsm' in (tmp_path / 'report.html').read_text()
    assert results['items']['clean']['rows']


def test_results_of_another_checkpoint_are_left_out(run, monkeypatch, tmp_path, capsys):
    evaluate(run, monkeypatch, tmp_path, '--items', 'clean', 'calibration')
    given = ('--items', 'shuffle', '--seeds', 0, '--resume')
    _, results = evaluate(run, monkeypatch, tmp_path, *given, checkpoint='b.pth')
    assert list(results['items']) == ['shuffle']
    assert 'clean: measured with another checkpoint' in capsys.readouterr().out


def test_what_was_skipped_is_not_said_to_be_measured(
    run, monkeypatch, tmp_path, capsys
):
    evaluate(run, monkeypatch, tmp_path, '--items', 'clean', 'imagenet-a')
    given = ('--items', 'clean', '--resume')
    _, results = evaluate(run, monkeypatch, tmp_path, *given)
    assert list(results['items']) == ['clean']
    assert 'measured with another' not in capsys.readouterr().out


def test_results_of_another_normalisation_are_left_out(run, monkeypatch, tmp_path):
    given = ('--items', 'clean')
    _, before = evaluate(run, monkeypatch, tmp_path, *given)
    more = ('--resume', '--cfg-options', 'data_preprocessor.mean=[10.0,200.0,30.0]')
    _, after = evaluate(run, monkeypatch, tmp_path, *given, *more)
    assert numbers(after) != numbers(before)


def test_results_of_other_test_images_are_left_out(run, monkeypatch, tmp_path):
    images = tmp_path / 'images'
    shutil.copytree(run / 'images', images)
    given = ('--items', 'clean', '--cfg-options', f'data_root={images}')
    evaluate(run, monkeypatch, tmp_path / 'out', *given)
    shutil.copy(images / 'class0/0.png', images / 'class0/1.png')
    _, after = evaluate(run, monkeypatch, tmp_path / 'out', '--resume', *given)
    assert after['items']['clean']['rows'][0]['n'] == 25
    # Other pixels in a file of the same name.
    for path in images.glob('*/*.png'):
        cv2.imwrite(str(path), np.zeros((32, 32, 3), np.uint8))
    _, other = evaluate(run, monkeypatch, tmp_path / 'out', '--resume', *given)
    assert numbers(other) != numbers(after)


def test_fingerprints_know_the_default_objects_and_the_machine(
    run, monkeypatch, tmp_path
):
    from tools.evaluation import cost, suites
    from tools.evaluation import run as runs

    found = []

    def measure(context, *given):
        found.append({i.name: runs.fingerprint(context, i) for i in suites.ITEMS})
        return []

    monkeypatch.setattr(runs, 'measure', measure)
    annotations = tmp_path / 'data/coco/annotations'
    annotations.mkdir(parents=True)
    (annotations / 'instances_val2017.json').write_text('{}')
    given = (run, monkeypatch, tmp_path / 'out', '--overwrite')
    given += ('--data', tmp_path / 'data')
    evaluate(*given)
    (tmp_path / 'data/VOCdevkit/VOC2012/SegmentationClass').mkdir(parents=True)
    evaluate(*given)
    (annotations.parents[1] / 'imagenet/val').mkdir(parents=True)
    evaluate(*given)
    monkeypatch.setattr(cost, 'processor', lambda: 'another')
    evaluate(*given)
    changes = [
        {name for name in one if one[name] != two[name]}
        for one, two in zip(found, found[1:])
    ]
    assert changes == [
        {'jaccard', 'boxes', 'empty-box'},
        {'imagenet-a', 'imagenet-r', 'imagenet-o', 'real'},
        {'inference', 'training'},
    ]


def test_a_stamp_sees_every_folder(tmp_path):
    from tools.evaluation.context import stamp

    deep = tmp_path / 'fog/1/n01440764'
    deep.mkdir(parents=True)
    before = stamp(tmp_path)
    assert stamp(tmp_path) == before
    time.sleep(0.02)
    (deep / 'a.JPEG').write_text('')
    assert stamp(tmp_path) != before


def test_a_missing_class_is_refused(run, monkeypatch, tmp_path):
    folder = tmp_path / 'images'
    for name in ('class0', 'class1', 'class3'):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / 'a.png'), np.zeros((32, 32, 3), np.uint8))
    option = f'test_dataloader.dataset.data_root={folder}'
    given = ('--items', 'clean', '--cfg-options', option)
    code, results = evaluate(run, monkeypatch, tmp_path / 'out', *given)
    assert 'test set has 3 classes, the network 4' in code and results is None


def test_other_names_of_classes_are_refused(run, monkeypatch, tmp_path):
    content = torch.load(run / 'a.pth')
    content['meta'] = dict(dataset_meta=dict(classes=('a', 'b', 'c', 'd')))
    torch.save(content, run / 'named.pth')
    given = ('--items', 'clean')
    code, _ = evaluate(run, monkeypatch, tmp_path, *given, checkpoint='named.pth')
    assert 'classes of checkpoint' in code


def test_one_item_that_fails_does_not_stop_the_others(run, monkeypatch, tmp_path):
    from tools.evaluation.attention import Entropy

    def fail(item, context):
        raise InputError('no attention today')

    monkeypatch.setattr(Entropy, 'measure', fail)
    given = ('--items', 'clean', 'entropy', 'flops')
    code, results = evaluate(run, monkeypatch, tmp_path, *given)
    assert code == 1
    items = results['items']
    assert items['clean']['rows'] and items['flops']['rows']
    assert items['entropy']['skipped'] == 'failed: no attention today'
    assert 'no attention today' in (tmp_path / 'report.html').read_text()


@pytest.mark.parametrize(
    'maps, said',
    [
        (np.array(['a']), 'nor a file|holds'),
        (np.ones((23, 4, 4)), 'holds'),
        (np.ones((25, 4, 4)), 'holds'),
        (np.where(np.arange(24)[:, None, None] == 5, np.nan, np.ones((24, 4, 4))), '5'),
    ],
)
def test_wrong_maps_of_saliency(run, monkeypatch, tmp_path, maps, said):
    np.save(tmp_path / 'maps.npy', maps)
    given = ('--items', 'salient', '--saliency', tmp_path / 'maps.npy')
    code, results = evaluate(run, monkeypatch, tmp_path / 'out', *given)
    assert re.search(said, code) and results is None


def test_ctrl_c_says_how_to_go_on(run, monkeypatch, tmp_path, capsys):
    from tools.evaluation.robustness import Clean

    def stop(item, context):
        raise KeyboardInterrupt

    monkeypatch.setattr(Clean, 'conditions', stop)
    code, _ = evaluate(run, monkeypatch, tmp_path, '--items', 'clean')
    assert code == 130 and '--resume' in capsys.readouterr().out


def test_too_few_images_for_pairs(run, monkeypatch, tmp_path):
    given = ('--items', 'clean', 'rmse', '--limit', 3)
    code, results = evaluate(run, monkeypatch, tmp_path, *given)
    assert code == 0 and results['items']['clean']['rows']
    assert 'drawn from 8' in results['items']['rmse']['skipped']


def test_one_condition_that_fails_leaves_the_others(run, monkeypatch, tmp_path):
    from tools.evaluation.occlusion import Shuffle

    def refuse(item, context, results):
        raise InputError('no grid today')

    monkeypatch.setattr(Shuffle, 'rows', refuse)
    given = ('--suite', 'occlusion', '--items', 'random', 'shuffle', '--seeds', 0)
    status, results = evaluate(run, monkeypatch, tmp_path, *given)
    assert status == 1
    assert results['items']['random']['rows']
    assert results['items']['shuffle']['skipped'] == 'failed: no grid today'
