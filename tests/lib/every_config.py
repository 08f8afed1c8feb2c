"""Run a tool on a config that is read already, without what takes time in a test."""

import copy
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.visualization import Visualizer
from repository import tool
from tiny_configs import CIFAR10_PICTURES

from mmtlalign.datasets import cifar_folders


def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No line for every parameter, no formatting of configs, no whole CIFAR."""
    logging.disable(logging.INFO)
    text = property(lambda cfg: '\n'.join(f'{k} = {v!r}' for k, v in plain(cfg)))
    monkeypatch.setattr(Config, 'pretty_text', text)
    for name in ('CIFAR10', 'CIFAR100'):
        cls = DATASETS.get(f'mmpretrain.{name}')
        monkeypatch.setattr(cls, '_check_integrity', lambda self: True)
    monkeypatch.setattr(cifar_folders, 'SPLITS', CIFAR10_PICTURES)
    yield
    logging.disable(logging.NOTSET)


def plain(cfg: Config) -> list[tuple]:
    """List the settings of a config, which say all of it."""
    return [(k, v) for k, v in cfg.to_dict().items() if k != 'filename']


def mask(node: Any) -> Any:
    """Return settings without the values of their floats, such as rates.

    Of two tiny configs that differ in these alone, one breaks where the other does.
    """
    if isinstance(node, dict):
        return {key: mask(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [mask(value) for value in node]
    return 0.5 if isinstance(node, float) else node


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
