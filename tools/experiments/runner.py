"""Run a plan: pretrain, export, every task; independent jobs side by side.

Each job has a folder of its own: what is finished is kept, what was interrupted goes on
from its last checkpoint, what was begun with other settings is set aside.
"""

import copy
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmtlalign.validation.config import load_config
from tools.experiments.forks import start_server
from tools.experiments.jobs import Job, fingerprint, last_checkpoint, resume_point
from tools.experiments.measured import RESULTS, headlines, measured_by
from tools.experiments.plan import Plan, Start, find_config, metrics_of
from tools.experiments.progress import RunProgress
from tools.experiments.units import find_units, write_unit

TOOLS = Path(__file__).resolve().parents[1]
PRETRAIN = 'pretrain'
EXPORT = 'export'


class PlanRunner:
    """All jobs of a plan.

    Args:
        plan: What to do.
        work_dir: Gets a folder for every job.
    """

    def __init__(self, plan: Plan, work_dir: Path):
        self.plan, self.work_dir = plan, Path(work_dir)
        cores = len(os.sched_getaffinity(0))
        alone = torch.cuda.is_available() or plan.processes > 1
        self.at_a_time = plan.at_a_time or (1 if alone else min(cores, 2))
        # No GPU can be used in a fork.
        self.forked = not alone
        self.stopped = threading.Event()
        # More threads than cores wait for one another, whatever a shell has set.
        asked = int(os.environ.get('OMP_NUM_THREADS', 4))
        self.threads = plan.threads or max(1, min(cores // self.at_a_time, asked))
        paths = [str(TOOLS.parent), os.environ.get('PYTHONPATH')]
        self.env = {
            **os.environ,
            'OMP_NUM_THREADS': str(self.threads),
            'PYTHONUNBUFFERED': '1',
            'PYTHON': sys.executable,
            'PYTHONPATH': os.pathsep.join(filter(None, paths)),
        }
        self.configs = {}
        self.jobs = {job.name: job for job in self.list_jobs()}
        self.units = find_units(self) if plan.results else {}
        if not plan.results:
            self.jobs['figures'] = self.figures_job()

    # ------------------------------------------------------------ what there is to do

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
        # One seed after the other: a run that is cut short has whole rows.
        for seed in plan.seeds:
            origins = {key: origin_of(start) for key, start in plan.starts.items()}
            for key, start in plan.starts.items():
                if start.config:
                    options = {**plan.options, **start.options}
                    job = self.training_job(PRETRAIN, key, seed, start.config, options)
                    job.needs = list(before)
                    yield job
                    origins[key] = fingerprint(job.fingerprint, plan.weights)
                    if exported:
                        name = f'{EXPORT}-{key}-seed{seed}'
                        needs = [job.name]
                        yield self.job(name, origins[key], needs, EXPORT, key, seed)
                    if self.has_tasks(seed):
                        # Of random or foreign weights there is no classifier.
                        suites = [n for n, task in plan.tasks.items() if task.suite]
                        yield from (self.suite_job(n, key, seed) for n in suites)
            trained = {n: task for n, task in plan.tasks.items() if task.config}
            for name, task in trained.items() if self.has_tasks(seed) else ():
                for key, start in plan.starts.items():
                    options = {**plan.options, **task.options}
                    job = self.training_job(name, key, seed, task.config, options)
                    job.columns = task.metrics or job.columns
                    job.needs, source = list(before), start.checkpoint
                    if start.config:
                        job.needs = [f'{EXPORT}-{key}-seed{seed}']
                        source = self.backbone_file(key, seed)
                    job.options['pretrained'] = source
                    job.fingerprint = fingerprint(
                        job.fingerprint, job.columns, origins[key]
                    )
                    yield job

    def has_tasks(self, seed: int) -> bool:
        """Return whether the tasks are done with a seed."""
        return self.plan.task_seeds is None or seed in self.plan.task_seeds

    def job(self, name: str, *args: Any, **kwargs: Any) -> Job:
        """Return a job in the folder of its name; other arguments as of ``Job``."""
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
        return self.job(
            name,
            fingerprint(name, cfg.to_dict(), plan.arguments, plan.before, plan.data),
            task=task,
            start=start,
            seed=seed,
            config=path,
            cfg=cfg,
            options=options,
            columns=metrics_of(cfg, path),
            total=loop.get('max_iters') or loop.get('max_epochs') or 0,
        )

    def suite_job(self, name: str, key: str, seed: int) -> Job:
        """Return the evaluation of a pretrained classifier."""
        task, start = self.plan.tasks[name], self.plan.starts[key]
        options = {**self.plan.options, **start.options}
        run = self.training_job(PRETRAIN, key, seed, start.config, options)
        job = self.job(
            f'{name}-{key}-seed{seed}',
            fingerprint(run.fingerprint, task.suite, task.items, task.arguments),
            [run.name],
            name,
            key,
            seed,
            config=run.config,
            options=run.options,
        )
        return job

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
        command = [sys.executable, TOOLS / 'experiments/draw_runs.py', out, *drawn]
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

    # --------------------------------------------------------------------- doing it

    def run(self) -> list[Job]:
        """Run what is not done yet.

        Returns:
            All jobs, finished, in order.
        """
        self.work_dir.mkdir(parents=True, exist_ok=True)
        if self.forked:
            start_server(self.env)
        progress = RunProgress()
        for job in self.jobs.values():
            if moved := job.load():
                progress.console.print(
                    f'{job.name} was begun with other settings; that is kept as {moved}'
                )
        waiting, running, done = list(self.jobs.values()), {}, set()
        for unit in (unit for unit in self.units.values() if unit.path.is_file()):
            progress.console.print(f'{unit.name}: kept as {unit.path}')
            done.update(unit.jobs)
        waiting = [job for job in waiting if job.name not in done]
        with progress, ThreadPoolExecutor(self.at_a_time) as pool:
            try:
                while waiting or running:
                    ready = [job for job in waiting if done.issuperset(job.needs)]
                    for job in ready[: self.at_a_time - len(running)]:
                        waiting.remove(job)
                        running[pool.submit(self.run_job, job)] = job
                        # Where only epochs are known there is nothing to count.
                        total = job.cfg.train_cfg.get('max_iters', 0) if job.cfg else 0
                        progress.add_run(self.title(job), job.folder, total)
                    wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in [f for f in running if f.done()]:
                        job = running.pop(future)
                        progress.remove_run(job.folder)
                        progress.console.print(future.result())
                        done.add(job.name)
                        for unit in self.units.values():
                            if job.name in unit.jobs and done.issuperset(unit.jobs):
                                progress.console.print(str(write_unit(self, unit)))
                    progress.read_runs()
            except BaseException:
                # Ctrl-C, or one of them failed: the others end in good order.
                self.stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
        return list(self.jobs.values())

    def title(self, job: Job) -> str:
        """Return the place and the name of a job: ``'[ 3/12] pretrain-…'``."""
        number = list(self.jobs).index(job.name) + 1
        return f'[{number:2d}/{len(self.jobs)}] {job.name:<24}'

    def run_job(self, job: Job) -> str:
        """Run one job in a thread of its own, unless it is done.

        Returns:
            The line that tells its result.
        """
        kept = self.is_done(job)
        if not kept:
            command = self.command_of(job)
            job.run(command, self.env, self.check_stopped, self.forked)
            job.finish(self.measured(job))
        time = timedelta(seconds=int(job.state['seconds']))
        metrics = [f'{name} {v:.1f}' for name, v in job.state['metrics'].items()]
        line = f'{self.title(job)}  {time}   {"   ".join(metrics)}'
        return line.rstrip() + ('   (kept)' if kept else '')

    def measured(self, job: Job) -> Mapping[str, float]:
        """Return what a job measured, by column."""
        task = self.plan.tasks.get(job.task)
        if task and task.suite:
            return headlines(job.folder / RESULTS, task.metrics)
        return measured_by(job) if job.columns else {}

    def is_done(self, job: Job) -> bool:
        """Return whether a job is finished and what later ones need is there."""
        if not job.state['done']:
            return False
        if job.task == PRETRAIN:
            return last_checkpoint(job.folder) is not None
        if job.task == EXPORT:
            return self.backbone_file(job.start, job.seed).is_file()
        return True

    def command_of(self, job: Job) -> list:
        """Return program and arguments of a job, whose turn it is."""
        if job.command:
            return job.command
        if job.task == EXPORT:
            out = self.backbone_file(job.start, job.seed)
            # Of an earlier run that was stopped before it was noted.
            out.unlink(missing_ok=True)
            run = self.work_dir / f'{PRETRAIN}-{job.start}-seed{job.seed}'
            tool = [sys.executable, TOOLS / 'model_converters/export_backbone.py']
            return [*tool, last_checkpoint(run), out, '--weights', self.plan.weights]
        options = [f'{key}={value}' for key, value in job.options.items()]
        task = self.plan.tasks.get(job.task)
        if task and task.suite:
            run = self.work_dir / f'{PRETRAIN}-{job.start}-seed{job.seed}'
            tool = [sys.executable, TOOLS / 'evaluate.py']
            command = [*tool, job.config, last_checkpoint(run)]
            command += ['--suite', *task.suite, '--out', job.folder, '--resume']
            command += ['--items', *task.items] if task.items else []
            command += self.fill_in_data(task.arguments)
            return [*command, '--cfg-options', *options]
        command = [sys.executable, TOOLS / 'train.py', job.config]
        if self.plan.processes > 1:
            command = ['bash', TOOLS / 'dist_train.sh', job.config, self.plan.processes]
        command += ['--work-dir', job.folder, *self.plan.arguments]
        if point := resume_point(job.folder, job.total):
            command += ['--resume', point]
        elif last_checkpoint(job.folder):
            command.append('--overwrite')
        return [*command, '--cfg-options', *options]

    def check_stopped(self) -> None:
        """End the command of this thread if the user stopped the run."""
        if self.stopped.is_set():
            raise KeyboardInterrupt


def origin_of(start: Start) -> Any:
    """Return what a backbone that is not pretrained by the plan depends on."""
    if not start.checkpoint:
        return 'random'
    state = Path(start.checkpoint).stat()
    return [start.checkpoint, state.st_size, state.st_mtime]
