"""The recipes of Token Labeling and ReLabel by name, and how tests read them."""

import copy
import functools
import re

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from repository import ROOT
from small_runs import without_memory

FOLDER = ROOT / 'configs'
CONFIGS = {
    path.stem: path
    for folder in ('token_labeling', 'relabel')
    for path in sorted((FOLDER / folder).glob('*.py'))
}
NAME = re.compile(
    r'(?:(?P<method>[a-z-]+)_)?(?P<net>[a-z]+(?:-[a-z]+-p16|50))(?P<pre>_in1k-pre)?_'
    r'(?P<gpus>\d)xb(?P<batch>\d+)-coslr-(?P<epochs>\d+)e_in1k(?:-(?P<px>\d+)px)?'
)
TOKEN_LABELS = [n for n in CONFIGS if n.startswith('token-label_')]
MIXTOKEN = [n for n in CONFIGS if n.startswith('mixtoken_')]
LVVIT = [n for n in TOKEN_LABELS if 'lvvit' in n]
PRETRAINING = [n for n in LVVIT if 'in1k-pre' not in n]
FINE_TUNING = [n for n in LVVIT if 'in1k-pre' in n]
RESNET = [n for n in CONFIGS if 'resnet50' in n]
SMALL_S = 'token-label_lvvit-small-p16_8xb128-coslr-310e_in1k'


@functools.cache
def parsed(path) -> Config:
    """A recipe by its path; not to be changed."""
    return Config.fromfile(path)


def load(name: str) -> Config:
    """A recipe by its name, to be changed at will."""
    cfg = copy.deepcopy(parsed(CONFIGS[name]))
    init_default_scope(cfg.default_scope)
    return cfg


def build(cfg: Config) -> torch.nn.Module:
    """The network of a recipe, without memory."""
    return without_memory(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
