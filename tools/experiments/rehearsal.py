"""A few steps of every run of a plan, before its hours begin.

Is the data there, how long will it take, and in which precision is this machine faster?
"""

import itertools
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper

from mmtlalign.engine.precision import mixed_precision
from mmtlalign.engine.runner import TaskRunner
from mmtlalign.evaluation.classifier import enter_scope, load_classifier, quiet_log
from tools.benchmarks.timing import time_call
from tools.experiments.plan_jobs import PRETRAIN
from tools.experiments.runner import PlanRunner

STEPS = 3
AMP = '--amp'


def rehearse(runner: PlanRunner) -> str:
    """Train each start of the units that are left for a few steps.

    Args:
        runner: Of a plan with units.

    Returns:
        What is left and about how long its training takes, a line each.

    Raises:
        InputError: The data is not what a config names.
    """
    torch.set_num_threads(runner.threads)
    left = [unit for unit in runner.units.values() if not unit.path.is_file()]
    if not left:
        return 'Every unit is done.'
    lines, total, chosen = [], 0.0, AMP in runner.plan.arguments
    for start in dict.fromkeys(unit.start for unit in left):
        own = [unit for unit in left if unit.start == start]
        if not runner.plan.starts[start].config:
            continue  # no pretraining
        cfg = runner.jobs[f'{PRETRAIN}-{start}-seed{own[0].seed}'].cfg
        if not lines:
            lines.append(compare_precisions(cfg, chosen))
        seconds = step_seconds(cfg, chosen) * step_count(cfg)
        total += seconds * len(own)
        lines.append(f'{start}: {len(own)} x {_told(seconds)}')
    where = f'{get_device()}, {runner.threads} thread(s)'
    lines.append(
        f'About {_told(total)} in all on {where} without other load, for the training '
        f'alone, estimated from {STEPS} steps each.'
    )
    return '\n'.join(lines)


def compare_precisions(cfg: Config, amp: bool) -> str:
    """Return the images a second in both precisions, and which one the plan takes.

    Args:
        cfg: Config of a classifier.
        amp: Whether the runs of the plan have mixed precision.
    """
    batch = cfg.train_dataloader.batch_size
    rates = {
        name: batch / step_seconds(cfg, mixed)
        for name, mixed in (('float32', False), ('mixed precision', True))
    }
    told = ', '.join(f'{name} {rate:.0f} images/s' for name, rate in rates.items())
    own = 'mixed precision (--amp)' if amp else 'float32'
    return f'{told}; faster: {max(rates, key=rates.get)}; the plan uses {own}'


def step_count(cfg: Config) -> int:
    """Return the training steps of a config that counts epochs."""
    return len(_loader(cfg.train_dataloader)) * cfg.train_cfg.max_epochs


def step_seconds(cfg: Config, amp: bool) -> float:
    """Return about how many seconds a training step takes; the first does not count.

    On a CPU they are those of this process, however busy the machine is.

    Args:
        cfg: Config of a classifier.
        amp: Whether in mixed precision.

    Raises:
        InputError: The data for training or test is not what the config names.
    """
    cfg = Config(cfg.to_dict())
    enter_scope(cfg)
    loader = _loader(cfg.train_dataloader)
    _loader(cfg.test_dataloader)
    if amp:
        mixed_precision(cfg)
    with quiet_log():
        model = load_classifier(cfg)[0].to(get_device())
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    model.train()
    batches = itertools.cycle(loader)

    def step() -> None:
        model.train_step(next(batches), wrapper)

    step()
    return time_call(step, get_device(), STEPS)[0]


# The starts of a plan have the same data: it is listed once.
_loaders: dict[str, torch.utils.data.DataLoader] = {}


def _loader(settings: dict) -> torch.utils.data.DataLoader:
    key = repr(settings)
    if key not in _loaders:
        alone = dict(settings, num_workers=0, persistent_workers=False)
        _loaders[key] = TaskRunner.build_dataloader(alone, seed=0)
    return _loaders[key]


def _told(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
