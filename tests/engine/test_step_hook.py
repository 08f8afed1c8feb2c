"""What runs inside an optimizer's step."""

import pytest
import torch
from mmengine.optim import LinearLR, OptimWrapper

from mmtlalign.compat.step_hook import before_step


@pytest.fixture
def optimizer():
    param = torch.nn.Parameter(torch.ones(2))
    param.grad = torch.ones(2)
    return torch.optim.SGD([param], lr=0.5)


def test_functions_run_in_order_before_parameters_move(optimizer):
    (param,) = optimizer.param_groups[0]['params']
    seen = []
    detach = [
        before_step(optimizer, lambda given: seen.append((1, given, param[0].item()))),
        before_step(optimizer, lambda given: seen.append((2, given, param[0].item()))),
    ]
    optimizer.step()
    assert seen == [(1, optimizer, 1.0), (2, optimizer, 1.0)]
    assert param.tolist() == [0.5, 0.5]
    detach[0]()
    optimizer.step()
    assert [number for number, *_ in seen] == [1, 2, 2]
    detach[1]()
    optimizer.step()
    assert len(seen) == 3 and param.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize('hook_first', [True, False])
def test_the_step_is_still_that_of_the_hosts(optimizer, hook_first):
    calls = []
    if hook_first:
        before_step(optimizer, calls.append)
    # A scheduler of mmengine wraps the step itself, and counts.
    scheduler = LinearLR(optimizer, start_factor=0.5, end=2, by_epoch=False)
    if not hook_first:
        before_step(optimizer, calls.append)
    steps = optimizer._global_step
    OptimWrapper(optimizer).step()
    scheduler.step()
    assert optimizer._global_step == steps + 1 and len(calls) == 1
    assert optimizer.state_dict().keys() == {'state', 'param_groups'}
    # A closure is handed on.
    assert optimizer.step(lambda: torch.tensor(3.0)).item() == 3 and len(calls) == 2


def test_it_also_runs_after_something_was_compiled(optimizer):
    compiled = torch.compile(lambda x: x + 1, backend='eager')
    assert compiled(torch.ones(1)).item() == 2
    # PyTorch 2.1 has now taken the hooks of its own away.
    calls = []
    before_step(optimizer, calls.append)
    optimizer.step()
    assert calls == [optimizer]
