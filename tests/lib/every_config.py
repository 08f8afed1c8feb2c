"""Run a tool on a config that is read already, without what takes time in a test."""

import copy
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.visualization import Visualizer
from repository import tool


def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No line for every parameter, no formatting of configs, no md5 of CIFAR."""
    logging.disable(logging.INFO)
    text = property(lambda cfg: '\n'.join(f'{k} = {v!r}' for k, v in plain(cfg)))
    monkeypatch.setattr(Config, 'pretty_text', text)
    for name in ('CIFAR10', 'CIFAR100'):
        cls = DATASETS.get(f'mmpretrain.{name}')
        monkeypatch.setattr(cls, '_check_integrity', lambda self: True)
    yield
    logging.disable(logging.NOTSET)


def plain(cfg: Config) -> list[tuple]:
    """List the settings of a config, which say all of it."""
    return [(k, v) for k, v in cfg.to_dict().items() if k != 'filename']


def run(
    monkeypatch: pytest.MonkeyPatch, name: str, cfg: Config, *arguments: str | Path
) -> None:
    """Run ``tools/<name>.py`` in this process on a config that is read already."""
    module = tool(name)
    load = 'mmtlalign.validation.config.load_config'
    monkeypatch.setattr(load, lambda *given: copy.deepcopy(cfg))
    monkeypatch.setattr('sys.argv', [f'{name}.py', *map(str, arguments)])
    for kind in (Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.clear()
    module.main()
