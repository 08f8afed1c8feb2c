"""Before the hours of a plan begin: does every backbone fit its tasks?"""

import tempfile
from pathlib import Path

import torch
from mmengine.registry import MODELS

from mmtlalign.engine.backbone_weights import load_backbone
from mmtlalign.engine.console import import_host
from mmtlalign.engine.errors import InputError

__all__ = ['check_backbones']


def check_backbones(jobs) -> None:
    """Load each pretraining backbone, untrained, into each of its tasks.

    Args:
        jobs (Iterable[Job]): Of a plan.

    Raises:
        InputError: A backbone does not fit; names start and task.
    """
    jobs = list(jobs)
    pretrainings = {j.start: j for j in jobs if j.task == 'pretrain'}
    seen = set()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'backbone.pth'
        for job in jobs:
            source = pretrainings.get(job.start)
            if job.cfg is None or job.task == 'pretrain' or source is None:
                continue
            # A method and its control have one backbone.
            pair = repr(source.cfg.model.backbone), job.task
            if pair in seen:
                continue
            seen.add(pair)
            given = build(source.cfg)
            names = {f'backbone.{n}': t for n, t in given.state_dict().items()}
            torch.save(dict(state_dict=names), file)
            hook = next(
                h for h in job.cfg.custom_hooks if 'PretrainedBackbone' in h['type']
            )
            try:
                load_backbone(build(job.cfg), str(file), hook.get('new_layers', ()))
            except InputError as error:
                raise InputError(
                    f'The backbone of {source.config} does not fit {job.config}: '
                    f'{str(error).replace(str(file), "it")}'
                ) from error


def build(cfg) -> torch.nn.Module:
    """The backbone of a config, with random weights."""
    scope = cfg.get('default_scope', 'mmengine')
    import_host(scope)
    with MODELS.switch_scope_and_registry(scope) as models:
        return models.build(dict(cfg.model.backbone, init_cfg=None))
