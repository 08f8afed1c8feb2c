"""Plans: what to pretrain, which tasks to take it to, and with which seeds.

A plan is a Python file in the syntax of configs, see ``configs/plans``, or a list of
configs: those that read ``pretrained`` are tasks, the others pretrain.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmtlalign.errors import InputError

SCRATCH = 'scratch'


@dataclass(frozen=True)
class Start:
    """Initial weights of a backbone; a row of the table.

    Attributes:
        title: Name of the row.
        config: Config of a pretraining run that makes them.
        checkpoint: Checkpoint that is there already, instead of a config. Without
            either the backbone is random.
        options: Dotted key to value, as ``--cfg-options``.
    """

    title: str
    config: str | None = None
    checkpoint: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """Evaluation of a backbone: a task that it is trained for, or a suite.

    Attributes:
        title: Stands before the columns of the table.
        config: Config that reads ``pretrained``.
        options: Dotted key to value, as ``--cfg-options``.
        metrics: Column to mmengine's name of the metric, or to the item of the suites
            whose first number it holds. Defaults to None: what the evaluator of the
            config, or every item, measures.
        suite: Instead of a config, suites of ``tools/evaluate.py`` that the pretrained
            classifier goes through itself.
        items: Of the suites. Defaults to all.
        arguments: More arguments of ``tools/evaluate.py``, such as ``['--limit',
            '1000']``.
        after: Share of the training, in (0, 1], whose checkpoint the suites evaluate.
            Defaults to 1: the last one.
    """

    title: str
    config: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, str] | None = None
    suite: list[str] | None = None
    items: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    after: float = 1.0


@dataclass(frozen=True)
class Plan:
    """Comparison that trains every task from every start, once a seed.

    Attributes:
        starts: Short name to start, in the order of the rows.
        tasks: Short name to task, in the order of the columns.
        seeds: Of initialisation, order and augmentation.
        task_seeds: Those of them with which the tasks are trained. Defaults to None:
            all.
        options: Dotted key to value for every run.
        start_options: The same, for the pretraining of every start alone.
        data: Folder that ``{data}`` in a value stands for.
        before: Arguments of Python, run before all else, such as
            ``['tools/demo/quickstart_data.py', '{data}']``.
        smoke: What ``--smoke`` changes: keys of the plan, such as ``options`` (added to
            those above), ``before`` and ``data``.
        at_a_time: Runs side by side. Defaults to None: two where there are two cores
            and no GPU, else one.
        processes: Of one run; more than 1 start ``torchrun``.
        arguments: More arguments of ``tools/train.py``, such as ``--amp``.
        control: Start that the others are compared with. Defaults to 'control', if
            there is one of that name.
        weights: Weights that are exported, as
            ``tools/model_converters/export_backbone.py --weights``.
        note: Stands in the report.
        results: Folder, from the top of the project, that gets a JSON file for each
            start and seed, see :mod:`.units`. Defaults to '': a report instead.
        headlines: Columns of units that the figure and the first table show, to their
            headings there. Defaults to {}: one table of every column, and no figure.
        nice: How far all runs stand back for other processes, up to 19.
        threads: Of a run. Defaults to None: the cores, shared out.
    """

    starts: dict[str, Start]
    tasks: dict[str, Task]
    seeds: tuple[int, ...] = (0,)
    task_seeds: tuple[int, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    start_options: dict[str, Any] = field(default_factory=dict)
    data: str = ''
    before: list[list[str]] = field(default_factory=list)
    smoke: dict[str, Any] = field(default_factory=dict)
    at_a_time: int | None = None
    processes: int = 1
    arguments: list[str] = field(default_factory=list)
    control: str = 'control'
    weights: str = 'auto'
    note: str = ''
    results: str = ''
    headlines: dict[str, str] = field(default_factory=dict)
    nice: int = 0
    threads: int | None = None

    def smoke_plan(self, file: str) -> 'Plan':
        """Return the short plan that ``--smoke`` asks for.

        Args:
            file: Plan file, for the message.

        Raises:
            InputError: The plan does not say what a smoke run changes.
        """
        if not self.smoke:
            raise InputError(
                f'{file} has no `smoke`, so a short run is not defined. Add smoke = '
                "dict(options={'train_cfg.max_iters': 8}) or leave out --smoke."
            )
        changed = {
            name: {**getattr(self, name), **self.smoke.get(name, {})}
            for name in ('options', 'start_options')
        }
        return replace(self, **{**self.smoke, **changed})

    def kind_of(self, task: str | None) -> str:
        """Return whether a job of a task is ``'evaluation'`` or ``'training'``."""
        entry = self.tasks.get(task)
        return 'evaluation' if entry and entry.suite else 'training'

    def options_of(self, start: str) -> dict:
        """Return the options of the pretraining of a start, by its short name."""
        own = self.starts[start].options
        return {**self.options, **self.start_options, **own}


def read_plan(path: str) -> Plan:
    """Read a plan file.

    Args:
        path: A Python file with the attributes of :class:`Plan`; ``starts`` and
            ``tasks`` hold dicts with the attributes of :class:`Start` and
            :class:`Task`. Configs are named relative to the working directory or
            to the top of this project.

    Returns:
        The plan, every name in it checked.

    Raises:
        InputError: A key is not known or missing, or a config is not there.
    """
    given = Config.fromfile(find_config(path)).to_dict()
    check_keys(given, Plan, path)
    for kind, name in ((Start, 'starts'), (Task, 'tasks')):
        for key, entry in given[name].items():
            check_keys(entry, kind, f'{path}: {name}[{key!r}]')
        given[name] = {key: kind(**entry) for key, entry in given[name].items()}
    check_keys(given.get('smoke', {}), Plan, f'{path}: smoke', complete=False)
    return check_plan(Plan(**{**given, 'seeds': tuple(given.get('seeds', (0,)))}))


def plan_from_configs(
    configs: Iterable[str], seeds: Iterable[int] = (0,), scratch: bool = True
) -> Plan:
    """Make a plan of configs: those that read ``pretrained`` are the tasks.

    Args:
        configs: Config files.
        seeds: Of initialisation, order and augmentation.
        scratch: Whether to train each task from random weights, too.

    Raises:
        InputError: There is no task, or nothing to start from.
    """
    starts, tasks = {}, {}
    for config in configs:
        stem = Path(config).stem
        from mmtlalign.validation.config import load_config  # imports PyTorch

        if 'pretrained' in load_config(find_config(config)):
            tasks[stem] = Task(stem, config)
        else:
            starts[stem] = Start(stem, config)
    if not tasks or not starts:
        lacking = 'task (a config that reads `pretrained`)'
        if tasks:
            lacking = 'pretraining config (one that does not read `pretrained`)'
        raise InputError(f'Among {", ".join(configs)} there is no {lacking}. Add one.')
    if scratch:
        starts[SCRATCH] = Start('from scratch')
    return check_plan(Plan(starts, tasks, tuple(seeds)))


def check_keys(given: dict, kind: type, where: str, complete: bool = True) -> None:
    """Check that all keys are known, and that none without a default is missing.

    Args:
        given: What the plan file says.
        kind: Class whose attributes the keys are.
        where: Place in the file, for the message.
        complete: Whether keys may not be missing.

    Raises:
        InputError: A key is not known or missing.
    """
    names = [f.name for f in fields(kind)]
    for key in given:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f'Did you mean {near[0]!r}?' if near else f'Known are {names}.'
            raise InputError(f'{where} has a key {key!r} that is not known. {hint}')
    needed = [n for n in names if n in ('starts', 'tasks', 'title')]
    if kind is Task and not given.get('suite'):
        needed += ['config']
    for name in needed:
        if complete and name not in given:
            raise InputError(f'{where} lacks {name!r}. Add it.')


def check_plan(plan: Plan) -> Plan:
    """Check the names and files of a plan, and return it.

    Raises:
        InputError: A name cannot be that of a folder, a file does not exist, or seeds
            are missing, double or not those of the tasks.
    """
    for name in [*plan.starts, *plan.tasks]:
        if not name.replace('-', '').replace('_', '').replace('.', '').isalnum():
            raise InputError(
                f'{name!r} is used as a folder name, so it may contain only letters, '
                'digits, ".", "_" and "-". Rename it; the title may be anything.'
            )
    for start in plan.starts.values():
        if start.config and start.checkpoint:
            raise InputError(
                f'start {start.title!r} has a config and a checkpoint, but its '
                'backbone comes from one of them. Remove the other.'
            )
        if start.checkpoint and not Path(start.checkpoint).is_file():
            raise InputError(
                f'checkpoint {start.checkpoint!r} of start {start.title!r} does not '
                'exist. Correct the path, or name a config that makes it.'
            )
    for task in plan.tasks.values():
        if task.suite and (task.config or task.options):
            raise InputError(
                f'task {task.title!r} has a suite, which evaluates the classifiers '
                'without training, so config and options have no effect. Remove them, '
                'or the suite.'
            )
        if not 0 < task.after <= 1 or (task.config and task.after != 1):
            raise InputError(
                f'task {task.title!r} has after={task.after}: it must be a fraction of '
                'the training in (0, 1], and is for suites only. Correct or remove it.'
            )
        unknown = set((task.metrics or {}).values()) - set(task.items)
        if task.suite and task.items and unknown:
            raise InputError(
                f'metrics of task {task.title!r} name {sorted(unknown)}, which are not '
                f'among its items {task.items}. Correct the names, or add the items.'
            )
    for entry in [*plan.starts.values(), *plan.tasks.values()]:
        if entry.config:
            find_config(entry.config)
    trained = any(task.config for task in plan.tasks.values())
    for start in plan.starts.values():
        if plan.results and not start.config and not trained:
            raise InputError(
                f'start {start.title!r} has no config, and every task is a suite, so '
                'there is nothing to train or evaluate from it. Add a config or a task.'
            )
    if len(set(plan.seeds)) != len(plan.seeds) or not plan.seeds:
        raise InputError(
            f'seeds={plan.seeds}: list at least one seed, and each only once.'
        )
    if plan.task_seeds is not None and not set(plan.task_seeds) <= set(plan.seeds):
        raise InputError(
            f'task_seeds={plan.task_seeds} are not all among seeds={plan.seeds}, whose '
            'backbones the tasks start from. Add them there.'
        )
    return plan


def find_config(name: str) -> str:
    """Return the path of a config or plan, from here or from the top of the project.

    Raises:
        InputError: There is no such file.
    """
    here, top = Path(name), Path(__file__).resolve().parents[2]
    for path in (here, top / name):
        if path.is_file():
            return str(path)
    raise InputError(
        f'{name} does not exist, neither here nor in {top}. Name a file relative to '
        'one of the two.'
    )


def metrics_of(cfg: Config, where: str) -> dict[str, str]:
    """Return the metrics of an evaluation: column to mmengine's name of the metric.

    Args:
        cfg: Config with ``val_evaluator``.
        where: Its file, for the message.

    Raises:
        InputError: The evaluator is not known.
    """
    evaluator = cfg.get('val_evaluator') or {}
    first = evaluator[0] if isinstance(evaluator, (list, tuple)) else evaluator
    kind = str(first.get('type')).split('.')[-1]
    if kind == 'Accuracy':
        return {'top-1 %': 'accuracy/top1'}
    if kind == 'IoUMetric':
        return {'mIoU %': 'mIoU'}
    if kind == 'CocoMetric':
        asked = first.get('metric', 'bbox')
        columns = dict(bbox='box AP', segm='mask AP')
        return {columns[m]: f'coco/{m}_mAP' for m in columns if m in asked}
    raise InputError(
        f'{where}: the metrics of {kind} are not known; known are those of Accuracy, '
        "IoUMetric and CocoMetric. Set metrics={'column': 'name in the log'} of the "
        'task.'
    )
