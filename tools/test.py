"""Test a checkpoint with its config, for mmpretrain, mmseg or mmdet."""

import argparse
import os
import os.path as osp

from mmengine.config import Config

from mmtlalign.compat.files import check_file
from mmtlalign.compat.own_configs import DictAction
from mmtlalign.errors import InputError, short_errors

# Imports of PyTorch come later, so that a wrong command line fails at once.


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint with all weights of the model')
    parser.add_argument(
        '--work-dir',
        help='folder for logs (default: work_dirs/<name of the config>)',
    )
    parser.add_argument(
        '--out',
        metavar='FILE.pkl',
        help='write the predictions of all images to FILE.pkl',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='use the test-time augmentation of the config',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change settings, such as test_dataloader.batch_size=64 or key="[a,b]", '
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
        InputError: The config lacks what an option needs.
    """
    cfg.launcher = args.launcher
    name = osp.splitext(osp.basename(args.config))[0]
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.tta:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise InputError(
                '--tta needs tta_model and tta_pipeline in the config; set them or '
                'leave out --tta'
            )
        from mmtlalign.compat.wrappers import unwrap_dataset

        # A wrapper has no pipeline of its own.
        unwrap_dataset(cfg.test_dataloader.dataset).pipeline = cfg.tta_pipeline
        cfg.model = dict(cfg.tta_model, module=cfg.model)
    if args.out:
        evaluators = cfg.test_evaluator
        if not isinstance(evaluators, (list, tuple)):
            evaluators = [evaluators]
        dump = dict(type='DumpResults', out_file_path=args.out)
        cfg.test_evaluator = [*evaluators, dump]


def main() -> None:
    """Test the checkpoint of the command line."""
    args = parse_args()
    with short_errors(args.config):
        check_file(args.config, 'config')
        if args.out and not args.out.endswith(('.pkl', '.pickle')):
            raise InputError(f"--out '{args.out}' must end with .pkl or .pickle")
        check_file(args.checkpoint, 'checkpoint')
        test(args)


def test(args: argparse.Namespace) -> None:
    """Test a checkpoint by the parsed command line."""
    from mmtlalign.engine.console import filter_known_warnings
    from mmtlalign.engine.precision import join_cpu_processes, leave_processes
    from mmtlalign.engine.run_folder import make_folder
    from mmtlalign.engine.runner import build_runner
    from mmtlalign.validation.config import load_config

    filter_known_warnings()
    cfg = load_config(args.config, args.cfg_options)
    merge_args(cfg, args)
    make_folder(cfg.work_dir)
    join_cpu_processes(cfg)
    build_runner(cfg).test()
    leave_processes()


if __name__ == '__main__':
    main()
