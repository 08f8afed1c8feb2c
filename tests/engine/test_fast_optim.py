"""Few groups and a fused step: parameters move as with the default constructor."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

import mmtlalign.engine  # noqa: F401  (registers the constructors)
from mmtlalign.engine.optim import FastOptimWrapperConstructor, merge_groups
from mmtlalign.errors import InputError
from mmtlalign.methods.esvit.hook import TensorClipHook

FAST = 'mmtlalign.FastOptimWrapperConstructor'
ADAMW = dict(type='AdamW', lr=0.1, weight_decay=0.2)
PARAMWISE = dict(
    norm_decay_mult=0.0, custom_keys={'2.': dict(lr_mult=0.5, decay_mult=0.5)}
)


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.GELU())
    net.append(nn.Linear(4, 2))
    return net


def build(net, **changes):
    return build_optim_wrapper(net, copy.deepcopy(dict(optimizer=ADAMW) | changes))


def settings_of(net, wrapper):
    """Rate and decay of every parameter, by name."""
    names = {id(param): name for name, param in net.named_parameters()}
    return {
        names[id(param)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for param in group['params']
    }


def has_fused_step(kind):
    """Whether an optimizer of this PyTorch has one on a CPU."""
    try:
        getattr(torch.optim, kind)(network().parameters(), lr=1.0, fused=True)
    except (RuntimeError, TypeError):
        return False
    return True


@pytest.mark.parametrize('paramwise', [None, PARAMWISE])
@pytest.mark.parametrize('kind', ['AdamW', 'SGD', 'RMSprop'])
def test_parameters_move_as_by_the_default_constructor(paramwise, kind):
    options = dict(optimizer=dict(ADAMW, type=kind), paramwise_cfg=paramwise)
    nets = [network(), network()]
    wrappers = [build(nets[0], **options), build(nets[1], **options, constructor=FAST)]
    settings = [settings_of(*pair) for pair in zip(nets, wrappers)]
    assert settings[0] == settings[1]
    if paramwise:
        assert len(set(settings[1].values())) == 3
        assert len(wrappers[1].optimizer.param_groups) == 3
        assert len(wrappers[0].optimizer.param_groups) == 8
    assert bool(wrappers[1].optimizer.defaults.get('fused')) == has_fused_step(kind)
    for _ in range(3):
        for net, wrapper in zip(nets, wrappers):
            wrapper.update_params(net(torch.ones(2, 3)).pow(2).sum())
    for ours, theirs in zip(nets[1].parameters(), nets[0].parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_groups_are_merged_by_all_their_settings():
    groups = [
        dict(params=[1], lr=1.0),
        dict(params=[2]),
        dict(params=[3], lr=1.0, weight_decay=0.0),
        dict(params=[4], lr=1.0),
    ]
    assert merge_groups(groups) == [
        dict(params=[1, 4], lr=1.0),
        dict(params=[2]),
        dict(params=[3], lr=1.0, weight_decay=0.0),
    ]
    assert groups[0]['params'] == [1]


@pytest.mark.parametrize('choice', [dict(fused=False), dict(foreach=True)])
def test_the_config_may_choose_another_step(choice):
    wrapper = build(network(), optimizer=dict(ADAMW, **choice), constructor=FAST)
    assert not wrapper.optimizer.defaults.get('fused')


def test_a_device_without_a_fused_step_gets_the_usual_one(monkeypatch):
    stock, tried = torch.optim.AdamW.__init__, []

    def refuse(self, params, *, fused=None, **kwargs):
        tried.append(fused)
        if fused:
            raise RuntimeError('`fused=True` requires all the params to be ...')
        stock(self, params, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, '__init__', refuse)
    monkeypatch.setattr(FastOptimWrapperConstructor, 'may_fuse', lambda self: True)
    wrapper = build(network(), constructor=FAST, paramwise_cfg=PARAMWISE)
    assert len(wrapper.optimizer.param_groups) == 3
    assert tried == [True, None]


def test_scaled_gradients_are_not_fused_and_not_clipped():
    settings = dict(type='AmpOptimWrapper', optimizer=ADAMW)
    assert not FastOptimWrapperConstructor(settings).may_fuse()
    assert 'AmpOptimWrapper' in OPTIM_WRAPPERS
    optimizer = SimpleNamespace(defaults=dict(fused=True))
    wrapper = SimpleNamespace(optimizer=optimizer, loss_scaler=None)
    with pytest.raises(InputError, match=r'fused=True under AmpOptimWrapper.*bfloat16'):
        TensorClipHook().before_train(SimpleNamespace(optim_wrapper=wrapper))


def test_a_shared_parameter_is_stepped_once():
    net = nn.Module()
    net.first, net.second = nn.Linear(2, 2), nn.Linear(2, 2)
    net.second.weight = net.first.weight
    build = FastOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0, weight_decay=0.0)),
        dict(bias_decay_mult=0.0),
    )
    optimizer = build(net).optimizer
    before = net.first.weight.detach().clone()
    net.first.weight.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(net.first.weight, before - 1)
