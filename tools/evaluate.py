"""Evaluate a classifier: robustness, occlusion, attention, labels, cost."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mmtlalign.compat.files import check_file
from mmtlalign.compat.own_configs import DictAction
from mmtlalign.errors import InputError, short_errors

if TYPE_CHECKING:
    from mmengine.config import Config

    from tools.evaluation.items import Item

# Imports of PyTorch come later, so that a wrong command line fails at once.
WAIT = 24 * 3600  # seconds
SUITES = ('robustness', 'occlusion', 'attention', 'labels', 'cost')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='config that the classifier was trained with')
    add(
        'checkpoint',
        nargs='?',
        help='weights of the classifier; without it they are random',
    )
    add(
        '--suite',
        nargs='+',
        choices=[*SUITES, 'all'],
        help='suites to run (default: robustness, or the suites of --items)',
    )
    add(
        '--items',
        nargs='+',
        metavar='NAME',
        help='run only these items of the suites, see --list',
    )
    add(
        '--list',
        action='store_true',
        help='print the items with their estimated time, and stop',
    )
    add('--control', metavar='FILE', help='checkpoint to compare with image by image')
    add('--weights', choices=['auto', 'raw', 'ema'], default='auto')
    add(
        '--data',
        metavar='DIR',
        default='data',
        help='folder with further test sets (default: data)',
    )
    add('--limit', type=int, metavar='N', help='use at most N images, evenly spaced')
    add(
        '--pairs',
        type=int,
        default=2000,
        help='number of mixed pairs in the suite labels (default: 2000)',
    )
    add(
        '--seeds',
        type=int,
        nargs='+',
        default=[0, 1, 2],
        help='seeds of random conditions (default: 0 1 2)',
    )
    add('--severities', type=int, nargs='+', default=[1, 2, 3, 4, 5], metavar='S')
    add(
        '--saliency',
        default='self',
        help="saliency that ranks patches: self (the network's own attention), or "
        'FILE.npy (images, rows, columns) from another network, such as DINO',
    )
    add(
        '--objects',
        metavar='PATH',
        help='images with object masks: a COCO instances file or a Pascal VOC folder; '
        'or ImageNet boxes: a folder of .xml files or localization.txt; default: VOC '
        'or COCO in --data',
    )
    add('--batch-size', type=int, default=64)
    add(
        '--workers',
        type=int,
        help='processes that decode images; default: one less than the cores',
    )
    add(
        '--out',
        metavar='DIR',
        help='folder for the results (default: work_dirs/<config>/evaluation)',
    )
    add(
        '--resume',
        action='store_true',
        help='keep earlier results and measure only what is missing',
    )
    add('--overwrite', action='store_true', help='replace earlier results')
    add('--strict', action='store_true', help='fail if something cannot be measured')
    add(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change settings, such as data_root=DIR',
    )
    add('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    add('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    for name in ('limit', 'pairs', 'batch_size'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} takes a number from 1 on')
    if args.workers is not None and args.workers < 0:
        parser.error('--workers takes a number from 0 on')
    if not set(args.severities) <= {1, 2, 3, 4, 5}:
        parser.error('--severities takes numbers from 1 to 5')
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        parser.error('--seeds takes numbers from 0 on, each once')
    args.suite = args.suite or (['all'] if args.items else ['robustness'])
    if args.resume and args.overwrite:
        parser.error(
            '--resume keeps the results that --overwrite replaces: give one of them'
        )
    return args


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with short_errors(args.config):
        check_file(args.config, 'config')
        for path in filter(None, (args.checkpoint, args.control)):
            check_file(path, 'checkpoint')
        try:
            status = evaluate(args)
        except KeyboardInterrupt:
            print('\nStopped. --resume continues with what was measured.')
            sys.exit(130)
        from mmtlalign.engine.precision import leave_processes

        leave_processes(status)
    sys.exit(status)


def evaluate(args: argparse.Namespace) -> int:
    """Evaluate the networks of the command line, and return the exit status."""
    from mmtlalign.engine.console import filter_known_warnings

    filter_known_warnings()
    from mmtlalign.engine.run_folder import is_first_process, lock_folder
    from mmtlalign.validation.config import load_config
    from tools.evaluation import suites

    cfg = load_config(args.config, args.cfg_options)
    items = suites.choose(args.suite, args.items)
    cfg.launcher = args.launcher
    out = Path(args.out or Path('work_dirs') / Path(args.config).stem / 'evaluation')
    begun = (out / 'results.json').exists() or (out / 'parts').exists()
    if begun and not (args.resume or args.overwrite or args.list):
        raise InputError(
            f'{out} contains results: --resume keeps those that fit this command, '
            '--overwrite replaces them, --out DIR writes elsewhere'
        )
    writes = not args.list and is_first_process(args.launcher)
    with lock_folder(out, '--out') if writes else nullcontext():
        return evaluate_into(out, cfg, items, args)


def evaluate_into(
    out: Path, cfg: 'Config', items: 'Sequence[Item]', args: argparse.Namespace
) -> int:
    """Evaluate into a folder that this process has locked, and return the status."""
    from mmengine import dist

    from mmtlalign.engine.precision import join_cpu_processes
    from tools.evaluation import report, run, suites
    from tools.evaluation.context import Context, Options
    from tools.evaluation.objects import default_objects
    from tools.output import open_console

    if args.launcher != 'none':
        # Processes wait for the one with the longest share of an attack.
        join_cpu_processes(cfg, WAIT)
        if not dist.is_distributed():
            dist.init_dist(args.launcher, timeout=WAIT)
    checkpoints = dict(model=args.checkpoint)
    if args.control:
        checkpoints['control'] = args.control
    workers = args.workers
    if workers is None:
        workers = max(0, len(os.sched_getaffinity(0)) // dist.get_world_size() - 1)
    context = Context(
        cfg=cfg,
        config=args.config,
        checkpoints=checkpoints,
        weights=args.weights,
        data=Path(args.data),
        out=out,
        options=Options(
            limit=args.limit,
            seeds=tuple(args.seeds),
            severities=tuple(sorted(set(args.severities))),
            saliency=args.saliency,
            objects=args.objects or default_objects(Path(args.data)),
            pairs=args.pairs,
        ),
        batch_size=args.batch_size,
        workers=workers,
    )
    console = open_console()
    say = console.print if dist.is_main_process() else lambda line: None
    suites.check(context)
    plan = suites.plan(context, items)
    say(suites.describe(context, plan))
    if args.list:
        return 0
    if dist.is_main_process() and not args.resume:
        shutil.rmtree(out / 'parts', ignore_errors=True)
    dist.barrier()
    header = report.header(context, command=shlex.join(['python', *sys.argv]))
    results = run.Results(
        out / 'results.json', header, args.resume, [item.name for item in suites.ITEMS]
    )
    fingerprints = {
        item.name: run.fingerprint(context, item)
        for item in suites.ITEMS
        if item.name in results.items
    }
    for name in results.keep(fingerprints):
        say(
            f'{name}: measured with another checkpoint, other data or options; left out'
        )
    failed = run.measure(context, items, results, say)
    results.write()
    status = 1 if failed else 0
    if dist.is_main_process():
        for path in report.write(context, results):
            say(str(path))
        skipped = [n for n, item in results.items.items() if item['skipped']]
        if skipped and args.strict:
            say(f'--strict: not measured: {", ".join(skipped)}')
            status = 3
    return status


if __name__ == '__main__':
    main()
