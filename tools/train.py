"""Train the model of a config of mmpretrain, mmseg or mmdet."""

import argparse
import os
import os.path as osp
import sys

from mmengine.config import Config

from mmtlalign.compat.files import check_file
from mmtlalign.compat.own_configs import DictAction
from mmtlalign.compat.run_checkpoints import POINTER
from mmtlalign.errors import short_errors

# Imports of PyTorch come later, so that a wrong command line fails at once.


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints (default: work_dirs/<name of the '
        'config>)',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|PATH',
        help='continue from PATH, or from the last checkpoint of the work directory',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='delete the checkpoints in the work directory and start a new run',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: bfloat16 if the device supports it, else float16 with '
        'loss scaling; dense tasks on a GPU always use float16',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by global batch size / batch size of the recipe',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change settings, such as train_dataloader.batch_size=64 or key="[a,b]", '
        'without white space inside',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    # Launchers older than torchrun pass it; torchrun sets LOCAL_RANK.
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the options of the command line to the config.

    Raises:
        InputError: ``--amp`` does not fit the optimizer wrapper.
    """
    cfg.launcher = args.launcher
    name = osp.splitext(osp.basename(args.config))[0]
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    folder = osp.dirname(args.config)
    if not args.work_dir and osp.isfile(osp.join(folder, POINTER)):
        cfg.work_dir = folder  # the config is the copy in the folder of its run
    if args.resume and args.resume != 'auto':
        cfg.resume, cfg.load_from = True, args.resume
    elif args.resume:
        from mmtlalign.engine.run_folder import has_checkpoints, is_first_process

        cfg.resume = has_checkpoints(cfg.work_dir)
        if cfg.resume:
            cfg.load_from = None
        elif is_first_process(args.launcher):
            file = cfg.get('load_from')
            weights = f' with the weights of {file}' if file else ''
            print(f'--resume: {cfg.work_dir} has no checkpoint; a run begins{weights}')
    if args.amp:
        from mmtlalign.engine.precision import mixed_precision

        mixed_precision(cfg)
    if args.auto_scale_lr:
        cfg.auto_scale_lr = dict(cfg.get('auto_scale_lr') or {}, enable=True)


def main() -> None:
    """Train the model of the command line."""
    args = parse_args()
    with short_errors(args.config):
        check_file(args.config, 'config')
        if args.resume not in (None, 'auto'):
            check_file(args.resume, 'checkpoint')
        train(args)


def train(args: argparse.Namespace) -> None:
    """Train a model by the parsed command line."""
    from mmtlalign.engine.console import filter_known_warnings
    from mmtlalign.engine.nan_guard_hook import add_nan_guard
    from mmtlalign.engine.precision import join_cpu_processes, leave_processes
    from mmtlalign.engine.run_folder import claim_folder, describe_last
    from mmtlalign.engine.runner import build_runner
    from mmtlalign.validation.config import load_config

    filter_known_warnings()
    cfg = load_config(args.config, args.cfg_options)
    merge_args(cfg, args)
    add_nan_guard(cfg)
    with claim_folder(cfg, args.overwrite):
        join_cpu_processes(cfg)
        try:
            build_runner(cfg).train()
        except Exception as error:
            last = describe_last(cfg.work_dir)
            if '--resume' in last and last not in str(error):
                print(last, file=sys.stderr)
            raise
    leave_processes()


if __name__ == '__main__':
    main()
