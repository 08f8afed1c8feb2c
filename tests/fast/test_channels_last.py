"""One line puts a convolutional network into the format that its kernels like."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmtlalign.errors import InputError
from mmtlalign.fast.hooks import ChannelsLastHook


def test_outputs_stay_and_activations_follow_the_weights():
    init_default_scope('mmpretrain')
    stock = MODELS.build(dict(type='ResNet', depth=18, base_channels=8))
    ours = copy.deepcopy(stock)
    ChannelsLastHook().before_run(SimpleNamespace(model=ours))
    assert ours.state_dict().keys() == stock.state_dict().keys()
    stock.eval(), ours.eval()
    images = torch.randn(2, 3, 64, 64)
    found = ours(images)[-1]
    torch.testing.assert_close(found, stock(images)[-1], rtol=1e-4, atol=1e-5)
    assert ours.layer1(torch.randn(2, 64, 9, 9)).is_contiguous(
        memory_format=torch.channels_last
    )


def test_a_model_without_convolution():
    with pytest.raises(InputError, match='Linear has no convolution.*remove'):
        ChannelsLastHook().before_run(SimpleNamespace(model=nn.Linear(2, 2)))
