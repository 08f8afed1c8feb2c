"""Checkpoints read without torch's allow-list, which torch before 2.5 does not have."""

from argparse import Namespace
from pickle import UnpicklingError

import numpy as np
import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from mmtlalign.compat import data_pickle


def read(content, path, **options):
    torch.save(content, path, **options)
    return torch.load(path, pickle_module=data_pickle, weights_only=False)


@pytest.mark.parametrize('zipped', [True, False])
def test_reads_what_training_writes(zipped, tmp_path):
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    weights = torch.nn.Linear(2, 3)
    content = dict(
        state_dict=weights.state_dict(),
        parameter=weights.weight,
        half=torch.ones(2, dtype=torch.float16),
        kind=torch.bfloat16,
        history=history,
        args=Namespace(lr=1e-3),
        numbers=[np.float64(0.5), np.arange(3), np.int64(4)],
        meta=dict(epoch=3, cfg='a = 1', seed=None),
    )
    options = dict(_use_new_zipfile_serialization=zipped)
    again = read(content, tmp_path / 'a.pth', **options)
    for name, value in weights.state_dict().items():
        assert again['state_dict'][name].equal(value)
    assert again['parameter'].equal(weights.weight)
    assert again['half'].dtype is torch.float16 and again['kind'] is torch.bfloat16
    assert again['history'].mean() == 2 and again['args'].lr == 1e-3
    assert again['numbers'][0] == 0.5 and again['numbers'][1].tolist() == [0, 1, 2]
    assert again['meta'] == content['meta']


class Calls:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'function, arguments, named',
    [
        (exec, ('raise SystemExit',), r'GLOBAL \w+\.exec'),
        (getattr, (HistoryBuffer, '__init__'), 'getattr'),
        (getattr, (dict, 'get'), r'GLOBAL \w+\.dict'),
        (torch.hub.load, ('a', 'b'), r'torch\.hub'),
        (np.load, ('a',), 'numpy'),
    ],
)
def test_refuses_what_would_run(function, arguments, named, tmp_path):
    with pytest.raises(UnpicklingError, match=named):
        read(Calls(function, *arguments), tmp_path / 'a.pth')
