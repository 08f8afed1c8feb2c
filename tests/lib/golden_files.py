"""Where golden files lie, and how near is near enough."""

import os
from pathlib import Path

import numpy as np
import torch
from repository import ROOT

HERE = ROOT / 'tests' / 'golden'
FOLDERS = [HERE, *map(Path, filter(None, [os.environ.get('MMTLALIGN_GOLDEN')]))]
FILES = {p.name: p for folder in FOLDERS for p in sorted(folder.glob('*.npz'))}


def close(ours, golden, tolerance, relative=0.0):
    """Assert that every number is within ``tolerance + relative * |golden|``."""
    ours = torch.as_tensor(ours).detach().double()
    golden = torch.as_tensor(np.asarray(golden)).double()
    assert ours.shape == golden.shape
    assert ((ours - golden).abs() - relative * golden.abs()).max().item() <= tolerance
