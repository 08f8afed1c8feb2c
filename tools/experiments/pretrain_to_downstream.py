r"""Pretrain, export, segment, detect, transfer: a whole comparison in one command.

    python tools/experiments/pretrain_to_downstream.py PLAN.py
    python tools/experiments/pretrain_to_downstream.py PRETRAINING.py ... TASK.py ... \
        --seeds 0 1 2

A plan names pretraining configs (the rows of the table: a method, its control, and
random weights), tasks (the columns) and seeds; see configs/plans. Without a plan, the
configs that read `pretrained` are the tasks. What is finished is kept: after Ctrl-C or
an error, --resume goes on with the jobs that were interrupted. At the end there is a
report: table, curves, figures, commands, versions, seeds. A plan with `results` keeps
one JSON file of each start and seed there instead: --table and --figure show them.
"""

import argparse
import dataclasses
import os
import shlex
import signal
import sys
import time
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmtlalign.compat.files import check_file
from mmtlalign.errors import InputError, short_errors
from tools.experiments.jobs import JobError, set_aside
from tools.experiments.plan import Plan, plan_from_configs, read_plan

# What imports PyTorch comes after the command line.


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('plan', nargs='+', help='one plan file, or several configs')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='continue where the last run stopped; without it a new run starts and the '
        'earlier one is renamed',
    )
    parser.add_argument(
        '--smoke',
        action='store_true',
        help='train only a few steps in every run, as the plan defines, to check that '
        'all runs work',
    )
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        help="seeds for every stage, instead of the plan's",
    )
    parser.add_argument(
        '--starts',
        nargs='+',
        metavar='NAME',
        help='short names of the starts to run, instead of all in the plan',
    )
    parser.add_argument(
        '--table',
        action='store_true',
        help='only print the table of the existing results',
    )
    parser.add_argument(
        '--figure',
        type=Path,
        metavar='FILE',
        help='only draw the differences of the existing results to the control, as PNG '
        'or SVG',
    )
    parser.add_argument('--data', help="data folder instead of the plan's")
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='work directory (default: work_dirs/<name of the plan>)',
    )
    return parser.parse_args(argv)


def make_plan(args: argparse.Namespace) -> tuple[Plan, str]:
    """Read the plan, apply the command line to it, and return it and its name."""
    if len(args.plan) == 1:
        plan, name = read_plan(args.plan[0]), Path(args.plan[0]).stem
    else:
        plan, name = (
            plan_from_configs(args.plan),
            Path(args.plan[0]).stem + '_to_downstream',
        )
    if args.smoke:
        plan, name = plan.smoke_plan(args.plan[0]), name + '-smoke'
    given = dict(data=args.data) if args.data else {}
    if args.seeds:
        given.update(seeds=tuple(args.seeds), task_seeds=None)
    if args.starts:
        given.update(starts=choose_starts(plan, args.starts))
    if (args.table or args.figure) and not plan.results:
        raise InputError(
            f'--table and --figure read results of units, but {args.plan[0]} has no '
            'units: its table is in report.md of its work directory. Leave them out.'
        )
    return dataclasses.replace(plan, **given), name


def choose_starts(plan: Plan, names: list[str]) -> dict:
    """Return some starts of a plan, in its order.

    Raises:
        InputError: A name is none of them.
    """
    for name in names:
        if name not in plan.starts:
            raise InputError(
                f'--starts {name}: the plan has {", ".join(plan.starts)}. Choose from '
                'these.'
            )
    return {key: start for key, start in plan.starts.items() if key in names}


def main() -> None:
    """Run the plan; the exit status is 130 if the user stops it."""
    args = parse_args()
    with short_errors(args.plan[0]):
        for path in args.plan:
            check_file(path, 'config')
    from mmtlalign.engine.console import filter_known_warnings

    filter_known_warnings()
    from tools.experiments.backbone_check import check_backbones
    from tools.experiments.forks import start_server
    from tools.experiments.rehearsal import rehearse
    from tools.experiments.report import summarise, write_report
    from tools.experiments.runner import PlanRunner
    from tools.experiments.unit_figure import draw_differences
    from tools.experiments.unit_table import read_units, table_text

    # SIGINT too: a shell that starts this in the background has it ignored.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.default_int_handler)
    # A script that calls this one says how it is called itself.
    called = os.environ.get('MMTLALIGN_COMMAND') or shlex.join(['python', *sys.argv])
    again = called + ('' if args.resume else ' --resume')
    try:
        with short_errors(args.plan[0]):
            plan, name = make_plan(args)
            work_dir = args.work_dir or Path('work_dirs') / name
            runner = PlanRunner(plan, work_dir)
            if args.table or args.figure:
                units = read_units(runner.units)
                if args.table:
                    print(table_text(plan, units))
                if args.figure:
                    draw_differences(plan, units, args.figure)
                return
            os.nice(plan.nice)
            if runner.forked:
                # It imports what the runs need while this process checks.
                start_server(runner.env)
            check_backbones(runner.jobs.values())
            if runner.units:
                print(rehearse(runner), flush=True)
        if work_dir.exists() and any(work_dir.iterdir()) and not args.resume:
            kept = set_aside(work_dir)
            print(f'Starting a new run; the earlier run is kept as {kept}', flush=True)
        began = time.monotonic()
        runner.run()
        if runner.units:
            print(f'Every unit is done. The table:\n\n    {called} --table')
            return
        summary = summarise(runner, time.monotonic() - began)
        files = write_report(summary, runner)
    except KeyboardInterrupt:
        print(f'\nStopped. Nothing is lost; to continue:\n\n    {again}')
        sys.exit(130)
    except (JobError, LookupError) as error:
        print(
            f'\n{error}\n\nThe results of earlier jobs are kept; to continue:\n\n    '
            f'{again}'
        )
        sys.exit(1)
    print(f'\n{(work_dir / "table.txt").read_text()}\n{summary["caption"]}')
    if args.smoke:
        print('This was a smoke run: too few steps to learn anything.')
    print('\n'.join(map(str, files)))


if __name__ == '__main__':
    main()
