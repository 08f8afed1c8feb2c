"""Check that backbones fit their tasks, before the hours of a plan begin."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.engine.console import import_host
from mmtlalign.errors import InputError
from tools.experiments.jobs import Job


def check_backbones(jobs: Iterable[Job]) -> None:
    """Check that each pretraining backbone, untrained, loads into each of its tasks.

    Args:
        jobs: Of a plan.

    Raises:
        InputError: A backbone does not fit; names start and task.
    """
    jobs = list(jobs)
    pretraining = {j.start: j for j in jobs if j.task == 'pretrain'}
    checked = set()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'backbone.pth'
        for job in jobs:
            source = pretraining.get(job.start)
            if job.cfg is None or job.task == 'pretrain' or source is None:
                continue
            # A method and its control have one backbone.
            pair = repr(source.cfg.model.backbone), job.task
            if pair in checked:
                continue
            checked.add(pair)
            state = build_backbone(source.cfg).state_dict()
            state = {f'backbone.{name}': tensor for name, tensor in state.items()}
            torch.save(dict(state_dict=state), file)
            hook = next(
                h for h in job.cfg.custom_hooks if 'PretrainedBackbone' in h['type']
            )
            try:
                load_backbone(
                    build_backbone(job.cfg), str(file), hook.get('new_layers', ())
                )
            except InputError as error:
                raise InputError(
                    f'The backbone of {source.config} does not fit {job.config}: '
                    f'{str(error).replace(str(file), "it")}'
                ) from error


def build_backbone(cfg: Config) -> torch.nn.Module:
    """Build the backbone of a config, with random weights."""
    scope = cfg.get('default_scope', 'mmengine')
    import_host(scope)
    with MODELS.switch_scope_and_registry(scope) as models:
        return models.build(dict(cfg.model.backbone, init_cfg=None))
