"""Every process validates the statistics of the first."""

import types

import torch
from mmengine.hooks import EMAHook
from mmengine.runner import get_priority
from torch import nn

from mmtlalign.engine import broadcast_buffers_hook
from mmtlalign.engine.broadcast_buffers_hook import BroadcastBuffersHook


def network(rank):
    """A network as after training on images of its own."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    net(torch.randn(8, 3, 4, 4) + rank)
    net.register_buffer('own', torch.tensor(rank))
    return net


def validate(net):
    BroadcastBuffersHook().before_val_epoch(types.SimpleNamespace(model=net))


def test_statistics_of_the_first_process(monkeypatch):
    sent, first, second = [], network(0), network(1)
    with monkeypatch.context() as patch:
        patch.setattr(broadcast_buffers_hook, 'broadcast', sent.append)
        validate(first)
    with monkeypatch.context() as patch:
        receive = iter(sent)
        patch.setattr(
            broadcast_buffers_hook, 'broadcast', lambda to: to.copy_(next(receive))
        )
        validate(second)
    assert not torch.equal(first[1].running_mean, network(1)[1].running_mean)
    assert int(second.own) == 1
    second.own.zero_()
    for key, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[key], tensor)


def test_one_process_keeps_its_own():
    net = network(1)
    validate(net)
    for key, tensor in network(1).state_dict().items():
        assert torch.equal(net.state_dict()[key], tensor)


def test_it_comes_after_the_average_of_the_weights():
    assert get_priority(BroadcastBuffersHook.priority) > get_priority(EMAHook.priority)
