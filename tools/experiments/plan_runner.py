"""Run a plan: pretrain, export, every task, what does not wait for another at once.

Each run is a stage with a folder of its own; what is finished is kept, what was
interrupted goes on from its last checkpoint, what was begun under other settings is
set aside.
"""

import copy
import os
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.config import Config

from mmtlalign.validation.config import load_config
from tools.experiments.plan import Plan, find_config, metrics_of
from tools.experiments.progress import ProgressBar, Screen, clock, last_metrics
from tools.experiments.stages import Stage, fingerprint, last_checkpoint, resume_point

TOOLS = Path(__file__).resolve().parents[1]
ROOT = TOOLS.parent
PRETRAIN = 'pretrain'
EXPORT = 'export'


@dataclass
class Job:
    """One stage of a plan.

    Attributes:
        name (str): As its folder.
        mark (str): Fingerprint of all that its result depends on.
        needs (list[str]): Names of the jobs before it.
        task, start, seed: What it is; None for what serves all.
        cfg (Config | None): Of a training run.
        columns (dict[str, str]): Column of the table -> mmengine's name.
        total (int): Iterations, or epochs, of a training run.
        options (dict): Dotted key -> value, for ``--cfg-options``.
        command (list | None): Program and arguments of any other stage.
    """

    name: str
    mark: str
    needs: list = field(default_factory=list)
    task: str | None = None
    start: str | None = None
    seed: int | None = None
    cfg: Config | None = None
    config: str | None = None
    columns: dict = field(default_factory=dict)
    total: int = 0
    options: dict = field(default_factory=dict)
    command: list | None = None
    stage: Stage | None = None
    title: str = ''
    bar: ProgressBar | None = None


class PlanRunner:
    """All stages of a plan.

    Args:
        plan (Plan): What to do.
        work_dir (Path): Gets a folder for every stage.
    """

    def __init__(self, plan: Plan, work_dir: Path):
        self.plan, self.work_dir = plan, Path(work_dir)
        cores = len(os.sched_getaffinity(0))
        alone = torch.cuda.is_available() or plan.processes > 1
        self.at_a_time = plan.at_a_time or (1 if alone else min(cores, 2))
        self.screen, self.stopped = Screen(), threading.Event()
        # More threads than cores wait for one another, whatever a shell has set.
        asked = int(os.environ.get('OMP_NUM_THREADS', 4))
        self.threads = max(1, min(cores // self.at_a_time, asked))
        self.env = {
            **os.environ,
            'OMP_NUM_THREADS': str(self.threads),
            'PYTHONUNBUFFERED': '1',
            'PYTHON': sys.executable,
            'PYTHONPATH': os.pathsep.join(
                filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])
            ),
        }
        self.configs = {}
        self.jobs = {job.name: job for job in self.list_jobs()}
        self.jobs['figures'] = self.figures()

    # ------------------------------------------------------------ what there is to do

    def list_jobs(self):
        """Yield every job, each after those it needs."""
        plan, before = self.plan, []
        for number, arguments in enumerate(plan.before, 1):
            name = 'data' if len(plan.before) == 1 else f'data-{number}'
            script, *rest = self.fill(arguments)
            if script.endswith('.py'):
                script = find_config(script)
            command = [sys.executable, script, *rest]
            yield Job(name, fingerprint(arguments), list(before), command=command)
            before.append(name)
        # One seed after the other: a run that is cut short has whole rows.
        for seed in plan.seeds:
            marks = {key: self.origin(start) for key, start in plan.starts.items()}
            for key, start in plan.starts.items():
                if start.config:
                    options = {**plan.options, **start.options}
                    job = self.training(PRETRAIN, key, seed, start.config, options)
                    job.needs = list(before)
                    yield job
                    marks[key] = fingerprint(job.mark, plan.weights)
                    name = f'{EXPORT}-{key}-seed{seed}'
                    yield Job(name, marks[key], [job.name], EXPORT, key, seed)
            for name, task in plan.tasks.items():
                for key, start in plan.starts.items():
                    options = {**plan.options, **task.options}
                    job = self.training(name, key, seed, task.config, options)
                    job.columns = task.metrics or job.columns
                    job.needs, source = list(before), start.checkpoint
                    if start.config:
                        job.needs = [f'{EXPORT}-{key}-seed{seed}']
                        source = self.backbone_file(key, seed)
                    job.options['pretrained'] = source
                    job.mark = fingerprint(job.mark, job.columns, marks[key])
                    yield job

    def training(self, task, start, seed, config, options):
        """A training run; every key of its config is checked here."""
        path, plan = find_config(config), self.plan
        options = self.fill(options)
        cfg = self.parsed(path, options)
        options = {**options, 'randomness.seed': seed}
        cfg.merge_from_dict({'randomness.seed': seed})
        loop = cfg.train_cfg
        name = f'{task}-{start}-seed{seed}'
        return Job(
            name,
            fingerprint(name, cfg.to_dict(), plan.arguments, plan.before, plan.data),
            task=task,
            start=start,
            seed=seed,
            cfg=cfg,
            config=path,
            columns=metrics_of(cfg, path),
            total=loop.get('max_iters') or loop.get('max_epochs') or 0,
            options=options,
        )

    def parsed(self, path, options):
        """A config with its options, read once for all seeds and starts."""
        key = path, repr(options)
        if key not in self.configs:
            self.configs[key] = load_config(path, dict(options))
        return copy.deepcopy(self.configs[key])

    def figures(self):
        """Draw what the first seed of the first pretrained start came to."""
        jobs, plan = list(self.jobs.values()), self.plan
        trained = [key for key, start in plan.starts.items() if start.config]
        chosen = (trained or list(plan.starts))[0]
        # Shares are traced where labels are mixed; a transferred classifier has no
        # picture of its own.
        drawn = [
            self.folder(job.name)
            for job in jobs
            if (job.start, job.seed) == (chosen, plan.seeds[0])
            and job.cfg is not None
            and (
                job.cfg.default_scope in ('mmseg', 'mmdet')
                or str(job.cfg.model.head.type).startswith('mmtlalign.')
            )
        ]
        out = self.folder('figures')
        command = [sys.executable, TOOLS / 'experiments/draw_runs.py', out, *drawn]
        needs = [job.name for job in jobs]
        return Job(
            'figures', fingerprint([j.mark for j in jobs]), needs, command=command
        )

    @staticmethod
    def origin(start):
        """What a backbone that is not pretrained here depends on."""
        if not start.checkpoint:
            return 'random'
        state = Path(start.checkpoint).stat()
        return [start.checkpoint, state.st_size, state.st_mtime]

    def fill(self, value):
        """Put the data folder for ``{data}`` in strings, lists and dicts."""
        if isinstance(value, dict):
            return {key: self.fill(child) for key, child in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.fill(child) for child in value]
        if isinstance(value, str):
            return value.replace('{data}', str(self.plan.data))
        return value

    def folder(self, name):
        """Where a stage keeps what it makes."""
        return self.work_dir / name

    def backbone_file(self, start, seed):
        """The exported backbone of a pretraining run."""
        return self.folder(f'{EXPORT}-{start}-seed{seed}') / 'backbone.pth'

    # --------------------------------------------------------------------- doing it

    def run(self):
        """Run what is not done yet.

        Returns:
            list[Job]: All jobs, finished, in order.
        """
        self.work_dir.mkdir(parents=True, exist_ok=True)
        for number, job in enumerate(self.jobs.values(), 1):
            job.stage = Stage(job.name, self.folder(job.name), job.mark)
            job.title = f'[{number:2d}/{len(self.jobs)}] {job.name:<24}'
            if job.stage.moved:
                self.screen.say(
                    f'{job.name} was begun with other settings; that is kept as '
                    f'{job.stage.moved}'
                )
        waiting, running, done = list(self.jobs.values()), {}, set()
        with ThreadPoolExecutor(self.at_a_time) as pool:
            try:
                while waiting or running:
                    ready = [job for job in waiting if done.issuperset(job.needs)]
                    for job in ready[: self.at_a_time - len(running)]:
                        waiting.remove(job)
                        running[pool.submit(self.do, job)] = job
                    wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in [f for f in running if f.done()]:
                        job = running.pop(future)
                        self.screen.say(future.result())
                        done.add(job.name)
                    self.screen.draw([job.bar for job in running.values() if job.bar])
            except BaseException:
                # Ctrl-C, or one of them failed: the others end in good order.
                self.stopped.set()
                pool.shutdown(cancel_futures=True)
                self.screen.erase()
                raise
        return list(self.jobs.values())

    def do(self, job):
        """Run one job in a thread of its own, unless it is done.

        Returns:
            str: What it came to.
        """
        stage, kept = job.stage, self.is_done(job)
        if not kept:
            job.bar = ProgressBar(job.title, stage.folder, self.iterations(job))
            stage.run(self.command(job), self.env, self.check_stopped)
            stage.finish(measured(job) if job.columns else {})
        said = [f'{name} {value:.1f}' for name, value in stage.state['metrics'].items()]
        line = f'{job.title}  {clock(stage.state["seconds"])}   {"   ".join(said)}'
        return line.rstrip() + ('   (kept)' if kept else '')

    def is_done(self, job):
        """Whether a stage is finished and what later ones need is there."""
        if not job.stage.state['done']:
            return False
        if job.task == PRETRAIN:
            return last_checkpoint(job.stage.folder) is not None
        if job.task == EXPORT:
            return self.backbone_file(job.start, job.seed).is_file()
        return True

    def command(self, job):
        """Program and arguments of a job, made when its turn comes."""
        if job.command:
            return job.command
        if job.task == EXPORT:
            out = self.backbone_file(job.start, job.seed)
            # Of an earlier run that was stopped before it was noted.
            out.unlink(missing_ok=True)
            run = self.folder(f'{PRETRAIN}-{job.start}-seed{job.seed}')
            tool = [sys.executable, TOOLS / 'model_converters/export_backbone.py']
            return [*tool, last_checkpoint(run), out, '--weights', self.plan.weights]
        command = [sys.executable, TOOLS / 'train.py', job.config]
        if self.plan.processes > 1:
            command = ['bash', TOOLS / 'dist_train.sh', job.config, self.plan.processes]
        command += ['--work-dir', job.stage.folder, *self.plan.arguments]
        if point := resume_point(job.stage.folder, job.total):
            command += ['--resume', point]
        options = [f'{key}={value}' for key, value in job.options.items()]
        return [*command, '--cfg-options', *options]

    def iterations(self, job):
        """How many steps the bar counts; 0 where only epochs are known."""
        return job.cfg.train_cfg.get('max_iters', 0) if job.cfg else 0

    def check_stopped(self):
        """End the command of this thread where the user stopped the run."""
        if self.stopped.is_set():
            raise KeyboardInterrupt


def measured(job):
    """Read what a training run measured at its end.

    Args:
        job (Job): The run.

    Returns:
        dict[str, float]: By column, in percent. mmengine gives COCO's averages from
        0 to 1; mmdet measures nothing where no object was found at all, which is an
        average precision of 0.
    """
    newest = job.stage.log.read_text(errors='replace').rsplit('\n$ ', 1)[-1]
    if 'The testing results of the whole dataset is empty' in newest:
        return dict.fromkeys(job.columns, 0.0)
    found = last_metrics(job.stage.folder, job.columns)
    return {
        column: round(
            value * (100 if job.columns[column].startswith('coco/') else 1), 2
        )
        for column, value in found.items()
    }
