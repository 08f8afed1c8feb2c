"""Run a plan: pretrain, export, every task; independent jobs side by side.

Each job has a folder of its own: what is finished is kept, what was interrupted goes on
from its last checkpoint, what was begun with other settings is set aside.
"""

import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path

import torch

from mmtlalign.compat.run_checkpoints import last_checkpoint
from tools.experiments.forks import start_server
from tools.experiments.jobs import Job, checkpoint_at, resume_point
from tools.experiments.measured import RESULTS, headlines, measured_by
from tools.experiments.plan import Plan
from tools.experiments.plan_jobs import EXPORT, PRETRAIN, PlanJobs
from tools.experiments.progress import RunProgress
from tools.experiments.units import ROOT, find_units, write_unit
from tools.machine import SOURCES, source_digest


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
        self.listing = PlanJobs(plan, self.work_dir)
        self.tools = self.listing.tools
        paths = [str(self.tools.parent), os.environ.get('PYTHONPATH')]
        self.env = {
            **os.environ,
            'OMP_NUM_THREADS': str(self.threads),
            'PYTHONUNBUFFERED': '1',
            'PYTHON': sys.executable,
            'PYTHONPATH': os.pathsep.join(filter(None, paths)),
        }
        self.jobs = self.listing.jobs
        self.units = find_units(self) if plan.results else {}
        # The files may change while the jobs run, so the digests are taken now.
        kinds = SOURCES if plan.results else ()
        self.digests = {kind: source_digest(ROOT, kind) for kind in kinds}

    def run(self) -> list[Job]:
        """Run the jobs that are not done yet.

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
                    f'{job.name} was started with other settings; that run is kept as '
                    f'{moved}'
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
            source = self.digests.get(self.plan.kind_of(job.task), '')
            job.run(command, self.env, self.check_stopped, self.forked, source)
        # The columns of a suite may be others than when it ran.
        if not kept or self.is_suite(job):
            job.finish(self.measured(job))
        time = timedelta(seconds=int(job.state['seconds']))
        metrics = [f'{name} {v:.1f}' for name, v in job.state['metrics'].items()]
        line = f'{self.title(job)}  {time}   {"   ".join(metrics)}'
        return line.rstrip() + ('   (kept)' if kept else '')

    def is_suite(self, job: Job) -> bool:
        """Return whether a job evaluates a classifier."""
        return self.plan.kind_of(job.task) == 'evaluation'

    def measured(self, job: Job) -> Mapping[str, float]:
        """Return the metrics of a job, by column."""
        if self.is_suite(job):
            metrics = self.plan.tasks[job.task].metrics
            return headlines(job.folder / RESULTS, metrics)
        return measured_by(job) if job.columns else {}

    def is_done(self, job: Job) -> bool:
        """Return whether a job is done and the files that later jobs need are there."""
        if not job.state['done']:
            return False
        if job.task == PRETRAIN:
            return last_checkpoint(job.folder) is not None
        if job.task == EXPORT:
            return self.listing.backbone_file(job.start, job.seed).is_file()
        return not self.is_suite(job) or (job.folder / RESULTS).is_file()

    def command_of(self, job: Job) -> list:
        """Return program and arguments of a job that is about to run."""
        if job.command:
            return job.command
        if job.task == EXPORT:
            out = self.listing.backbone_file(job.start, job.seed)
            # Left by an earlier run that was stopped before the job was saved as done.
            out.unlink(missing_ok=True)
            run = self.work_dir / f'{PRETRAIN}-{job.start}-seed{job.seed}'
            tool = [sys.executable, self.tools / 'model_converters/export_backbone.py']
            return [*tool, last_checkpoint(run), out, '--weights', self.plan.weights]
        options = [f'{key}={value}' for key, value in job.options.items()]
        if self.is_suite(job):
            task = self.plan.tasks[job.task]
            run = self.work_dir / f'{PRETRAIN}-{job.start}-seed{job.seed}'
            tool = [sys.executable, self.tools / 'evaluate.py']
            file = last_checkpoint(run)
            if task.after < 1:
                file = checkpoint_at(run, job.total)
            command = [*tool, job.config, file]
            command += ['--suite', *task.suite, '--out', job.folder, '--resume']
            command += ['--items', *task.items] if task.items else []
            command += self.listing.fill_in_data(task.arguments)
            return [*command, '--cfg-options', *options]
        command = [sys.executable, self.tools / 'train.py', job.config]
        if self.plan.processes > 1:
            command = [
                'bash',
                self.tools / 'dist_train.sh',
                job.config,
                self.plan.processes,
            ]
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
