"""The small recipes of token labels learn, on Imagenette with the maps made of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT
from small_runs import train

from mmtlalign.validation.config import load_config

pytestmark = [pytest.mark.real_data, pytest.mark.slow]  # half a minute of training
METHODS = ('token-label', 'tlalign-token-label')


@pytest.mark.parametrize('method', METHODS)
def test_tokens_learn_what_the_maps_say(method, unpack, tmp_path):
    # Pictures and maps lie side by side, as the config says.
    for name in ('imagenette224', 'imagenette224_labelmaps'):
        (tmp_path / name).symlink_to(unpack(name))
    file = ROOT / f'configs/small/{method}_lvvit-mini-p8_imagenette-64px.py'
    cfg = load_config(str(file), dict(data_root=str(tmp_path)))

    train(cfg, tmp_path / 'run', iterations=40, lr=1e-3, evaluate=False)

    (scalars,) = Path(tmp_path / 'run').glob('*/vis_data/scalars.json')
    steps = [json.loads(line) for line in scalars.read_text().splitlines()]
    for term in ('loss_cls', 'loss_dense'):
        values = np.array([step[term] for step in steps])
        first, last = values[:8], values[-8:]
        error = np.sqrt(first.var(ddof=1) / 8 + last.var(ddof=1) / 8)
        print(f'{term}: {first.mean():.3f} to {last.mean():.3f}, error {error:.3f}')
        assert last.mean() < first.mean() - 2 * error
