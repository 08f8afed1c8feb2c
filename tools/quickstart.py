"""Pretrain with TL-Align, segment and detect: the whole way in minutes on a CPU.

Real handwritten digits become pictures on disk; a small Swin is pretrained on
them with TL-Align and, as the control, with plain CutMix; UperNet and Cascade
Mask R-CNN go on from both backbones and from random weights, all three with the
same budget. At the end: one table, the same as summary.json, and three figures.
"""

import argparse
import os
import signal
import sys
import time
from dataclasses import dataclass
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
from mmtlalign.engine.progress import ProgressBar, clock, last_metrics  # noqa: E402
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


class Quickstart:
    """One run of all stages.

    Args:
        args (argparse.Namespace): Of :func:`parse_args`.
    """

    def __init__(self, args):
        self.args = args
        self.number, self.count = 0, len(TRAININGS) + 2
        self.marks, self.results, self.seconds = {}, [], {}
        self.env = {
            'OMP_NUM_THREADS': str(min(len(os.sched_getaffinity(0)), 4)),
            # Threads that wait spin for some microseconds only: by default they
            # spin so long that a busy machine comes to a standstill, and those
            # that sleep at once take half as long again on an idle one.
            'GOMP_SPINCOUNT': '20000',
            **os.environ,
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
        for training in TRAININGS:
            self.train(training)
        figures = self.draw_figures()
        summary = dict(
            table=table_rows(self.results, STARTS),
            seconds={name: round(value, 1) for name, value in self.seconds.items()},
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
        self.follow(stage, title, command)
        stage.finish()
        self.close(stage, title, f'in {self.args.data}')

    def train(self, training):
        """Train one model, or go on with it, or keep what it came to."""
        data, names = TASKS[training.task]
        path = CONFIGS / training.config
        options = SMOKE if self.args.smoke else {}
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(dict(options))
        total, self.seed = cfg.train_cfg.max_iters, cfg.randomness.seed
        before = [self.marks[name] for name in ('data', training.source) if name]
        stage, title = self.open(training.name, cfg.to_dict(), *before)
        # What comes later needs its weights too.
        kept = stage.state['done'] and last_checkpoint(stage.folder)
        if not kept:
            options = dict(options, data_root=self.args.data / data)
            if training.source:
                source = self.args.work_dir / training.source
                options['pretrained'] = last_checkpoint(source)
            command = [sys.executable, ROOT / 'tools/train.py', path]
            command += ['--work-dir', stage.folder]
            if point := resume_point(stage.folder, total):
                command += ['--resume', point]
            command += ['--cfg-options', *(f'{k}={v}' for k, v in options.items())]
            self.follow(stage, title, command, total)
            metrics = measured(stage, names)
            # mmengine gives COCO's averages from 0 to 1, all else in percent.
            scale = 100 if training.task == 'detect' else 1
            stage.finish({name: round(v * scale, 2) for name, v in metrics.items()})
        metrics, seconds = stage.state['metrics'], stage.state['seconds']
        self.results.append(
            dict(
                task=training.task,
                start=training.start,
                metrics=metrics,
                seconds=seconds,
            )
        )
        values = [f'{COLUMNS[name]} {value:.1f}' for name, value in metrics.items()]
        self.close(stage, title, '   '.join(values) + ('   (kept)' if kept else ''))

    def draw_figures(self):
        """Draw the figures of what was trained.

        Returns:
            list[str]: Their files.
        """
        stage, title = self.open('figures', self.marks)
        command = [sys.executable, ROOT / 'tools/draw_quickstart.py']
        self.follow(stage, title, [*command, self.args.work_dir])
        stage.finish()
        self.close(stage, title, f'in {self.args.work_dir}')
        return [str(path) for path in sorted(self.args.work_dir.glob('*.png'))]

    def open(self, name, *parts):
        """Open a stage; everything its result depends on is in ``parts``."""
        self.number += 1
        self.marks[name] = fingerprint(name, *parts)
        stage = Stage(name, self.args.work_dir / name, self.marks[name])
        if stage.moved:
            print(
                f'{name} was begun with other settings; that is kept as {stage.moved}'
            )
        return stage, f'[{self.number:2d}/{self.count}] {name:<16}'

    def follow(self, stage, title, command, total=0):
        """Run the command of a stage under a progress bar."""
        bar = ProgressBar(title, stage.folder, total)
        try:
            stage.run(command, self.env, bar.tick)
        finally:
            bar.clear()

    def close(self, stage, title, message):
        """Say what became of a stage."""
        self.seconds[stage.name] = stage.state['seconds']
        print(f'{title}  {clock(stage.state["seconds"])}   {message}', flush=True)


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
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
