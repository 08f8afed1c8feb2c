"""The jobs of a plan: one for each training run, export and evaluation, checked."""

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmtlalign.errors import InputError
from mmtlalign.validation.config import load_config
from tools.experiments.jobs import Job, fingerprint
from tools.experiments.plan import Plan, Start, find_config, metrics_of

PRETRAIN = 'pretrain'
EXPORT = 'export'


class PlanJobs:
    """All jobs of a plan, each after those that it needs.

    Args:
        plan: What to do.
        work_dir: Gets a folder for every job.
    """

    tools = Path(__file__).resolve().parents[1]

    def __init__(self, plan: Plan, work_dir: Path):
        self.plan, self.work_dir = plan, work_dir
        self.configs = {}
        self.jobs = {job.name: job for job in self.list_jobs()}
        if not plan.results:
            self.jobs['figures'] = self.figures_job()

    def list_jobs(self) -> Iterator[Job]:
        """Yield every job but the figures, each after those it needs."""
        plan, before = self.plan, []
        for number, arguments in enumerate(plan.before, 1):
            name = 'data' if len(plan.before) == 1 else f'data-{number}'
            script, *rest = self.fill_in_data(arguments)
            if script.endswith('.py'):
                script = find_config(script)
            command = [sys.executable, script, *rest]
            yield self.job(name, fingerprint(arguments), list(before), command=command)
            before.append(name)
        exported = any(task.config for task in plan.tasks.values())
        # One start and seed after the other: a run that is cut short has whole units.
        for seed in plan.seeds:
            for key, start in plan.starts.items():
                origin = origin_of(start)
                if start.config:
                    job = self.pretraining_job(key, seed)
                    job.needs = list(before)
                    yield job
                    origin = fingerprint(job.fingerprint, plan.weights)
                    if exported:
                        name = f'{EXPORT}-{key}-seed{seed}'
                        needs = [job.name]
                        yield self.job(name, origin, needs, EXPORT, key, seed)
                for name, task in plan.tasks.items() if self.has_tasks(seed) else ():
                    if task.config:
                        yield self.task_job(name, key, seed, before, origin)
                    elif start.config:
                        # Random and foreign weights come without a classifier.
                        yield self.suite_job(name, key, seed)

    def has_tasks(self, seed: int) -> bool:
        """Return whether the tasks are done with a seed."""
        return self.plan.task_seeds is None or seed in self.plan.task_seeds

    def job(self, name: str, *args: Any, **kwargs: Any) -> Job:
        """Return a job in the folder of its name; other arguments as in ``Job``."""
        return Job(name, self.work_dir / name, *args, **kwargs)

    def training_job(
        self, task: str, start: str, seed: int, config: str, options: dict
    ) -> Job:
        """Return a training run; every key of its config is checked here."""
        path, plan = find_config(config), self.plan
        options = self.fill_in_data(options)
        cfg = self.load_config(path, options)
        options = {**options, 'randomness.seed': seed}
        cfg.merge_from_dict({'randomness.seed': seed})
        loop = cfg.train_cfg
        name = f'{task}-{start}-seed{seed}'
        given = [name, cfg.to_dict(), plan.arguments, plan.before, plan.data]
        # The batch size is that of a process. One adds nothing, so that runs that were
        # begun before processes counted go on.
        given += [plan.processes] if plan.processes > 1 else []
        return self.job(
            name,
            fingerprint(*given),
            task=task,
            start=start,
            seed=seed,
            config=path,
            cfg=cfg,
            options=options,
            columns=metrics_of(cfg, path),
            total=loop.get('max_iters') or loop.get('max_epochs') or 0,
        )

    def pretraining_job(self, key: str, seed: int) -> Job:
        """Return the training run of a start that has a config."""
        start = self.plan.starts[key]
        options = self.plan.options_of(key)
        return self.training_job(PRETRAIN, key, seed, start.config, options)

    def task_job(
        self, name: str, key: str, seed: int, before: list[str], origin: str
    ) -> Job:
        """Return the training run of a task, which goes on from a start.

        Args:
            name: Short name of the task.
            key: Short name of the start.
            seed: Seed of the pretraining and of the task.
            before: Names of the jobs that make the data.
            origin: Fingerprint of the initial weights.
        """
        task, start = self.plan.tasks[name], self.plan.starts[key]
        options = {**self.plan.options, **task.options}
        job = self.training_job(name, key, seed, task.config, options)
        job.columns = task.metrics or job.columns
        job.needs, source = list(before), start.checkpoint
        if start.config:
            job.needs = [f'{EXPORT}-{key}-seed{seed}']
            source = self.backbone_file(key, seed)
        job.options['pretrained'] = source
        job.fingerprint = fingerprint(job.fingerprint, job.columns, origin)
        return job

    def suite_job(self, name: str, key: str, seed: int) -> Job:
        """Return the evaluation of a pretrained classifier.

        Raises:
            InputError: The checkpoint that it is to evaluate will not be kept.
        """
        task, run = self.plan.tasks[name], self.pretraining_job(key, seed)
        step = round(task.after * run.total)
        hook = run.cfg.default_hooks.get('checkpoint') or {}
        every, kept = hook.get('interval', 1), hook.get('max_keep_ckpts', -1)
        lost = step % every or 0 < kept * every <= run.total - step
        if step < run.total and lost:
            raise InputError(
                f'task {name!r} evaluates the checkpoint of step {step} of {run.total} '
                f'(after={task.after}), but one is kept every {every}, at most {kept}. '
                'Set default_hooks.checkpoint.interval and .max_keep_ckpts=-1 in '
                'start_options.'
            )
        return self.job(
            f'{name}-{key}-seed{seed}',
            fingerprint(
                run.fingerprint, task.suite, task.items, task.arguments, task.after
            ),
            [run.name],
            name,
            key,
            seed,
            config=run.config,
            options=run.options,
            total=step,
        )

    def load_config(self, path: str, options: dict) -> Config:
        """Return a config with its options, read once for all seeds and starts."""
        key = path, repr(options)
        if key not in self.configs:
            self.configs[key] = load_config(path, dict(options))
        return copy.deepcopy(self.configs[key])

    def figures_job(self) -> Job:
        """Return the job that draws the first seed of the first pretrained start."""
        jobs, plan = list(self.jobs.values()), self.plan
        pretrained = [key for key, start in plan.starts.items() if start.config]
        first = (pretrained or list(plan.starts))[0]
        # Shares are traced where labels are mixed; a transferred classifier has no
        # picture of its own.
        drawn = [
            job.folder
            for job in jobs
            if (job.start, job.seed) == (first, plan.seeds[0])
            and job.cfg is not None
            and (
                job.cfg.default_scope in ('mmseg', 'mmdet')
                or str(job.cfg.model.head.type).startswith('mmtlalign.')
            )
        ]
        out = self.work_dir / 'figures'
        script = self.tools / 'experiments/draw_runs.py'
        command = [sys.executable, script, out, *drawn]
        needs = [job.name for job in jobs]
        prints = fingerprint([job.fingerprint for job in jobs])
        return self.job('figures', prints, needs, command=command)

    def fill_in_data(self, value: Any) -> Any:
        """Put the data folder for ``{data}`` in strings, lists and dicts."""
        if isinstance(value, dict):
            return {key: self.fill_in_data(child) for key, child in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.fill_in_data(child) for child in value]
        if isinstance(value, str):
            return value.replace('{data}', str(self.plan.data))
        return value

    def backbone_file(self, start: str, seed: int) -> Path:
        """Return the exported backbone of a pretraining run."""
        return self.work_dir / f'{EXPORT}-{start}-seed{seed}' / 'backbone.pth'


def origin_of(start: Start) -> Any:
    """Return what identifies the weights of a start that the plan does not pretrain."""
    if not start.checkpoint:
        return 'random'
    state = Path(start.checkpoint).stat()
    return [start.checkpoint, state.st_size, state.st_mtime]
