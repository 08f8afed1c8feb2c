"""Pretrain with TL-Align, segment and detect: the whole way in minutes on a CPU.

Real handwritten digits become pictures on disk; a small Swin is pretrained on
them with TL-Align and, as the control, with plain CutMix; UperNet and Cascade
Mask R-CNN go on from both backbones and from random weights, all three with the
same budget. At the end: one table, the same as summary.json, and three figures.

With two cores or more, two runs go on at a time: such small networks use one core
better than two.
"""

import argparse
import os
import signal
import sys
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A checkout works whether or not the package is installed.
sys.path.insert(0, str(ROOT))

from mmengine.config import Config  # noqa: E402

from mmtlalign.analysis.summary import (  # noqa: E402
    COLUMNS,
    format_table,
    machine,
    table_rows,
    versions,
)
from mmtlalign.datasets.quickstart import SEED, VERSION  # noqa: E402
from mmtlalign.engine.progress import ProgressBar, Screen, clock, last_metrics  # noqa: E402
from mmtlalign.engine.stages import (  # noqa: E402
    Stage,
    StageError,
    fingerprint,
    last_checkpoint,
    resume_point,
    set_aside,
    write_json,
)

CONFIGS = ROOT / 'configs/quickstart'
STARTS = dict(tlalign='TL-Align', control='CutMix control', scratch='from scratch')
# Name of a task -> where its data lie, and what its evaluation is called.
TASKS = dict(
    pretrain=('digits', dict(top1='accuracy/top1')),
    segment=('ade', dict(miou='mIoU')),
    detect=('coco', dict(box_ap='coco/bbox_mAP', mask_ap='coco/segm_mAP')),
)
UPERNET = 'swin-mini-p4-w4_upernet_digits-128x128.py'
CASCADE = 'cascade-mask-rcnn_swin-mini-p4-w4_fpn_digits-128x128.py'


@dataclass(frozen=True)
class Training:
    """A training run: a task, the config, and where its backbone starts."""

    task: str
    start: str
    config: str

    @property
    def name(self):
        return f'{self.task}-{self.start}'

    @property
    def source(self):
        """Name of the run that the backbone comes from, or None."""
        if self.task == 'pretrain' or self.start == 'scratch':
            return None
        return f'pretrain-{self.start}'


TRAININGS = [
    Training('pretrain', 'tlalign', 'tlalign_swin-mini-p4-w4_digits-64px.py'),
    Training('pretrain', 'control', 'cutmix_swin-mini-p4-w4_digits-64px.py'),
    *(Training('segment', start, UPERNET) for start in STARTS),
    *(Training('detect', start, CASCADE) for start in STARTS),
]
# What goes on together; a wave needs the one before it.
WAVES = [TRAININGS[:2], TRAININGS[2:]]
CORES = len(os.sched_getaffinity(0))
AT_A_TIME = min(CORES, 2)
# The whole path in little: enough to see that it works, too little to learn.
SMOKE = {
    'train_cfg.max_iters': 24,
    'train_cfg.val_interval': 24,
    'default_hooks.checkpoint.interval': 8,
    'default_hooks.logger.interval': 4,
}


def parse_args():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on where the last run stopped; without it a run starts afresh and '
        'an earlier one is renamed',
    )
    parser.add_argument(
        '--smoke',
        action='store_true',
        help='a few steps of every stage, to see whether everything runs',
    )
    parser.add_argument('--work-dir', type=Path, help='default work_dirs/quickstart')
    parser.add_argument('--data', type=Path, help='default data/quickstart')
    args = parser.parse_args()
    suffix = '-smoke' if args.smoke else ''
    args.work_dir = args.work_dir or Path(f'work_dirs/quickstart{suffix}')
    args.data = args.data or Path(f'data/quickstart{suffix}')
    return args


@dataclass
class Job:
    """A stage with the command that does it; without one it is done already."""

    stage: Stage
    title: str
    command: list | None = None
    total: int = 0
    said: str = ''
    training: Training | None = None
    names: dict = field(default_factory=dict)
    bar: ProgressBar | None = None

    def finish(self):
        """Read what was measured, and remember that the stage is done."""
        metrics = measured(self.stage, self.names) if self.training else {}
        # mmengine gives COCO's averages from 0 to 1, all else in percent.
        scale = 100 if self.training and self.training.task == 'detect' else 1
        self.stage.finish({name: round(v * scale, 2) for name, v in metrics.items()})


class Quickstart:
    """One run of all stages.

    Args:
        args (argparse.Namespace): Of :func:`parse_args`.
    """

    def __init__(self, args):
        self.args = args
        self.number, self.count = 0, len(TRAININGS) + 2
        self.marks, self.results, self.seconds = {}, [], {}
        self.screen, self.stopped = Screen(), threading.Event()
        # More threads than cores wait for one another, whatever a shell has set.
        asked = int(os.environ.get('OMP_NUM_THREADS', 4))
        self.env = {
            **os.environ,
            'OMP_NUM_THREADS': str(min(CORES // AT_A_TIME, asked)),
            'PYTHONUNBUFFERED': '1',
            'PYTHONPATH': os.pathsep.join(
                filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])
            ),
        }

    def run(self):
        """Run what is not done yet.

        Returns:
            dict: The summary, as written to ``summary.json``.
        """
        began, work_dir = time.monotonic(), self.args.work_dir
        if work_dir.exists() and any(work_dir.iterdir()) and not self.args.resume:
            kept = set_aside(work_dir)
            print(f'Starting afresh; the earlier run is kept as {kept}', flush=True)
        work_dir.mkdir(parents=True, exist_ok=True)
        self.write_data()
        for wave in WAVES:
            self.work([self.training_job(training) for training in wave])
        figures = self.draw_figures()
        summary = dict(
            table=table_rows(self.results, STARTS),
            seconds={name: round(value, 1) for name, value in self.seconds.items()},
            at_a_time=AT_A_TIME,
            seconds_of_this_run=round(time.monotonic() - began, 1),
            smoke=self.args.smoke,
            figures=figures,
            seeds=dict(data=SEED, training=self.seed),
            command=' '.join(sys.argv),
            threads=int(self.env['OMP_NUM_THREADS']),
            machine=machine(),
            versions=versions(),
        )
        write_json(work_dir / 'summary.json', summary)
        return summary

    def write_data(self):
        """Write the pictures, unless they are there."""
        stage, title = self.open('data', VERSION, str(self.args.data), self.args.smoke)
        module = 'mmtlalign.datasets.quickstart'
        command = [sys.executable, '-m', module, self.args.data]
        if self.args.smoke:
            command += ['--train', 48, '--val', 16]
        self.work([Job(stage, title, command, said=f'in {self.args.data}')])

    def training_job(self, training):
        """Prepare to train one model, or to go on with it, or to keep it."""
        data, names = TASKS[training.task]
        path = CONFIGS / training.config
        options = SMOKE if self.args.smoke else {}
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(dict(options))
        total, self.seed = cfg.train_cfg.max_iters, cfg.randomness.seed
        before = [self.marks[name] for name in ('data', training.source) if name]
        stage, title = self.open(training.name, cfg.to_dict(), *before)
        job = Job(stage, title, total=total, training=training, names=names)
        # What comes later needs its weights too.
        if stage.state['done'] and last_checkpoint(stage.folder):
            return job
        options = dict(options, data_root=self.args.data / data)
        if training.source:
            source = self.args.work_dir / training.source
            options['pretrained'] = last_checkpoint(source)
        job.command = [sys.executable, ROOT / 'tools/train.py', path]
        job.command += ['--work-dir', stage.folder]
        if point := resume_point(stage.folder, total):
            job.command += ['--resume', point]
        job.command += ['--cfg-options', *(f'{k}={v}' for k, v in options.items())]
        return job

    def work(self, jobs):
        """Run some jobs, two at a time, and say what became of each.

        Args:
            jobs (list[Job]): In the order in which they are begun.
        """
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            left = {pool.submit(self.do, job): job for job in jobs}
            try:
                while left:
                    wait(left, timeout=0.5, return_when=FIRST_EXCEPTION)
                    for future in [f for f in left if f.done()]:
                        self.close(left.pop(future), future.result())
                    self.screen.draw([job.bar for job in left.values() if job.bar])
            except BaseException:
                # Ctrl-C, or one of them failed: the others end in good order.
                self.stopped.set()
                pool.shutdown(cancel_futures=True)
                self.screen.erase()
                raise

    def do(self, job):
        """Run one job in a thread of its own.

        Returns:
            str: What it came to.
        """
        if job.command:
            job.bar = ProgressBar(job.title, job.stage.folder, job.total)
            job.stage.run(job.command, self.env, self.check_stopped)
            job.finish()
        said = [f'{COLUMNS[k]} {v:.1f}' for k, v in job.stage.state['metrics'].items()]
        return '   '.join(said or [job.said]) + ('' if job.command else '   (kept)')

    def check_stopped(self):
        """End the command of this thread where the user stopped the run."""
        if self.stopped.is_set():
            raise KeyboardInterrupt

    def draw_figures(self):
        """Draw the figures of what was trained.

        Returns:
            list[str]: Their files.
        """
        stage, title = self.open('figures', self.marks)
        command = [sys.executable, ROOT / 'tools/draw_quickstart.py']
        command.append(self.args.work_dir)
        self.work([Job(stage, title, command, said=f'in {self.args.work_dir}')])
        return [str(path) for path in sorted(self.args.work_dir.glob('*.png'))]

    def open(self, name, *parts):
        """Open a stage; everything its result depends on is in ``parts``."""
        self.number += 1
        self.marks[name] = fingerprint(name, *parts)
        stage = Stage(name, self.args.work_dir / name, self.marks[name])
        if stage.moved:
            self.screen.say(
                f'{name} was begun with other settings; that is kept as {stage.moved}'
            )
        return stage, f'[{self.number:2d}/{self.count}] {name:<16}'

    def close(self, job, said):
        """Say what became of a job, and keep it for the table."""
        state = job.stage.state
        self.seconds[job.stage.name] = state['seconds']
        self.screen.say(f'{job.title}  {clock(state["seconds"])}   {said}')
        if job.training:
            self.results.append(
                dict(
                    task=job.training.task,
                    start=job.training.start,
                    metrics=state['metrics'],
                    seconds=state['seconds'],
                )
            )


def measured(stage, names):
    """Read what a training run measured at its end.

    Args:
        stage (Stage): The run.
        names (dict[str, str]): Name wanted -> mmengine's name.

    Returns:
        dict[str, float]: mmdet measures nothing where no object was found at
        all; that is an average precision of 0.
    """
    newest = stage.log.read_text(errors='replace').rsplit('\n$ ', 1)[-1]
    if 'The testing results of the whole dataset is empty' in newest:
        return dict.fromkeys(names, 0.0)
    return last_metrics(stage.folder, names)


def main():
    """Run the quickstart; exit status 130 where the user stopped it."""
    args = parse_args()
    # SIGINT too: a shell that starts this in the background has it ignored.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.default_int_handler)
    again = ' '.join(['bash tools/quickstart.sh', *sys.argv[1:]])
    again += '' if args.resume else ' --resume'
    try:
        summary = Quickstart(args).run()
    except KeyboardInterrupt:
        print(f'\nStopped. Nothing is lost; to go on:\n\n    {again}')
        sys.exit(130)
    except (StageError, LookupError) as error:
        print(f'\n{error}\n\nThe stages before it are kept; to go on:\n\n    {again}')
        sys.exit(1)
    table = format_table(summary['table'])
    (args.work_dir / 'table.txt').write_text(table + '\n')
    print(f'\n{table}\n')
    if args.smoke:
        print('A smoke run: too few steps to learn anything.')
    print(f'The same with versions and machine: {args.work_dir}/summary.json')
    print('\n'.join(summary['figures']))


if __name__ == '__main__':
    main()
