"""Plans: read strictly, run in order, resumed, summed up over seeds, reported."""

import dataclasses
import json
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from repository import ROOT

from mmtlalign.errors import InputError
from mmtlalign.validation.config import load_config
from tools.experiments import runner as runner_module
from tools.experiments.backbone_check import check_backbones
from tools.experiments.jobs import JobError
from tools.experiments.plan import (
    Plan,
    Start,
    Task,
    check_plan,
    metrics_of,
    plan_from_configs,
    read_plan,
)
from tools.experiments.plan_jobs import PlanJobs
from tools.experiments.report import summarise, write_report
from tools.experiments.runner import PlanRunner
from tools.experiments.table import caption, differences, mean_and_spread, table_cells
from tools.output import format_table

PLANS = sorted((ROOT / 'configs/plans').glob('*.py'))
SWIN = 'configs/quickstart/{}_swin-mini-p4-w3_digits-48px.py'
UPERNET = 'configs/quickstart/swin-mini-p4-w3_upernet_digits-96x96.py'
CASCADE = 'configs/quickstart/cascade-mask-rcnn_swin-mini-p4-w3_fpn_digits-96x96.py'
DEIT = 'configs/small/deit-mini-p8_mln-upernet_camvid-128x128.py'


def small_plan(**changes):
    given = dict(
        starts=dict(
            tlalign=Start('TL-Align', SWIN.format('tlalign')),
            control=Start('CutMix control', SWIN.format('cutmix')),
            scratch=Start('from scratch'),
        ),
        tasks=dict(segment=Task('Digits', UPERNET)),
        seeds=(0, 1),
        options={'train_cfg.max_iters': 24},
        at_a_time=2,
    )
    return Plan(**{**given, **changes})


# ----------------------------------------------------------------------- reading


@pytest.mark.parametrize('path', PLANS, ids=lambda path: path.stem)
def test_plans_of_the_project_can_be_run(path, tmp_path):
    plan = read_plan(str(path))
    jobs = PlanRunner(plan, tmp_path).jobs
    for job in jobs.values():
        assert all(
            list(jobs).index(need) < list(jobs).index(job.name) for need in job.needs
        )
    check_backbones(
        PlanRunner(dataclasses.replace(plan, seeds=(0,)), tmp_path).jobs.values()
    )
    head = path.read_text().split('starts =')[0]
    for word in ('pretrain_to_downstream.py', 'Cost:', 'ours'):
        assert word in head
    if plan.smoke:
        little = PlanRunner(plan.smoke_plan(str(path)), tmp_path)
        assert little.jobs['pretrain-tlalign-seed0'].total == 12


# ------------------------------------------------------------------------ suites


def suite_plan(seeds=(0, 1), **changes):
    task = Task('labels', suite=['labels'], items=['rmse'], arguments=['--pairs', '8'])
    tasks = dict(labels=dataclasses.replace(task, **changes))
    return small_plan(tasks=tasks, seeds=seeds)


def test_a_suite_evaluates_what_was_pretrained(tmp_path):
    runner = PlanRunner(suite_plan(), tmp_path)
    job = runner.jobs['labels-control-seed1']
    assert job.needs == ['pretrain-control-seed1']
    # Of random weights there is no classifier.
    assert 'labels-scratch-seed0' not in runner.jobs
    run = tmp_path / 'pretrain-control-seed1'
    run.mkdir()
    (run / 'iter_24.pth').touch()
    (run / 'last_checkpoint').write_text('iter_24.pth')
    command = list(map(str, runner.command_of(job)))
    assert command[1].endswith('tools/evaluate.py')
    assert command[3] == str(run / 'iter_24.pth')
    given = ' '.join(command[4:])
    assert '--suite labels' in given and '--items rmse --pairs 8' in given
    assert f'--out {job.folder} --resume' in given
    assert 'train_cfg.max_iters=24' in given and 'randomness.seed=1' in given


def test_other_arguments_of_a_suite_are_measured_anew(tmp_path):
    jobs = [
        PlanRunner(suite_plan(**changes), tmp_path).jobs['labels-tlalign-seed0']
        for changes in ({}, dict(arguments=['--pairs', '16']), dict(items=[]))
    ]
    assert len({job.fingerprint for job in jobs}) == 3


def test_first_numbers_of_a_suite_are_the_columns(tmp_path):
    rows = [
        dict(setting='a', metrics={'top-1 %': 70.0, 'top-5 %': 90.0}),
        dict(setting='b', metrics={'top-1 %': 60.0}),
    ]
    items = dict(
        clean=dict(headline='', rows=rows),
        pgd=dict(headline='b', rows=rows),
        microscope=dict(headline=None, rows=rows),
        v2=dict(headline='', rows=[]),
    )
    (tmp_path / 'results.json').write_text(json.dumps(dict(items=items)))
    found = runner_module.headlines(tmp_path / 'results.json')
    assert found == {'clean, a: top-1 %': 70.0, 'pgd, b: top-1 %': 60.0}
    columns = {'attacked': 'pgd', 'picture': 'microscope', 'not run': 'sketch'}
    named = runner_module.headlines(tmp_path / 'results.json', columns)
    assert named == {'attacked': 60.0}


def test_columns_of_a_suite_name_items_that_are_measured():
    check_plan(suite_plan(metrics={'RMSE': 'rmse'}))
    with pytest.raises(InputError, match='not among its items'):
        check_plan(suite_plan(metrics={'RMSE': 'mse'}))


@pytest.mark.parametrize('changes', [dict(config=UPERNET), dict(options={'a': 1})])
def test_a_suite_takes_no_training(changes):
    with pytest.raises(InputError, match='Remove them, or the suite'):
        check_plan(suite_plan(**changes))


GOOD = f"""
starts = dict(tlalign=dict(title='TL-Align', config='{SWIN.format('tlalign')}'))
tasks = dict(segment=dict(title='Digits', config='{UPERNET}'))
"""
BAD_NAME = GOOD.replace('tasks = dict(segment=', "tasks = {'a/b': ")[:-2] + '}'
BOTH = GOOD.replace("title='TL-Align',", "title='TL-Align', checkpoint='x.pth',")
GONE = re.sub(
    "config='[^']*imagenet[^']*'|config='[^']*48px.py'", "checkpoint='x.pth'", GOOD
)


@pytest.mark.parametrize(
    'text, message',
    [
        (GOOD + 'sedes = [0]', "'sedes' that is not known. Did you mean 'seeds'"),
        (GOOD.replace('title=', 'titel='), "'titel' that is not known"),
        (GOOD.replace('tasks =', 'jobs ='), "'jobs' that is not known"),
        (GOOD.split('tasks')[0], "lacks 'tasks'"),
        (GOOD.replace('tlalign_swin', 'tlalign_swim'), 'does not exist, neither here'),
        (GOOD + 'seeds = [1, 1]', 'each only once'),
        (GOOD + 'task_seeds = [1]', 'not all among seeds=(0,)'),
        (BAD_NAME, 'is used as a folder name'),
        (BOTH, 'a config and a checkpoint'),
        (GONE, 'does not exist. Correct the path'),
        (GOOD + "smoke = dict(option=1)", "'option' that is not known"),
    ],
)  # fmt: skip
def test_a_wrong_plan_says_what_is_wrong(text, message, tmp_path):
    path = tmp_path / 'plan.py'
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        read_plan(str(path))


def test_a_plan_is_found_from_the_top_of_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_plan('configs/plans/quickstart.py').data == 'data/quickstart'
    with pytest.raises(InputError, match='neither here nor in'):
        read_plan('configs/plans/none.py')


def test_smoke_needs_to_be_described():
    with pytest.raises(InputError, match='has no `smoke`'):
        small_plan().smoke_plan('plan.py')


def test_configs_alone_make_a_plan():
    plan = plan_from_configs([CASCADE, SWIN.format('tlalign'), UPERNET], seeds=(3,))
    assert [Path(start.config or '-').stem for start in plan.starts.values()] == [
        'tlalign_swin-mini-p4-w3_digits-48px',
        '-',
    ]
    assert [task.config for task in plan.tasks.values()] == [CASCADE, UPERNET]
    assert plan.seeds == (3,)
    with pytest.raises(InputError, match='is no task'):
        plan_from_configs([SWIN.format('tlalign')])
    with pytest.raises(InputError, match='is no pretraining config'):
        plan_from_configs([UPERNET])


def test_metrics_are_known_by_the_evaluator():
    found = {
        name: list(metrics_of(load_config(str(ROOT / name)), name))
        for name in (SWIN.format('cutmix'), UPERNET, CASCADE)
    }
    assert list(found.values()) == [['top-1 %'], ['mIoU %'], ['box AP', 'mask AP']]
    cfg = load_config(str(ROOT / UPERNET))
    cfg.val_evaluator = dict(type='CityscapesMetric')
    with pytest.raises(
        InputError, match='the metrics of CityscapesMetric are not known'
    ):
        metrics_of(cfg, UPERNET)


def test_a_backbone_that_does_not_fit_is_found_before_training(tmp_path):
    plan = small_plan(tasks=dict(segment=Task('CamVid', DEIT)), seeds=(0,))
    with pytest.raises(InputError, match='tlalign_swin-mini.*does not fit .*deit-mini'):
        check_backbones(PlanRunner(plan, tmp_path).jobs.values())


# ------------------------------------------------------------ what depends on what


def fingerprints(plan, folder):
    jobs = PlanRunner(plan, folder).jobs
    return {name: job.fingerprint for name, job in jobs.items()}


def test_other_settings_touch_what_depends_on_them_alone(tmp_path):
    plain = fingerprints(small_plan(), tmp_path)
    starts = small_plan().starts
    other = dict(starts, control=dataclasses.replace(
        starts['control'], options={'optim_wrapper.optimizer.lr': 0.5}
    ))  # fmt: skip
    changed = fingerprints(small_plan(starts=other), tmp_path)
    differing = {name for name in plain if plain[name] != changed[name]}
    assert differing == {
        f'{task}-control-seed{seed}'
        for task in ('pretrain', 'export', 'segment')
        for seed in (0, 1)
    } | {'figures'}
    # More seeds leave those that were run as they are.
    more = fingerprints(small_plan(seeds=(0, 1, 2)), tmp_path)
    assert {n: m for n, m in more.items() if n in plain and n != 'figures'} == {
        n: m for n, m in plain.items() if n != 'figures'
    }


def test_other_numbers_of_processes_train_anew(tmp_path):
    one, four, eight = (
        fingerprints(small_plan(processes=n), tmp_path / str(n)) for n in (1, 4, 8)
    )
    for name in one:
        assert len({one[name], four[name], eight[name]}) == 3, name


def test_the_backbone_comes_from_the_same_seed_and_start(tmp_path):
    jobs = PlanRunner(small_plan(), tmp_path).jobs
    job = jobs['segment-control-seed1']
    assert job.needs == ['export-control-seed1']
    assert job.options['pretrained'] == tmp_path / 'export-control-seed1/backbone.pth'
    assert job.options['randomness.seed'] == 1 and job.cfg.randomness.seed == 1
    assert jobs['segment-scratch-seed0'].options['pretrained'] is None
    assert jobs['segment-scratch-seed0'].needs == []


def test_tasks_may_have_fewer_seeds(tmp_path):
    jobs = PlanRunner(small_plan(task_seeds=(1,)), tmp_path).jobs
    assert {'pretrain-control-seed0', 'segment-control-seed1'} <= set(jobs)
    assert 'segment-control-seed0' not in jobs


def test_a_checkpoint_that_is_there_needs_no_pretraining(tmp_path):
    file = tmp_path / 'backbone.pth'
    file.write_bytes(b'1')
    plan = small_plan(starts=dict(given=Start('given', checkpoint=str(file))))
    jobs = PlanRunner(plan, tmp_path).jobs
    assert [n for n in jobs if n != 'figures'] == [
        f'segment-given-seed{s}' for s in (0, 1)
    ]
    assert jobs['segment-given-seed0'].options['pretrained'] == str(file)
    before = fingerprints(plan, tmp_path)
    file.write_bytes(b'22')
    assert fingerprints(plan, tmp_path) != before


def test_several_processes_are_launched_by_torchrun(tmp_path):
    plan = small_plan(processes=4, arguments=['--amp'])
    runner = PlanRunner(plan, tmp_path)
    assert (
        PlanRunner(dataclasses.replace(plan, at_a_time=None), tmp_path).at_a_time == 1
    )
    job = runner.jobs['pretrain-tlalign-seed0']
    bash, launcher, config, processes, *rest = map(str, runner.command_of(job))
    assert (bash, Path(launcher).name, processes) == ('bash', 'dist_train.sh', '4')
    assert '--amp' in rest and Path(config).stem.startswith('tlalign_swin-mini')


def test_a_pretraining_may_keep_its_checkpoints_elsewhere(tmp_path):
    runner = PlanRunner(small_plan(seeds=(0,)), tmp_path)
    job = runner.jobs['pretrain-control-seed0']
    file = tmp_path / 'elsewhere/iter_24.pth'
    for folder in (job.folder, file.parent):
        folder.mkdir()
    file.touch()
    (job.folder / 'last_checkpoint').write_text(str(file))
    job.state['done'] = True
    assert runner.is_done(job)
    assert file in runner.command_of(runner.jobs['export-control-seed0'])


# ---------------------------------------------- running, with tools that only pretend

PRETEND = r"""
import json, pathlib, sys, time
args = sys.argv[1:]
work = pathlib.Path(args[args.index('--work-dir') + 1])
begin = 0
if '--resume' in args:
    begin = int(args[args.index('--resume') + 1].split('_')[-1][:-4])
options = dict(a.split('=', 1) for a in args[args.index('--cfg-options') + 1:])
hold, fail = (pathlib.Path(__file__).parent / name for name in ('hold', 'fail'))
if fail.exists() and 'segment-control' in str(work):
    sys.exit('it broke')
out = work / f'2026_{begin}' / 'vis_data'
out.mkdir(parents=True)
with open(out / 'scalars.json', 'w') as file:
    for step in range(begin + 8, 25, 8):
        file.write(json.dumps(dict(step=step, loss=3.0 / step)) + '\n')
        file.flush()
        (work / f'iter_{step}.pth').write_text(str(step))
        (work / 'last_checkpoint').write_text(f'iter_{step}.pth')
        while hold.exists() and 'segment-tlalign' in str(work):
            time.sleep(0.05)
    seed = int(options['randomness.seed'])
    name = 'accuracy/top1' if 'pretrain-' in str(work) else 'mIoU'
    given = options.get('pretrained', 'None')
    value = 10.0 * seed + ('tlalign' in str(work))
    file.write(json.dumps({name: value, 'step': 24}) + '\n')
print('backbone', given)
"""
COPY = """
import pathlib, shutil, sys
pathlib.Path(sys.argv[2]).parent.mkdir(parents=True, exist_ok=True)
shutil.copy(sys.argv[1], sys.argv[2])
"""
DRAW = """
import pathlib, sys
from PIL import Image
for run in sys.argv[2:]:
    Image.new('RGB', (8, 8)).save(f'{sys.argv[1]}/{pathlib.Path(run).name}.png')
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    folder = tmp_path / 'tools'
    folder.mkdir()
    texts = {
        'train': PRETEND,
        'model_converters/export_backbone': COPY,
        'experiments/draw_runs': DRAW,
    }
    for name, text in texts.items():
        path = folder / f'{name}.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(PlanJobs, 'tools', folder)
    return folder


def test_a_plan_from_beginning_to_report(tools, tmp_path, capsys):
    runner = PlanRunner(small_plan(), tmp_path / 'runs')
    runner.run()
    log = (tmp_path / 'runs/segment-control-seed1/console.log').read_text()
    assert 'backbone ' + str(runner.listing.backbone_file('control', 1)) in log
    assert capsys.readouterr().out.count('mIoU %') == 6

    files = write_report(summary := summarise(runner, 1.0), runner)
    assert summary['columns'] == ['top-1 %', 'Digits: mIoU %']
    rows = {row['start']: row['values'] for row in summary['table']}
    assert rows['tlalign'] == {c: {'0': 1.0, '1': 11.0} for c in summary['columns']}
    assert list(rows['scratch']) == ['Digits: mIoU %']
    report, page = files[0].read_text(), files[1].read_text()
    lines = [' '.join(line.split()) for line in report.splitlines()]
    assert '| TL-Align | 6.0 ± 7.1 | 6.0 ± 7.1 |' in lines
    assert '| TL-Align − control | +1.0 ± 0.0 | +1.0 ± 0.0 |' in lines
    assert '| from scratch | – | 5.0 ± 7.1 |' in lines
    assert '| TL-Align, seed 1 | 11.0 | 11.0 |' in lines
    assert '| from scratch, seed 0 | – | 0.0 |' in lines
    assert '<td>6.0 ± 7.1</td>' in page and page.count('data:image/png;base64,') == 3
    for link in re.findall(r'!\[.*\]\((.*)\)', report):
        assert Image.open(tmp_path / 'runs' / link).size
    for fact in ('randomness.seed=1', 'torch', 'cores', 'Mean ± sample standard'):
        assert fact in report
    assert json.loads(files[2].read_text()) == summary

    # Once more: nothing is done again.
    again = PlanRunner(small_plan(), tmp_path / 'runs')
    again.run()
    assert capsys.readouterr().out.count('(kept)') == len(again.jobs)


def test_a_failure_keeps_the_rest_and_resume_goes_on(tools, tmp_path, capsys):
    (tools / 'fail').touch()
    runs = tmp_path / 'runs'
    with pytest.raises(JobError, match='it broke'):
        PlanRunner(small_plan(seeds=(0,)), runs).run()
    done = runs / 'pretrain-tlalign-seed0/state.json'
    before = done.read_bytes()
    (tools / 'fail').unlink()
    PlanRunner(small_plan(seeds=(0,)), runs).run()
    assert done.read_bytes() == before
    assert json.loads((runs / 'segment-control-seed0/state.json').read_text())['done']


def test_a_stopped_run_goes_on_from_its_last_checkpoint(tools, tmp_path):
    (tools / 'hold').touch()
    runs = tmp_path / 'runs'
    stopped = runs / 'segment-tlalign-seed0'

    def stop_when_it_runs():
        while not (stopped / 'last_checkpoint').exists():
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=stop_when_it_runs).start()
    with pytest.raises(KeyboardInterrupt):
        PlanRunner(small_plan(seeds=(0,)), runs).run()
    (tools / 'hold').unlink()
    PlanRunner(small_plan(seeds=(0,)), runs).run()
    log = (stopped / 'console.log').read_text()
    assert log.count('\n$ ') == 2 and f'--resume {stopped}/iter_8.pth' in log


def test_an_export_that_was_deleted_is_made_again(tools, tmp_path):
    runner = PlanRunner(small_plan(seeds=(0,)), tmp_path / 'runs')
    runner.run()
    file = runner.listing.backbone_file('tlalign', 0)
    file.unlink()
    PlanRunner(small_plan(seeds=(0,)), tmp_path / 'runs').run()
    assert file.is_file()


EVALUATE = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])
with open(out.parent / 'calls', 'a') as file:
    print(out.name, file=file)
row = dict(setting='', metrics={'RMSE %': 2.5})
items = dict(rmse=dict(headline='', rows=[row]))
(out / 'results.json').write_text(json.dumps(dict(items=items)))
"""


def test_other_columns_of_a_suite_need_no_new_measurement(tools, tmp_path):
    (tools / 'evaluate.py').write_text(EVALUATE)
    runs = tmp_path / 'runs'
    for columns in ({'RMSE': 'rmse'}, {'difference': 'rmse'}):
        runner = PlanRunner(suite_plan(seeds=(0,), metrics=columns), runs)
        runner.run()
        job = runner.jobs['labels-tlalign-seed0']
        assert job.state['metrics'] == dict.fromkeys(columns, 2.5)
    assert len((runs / 'calls').read_text().split()) == 2
    (job.folder / 'results.json').unlink()
    PlanRunner(suite_plan(seeds=(0,), metrics=columns), runs).run()
    assert len((runs / 'calls').read_text().split()) == 3


# ------------------------------------------------------------------------------ table


def row(start, **values):
    values = {column: dict(zip('012', given)) for column, given in values.items()}
    return dict(start=start, name=start, values=values)


def test_table_shows_what_was_measured():
    rows = [row('tlalign', a=[91.26, 91.46], b=[0.0]), row('scratch', b=[3.0, 5.0])]
    cells = table_cells(['a', 'b'], rows)
    lines = format_table(cells).splitlines()
    assert lines[2].split() == ['tlalign', '91.4', '±', '0.1', '0.0']
    # A zero is a result; what was not measured is a dash.
    assert lines[3].split() == ['scratch', '–', '4.0', '±', '1.4']
    assert len(set(map(len, lines))) == 1
    last = format_table(cells, markdown=True).splitlines()[-1]
    assert last.split() == '| scratch | – | 4.0 ± 1.4 |'.split()
    assert mean_and_spread([]) == '–' and mean_and_spread([2.0], sign=True) == '+2.0'


def test_caption_says_what_the_numbers_are_means_of():
    rows = [row('tlalign', a=[1, 2, 3], b=[4]), row('scratch', b=[5])]
    assert caption(['a', 'b'], rows).startswith(
        'Mean ± sample standard deviation over the seeds 0, 1, 2; without ±: seed 0 '
        'alone, so there is no spread. '
    )


def test_differences_are_taken_seed_by_seed():
    rows = [row('method', a=[5.0, 9.0]), row('control', a=[4.0, 2.0]), row('scratch')]
    found = differences(['a'], rows, 'control')
    assert [r['start'] for r in found] == ['method', 'scratch']
    assert found[0]['values'] == {'a': {'0': 1.0, '1': 7.0}}
    assert found[1]['values'] == {}
    assert differences(['a'], rows, None) == []
