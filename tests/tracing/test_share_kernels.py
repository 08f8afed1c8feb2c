"""Triton kernels of shares: interpreted on a CPU, and compiled where there is a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from share_cases import CASES, HALF, NETWORK, attention, error_of

from mmtlalign.tracing.kernels import dispatch, gpu
from mmtlalign.tracing.kernels.launch import UnfitError, load_kernels
from mmtlalign.tracing.propagate import attention_by_formula

ROOT = Path(__file__).parents[2]
try:
    load_kernels()
except UnfitError as error:
    unfit = str(error)
else:
    unfit = ''
needs_triton = pytest.mark.skipif(bool(unfit), reason=unfit)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')


@pytest.fixture(scope='module')
def interpreted():
    """Errors of all cases in Triton's interpreter.

    In a process of its own, as kernels are interpreted or compiled once imported.
    """
    paths = [
        ROOT,
        ROOT / 'tests' / 'lib',
        *filter(None, [os.environ.get('PYTHONPATH')]),
    ]
    settings = dict(
        TRITON_INTERPRET='1',
        MMTLALIGN_SHARE_KERNEL='triton',
        PYTHONPATH=os.pathsep.join(map(str, paths)),
        CUDA_VISIBLE_DEVICES='',
    )
    result = subprocess.run(
        [sys.executable, ROOT / 'tests' / 'lib' / 'share_cases.py'],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@needs_triton
@pytest.mark.parametrize('name', CASES)
def test_kernels_are_the_formula_in_the_interpreter(name, interpreted):
    assert interpreted[name] < (5e-7 if name == 'sharp' else 2e-7)


@pytest.fixture
def forced(monkeypatch):
    """Failures of kernels are errors."""
    for module in (dispatch, gpu):
        monkeypatch.setattr(module, 'asked_way', lambda: 'triton')


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize('name', [name for name in CASES if NETWORK not in name])
def test_kernels_are_the_formula_on_a_gpu(name, forced):
    assert error_of(name, 'cuda') < (1e-5 if name == 'sharp' else 1e-6)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    ('images', 'tokens'), [(128, 197), (128, 577), (32, 1025), (4, 4097)]
)
def test_batches_of_training_are_the_formula_on_a_gpu(images, tokens, forced):
    """Many programs, and the tiles of large batches."""
    packed = torch.randn(images, tokens, 2, 6, 64, device='cuda').to(HALF)
    query, key = packed.permute(2, 0, 3, 1, 4).unbind(0)
    share = torch.rand(images, tokens, 1, device='cuda')
    found = dispatch.propagate(query, key, share, 0.125, None, share)
    for part in torch.arange(images, device='cuda').chunk(images // 4):
        exact = attention_by_formula(query[part], key[part], 0.125)
        own = share[part].double()
        error = (found[part] - (exact @ own + own) / 2).abs().max()
        assert error < 1e-6


@pytest.mark.gpu
@needs_gpu
def test_offsets_beyond_32_bits(forced):
    """The last image is behind 2**31 elements."""
    shape = (1025, 2048, 8, 128)
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip('needs 12 GiB of GPU memory')
    query = torch.empty(shape, dtype=HALF, device='cuda').normal_().transpose(1, 2)
    assert query.numel() > 2**31
    share = torch.rand(len(query), 2048, 1, device='cuda')
    found = dispatch.propagate(query, query, share, 0.05)[-1:]
    exact = attention_by_formula(query[-1:], query[-1:], 0.05) @ share[-1:].double()
    assert (found - exact).abs().max() < 1e-6


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize('columns', [1, 5])
def test_runs_are_equal_to_the_bit(columns, forced):
    query, key = attention('cuda', queries=197, keys=197)
    share = torch.rand(2, 197, columns, device='cuda')
    first, *others = (
        dispatch.propagate(query, key, share, 0.125, None, share) for _ in range(10)
    )
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize('name', ['propagate', 'weigh_windows'])
def test_cuda_graph_replays(name, forced):
    query, key = attention('cuda')
    weights = torch.rand(8, 2, 49, 49, device='cuda').softmax(-1)
    share = torch.rand(2, 77 if name == 'propagate' else 196, 1, device='cuda')

    def step():
        if name == 'propagate':
            return dispatch.propagate(query, key, share, 0.125, None, share)
        return dispatch.weigh_windows(weights, share, (14, 14), (7, 7), (3, 3), True)

    step()  # compiled and checked before the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()
    share.copy_(torch.rand_like(share))
    graph.replay()
    torch.testing.assert_close(out, step(), rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='fewer than two GPUs')
def test_kernel_runs_where_the_tensors_are(forced):
    assert torch.cuda.current_device() == 0
    assert error_of('width 64', 'cuda:1') < 1e-6


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize('dtype', [HALF, torch.float32])
def test_compiled_is_eager_on_a_gpu(dtype, forced):
    query, key = attention('cuda', dtype)
    share = torch.rand(2, 77, 1, device='cuda')

    def step(query, key, share):
        return dispatch.propagate(query * 1, key, share, 0.125, None, share)

    compiled = torch.compile(step, fullgraph=True)
    expected = step(query, key, share)
    torch.testing.assert_close(compiled(query, key, share), expected, rtol=0, atol=0)


@pytest.mark.gpu
@needs_gpu
def test_other_ways_on_a_gpu_ignore_tf32(monkeypatch):
    monkeypatch.setattr(dispatch, 'asked_way', lambda: 'sdpa')
    monkeypatch.setattr(torch.backends.cuda.matmul, 'allow_tf32', True)
    for name in ('float32, width 64', 'sharp', '1 rows', 'received', 'windows whole'):
        assert error_of(name, 'cuda') < 1e-5
