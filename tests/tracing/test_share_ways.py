"""The choice among the ways that shares move, and what happens where a kernel fails."""

import types
import warnings

import pytest
import torch
from contract_steps import attached, mixed
from share_cases import attention, error_of
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.tracing.kernels import (
    blocks,
    dispatch,
    gpu,
    launch,
    plain,
    value_channels,
)
from mmtlalign.tracing.learnt_weights import move_by_kernel, move_by_layers
from mmtlalign.tracing.propagate import weigh
from mmtlalign.tracing.trace import MixTracer, trace_forward
from mmtlalign.tracing.tracer import Tracer

VIEWS = set(
    'view _unsafe_view reshape permute transpose t expand slice select unsqueeze '
    'squeeze detach alias split split_with_sizes unbind as_strided _reshape_alias '
    'unfold empty new_empty empty_like empty_strided lift_fresh'.split()
)


@pytest.fixture
def kernels(monkeypatch):
    """Kernels that the dispatch calls on a CPU, too: PyTorch's, one launch each."""
    launched = []

    def stand_in(name):
        def run(block, *arguments):
            launched.append(name)
            # Nothing that is counted below.
            with torch.utils._python_dispatch._disable_current_modes():
                return getattr(plain, name)(*arguments)

        return run

    monkeypatch.setattr(dispatch, 'INTERPRETED', True)
    monkeypatch.setattr(value_channels, '_BACKWARD', None)  # as on a GPU
    monkeypatch.setattr(gpu, 'capability_of', lambda device: 90)
    monkeypatch.setattr(gpu, 'CHECKED', {})
    for name in ('propagate', 'weigh_windows', 'class_rows', 'received'):
        monkeypatch.setattr(launch, name, stand_in(name))
    gpu.report.cache_clear()
    gpu._kind.cache_clear()
    yield launched
    gpu.report.cache_clear()
    gpu._kind.cache_clear()


def move():
    """A call whose formula is at hand: its error."""
    return error_of('width 64', 'cpu')


# --- the switch -------------------------------------------------------------------


@pytest.fixture
def switch(monkeypatch):
    dispatch.asked_way.cache_clear()
    yield lambda value: monkeypatch.setenv(dispatch.SWITCH, value)
    dispatch.asked_way.cache_clear()


def test_unknown_way_is_an_error(switch):
    switch('cuda')
    for use in (move, lambda: Tracer(torch.rand(1, 4, 1), (2, 2), 0, 1)):
        with pytest.raises(InputError, match='SHARE_KERNEL=cuda: choose one of'):
            use()


def test_kernel_that_is_asked_for_and_cannot_be_is_an_error(kernels, switch):
    switch('triton')
    query = torch.randn(2, 2, 7, 136)
    with pytest.raises(
        UnsupportedError, match='The Triton kernel cannot be used: .*136 channels'
    ):
        dispatch.propagate(query, query, torch.rand(2, 7, 1), 0.1)


@pytest.mark.parametrize('way', ['auto', 'triton', 'sdpa', ''])
def test_a_cpu_never_loads_triton(switch, monkeypatch, way):
    switch(way)
    monkeypatch.setattr(launch, 'load_kernels', lambda: pytest.fail('loaded'))
    assert move() < 1e-6


# --- where a kernel fails -----------------------------------------------------------


def test_kernel_is_used_and_checked_once(kernels):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert move() < 1e-6 and move() < 1e-6
    assert kernels == ['propagate'] * 3


def out_of_resources(*arguments):
    raise RuntimeError('out of resource: shared memory')


def no_compiler(*arguments):
    raise RuntimeError('Failed to find C compiler. Please specify via CC')


def wrong(*arguments):
    return 1.01 * plain.propagate(*arguments[1:])


def not_a_number(*arguments):
    return torch.nan * plain.propagate(*arguments[1:])


@pytest.mark.parametrize(
    ('kernel', 'problem'),
    [
        (out_of_resources, 'RuntimeError: out of resource'),
        (no_compiler, 'Failed to find C compiler'),
        (wrong, 'off by .* from the formula'),
        (not_a_number, 'off by inf'),
    ],
)
def test_bad_kernel_warns_once_and_is_replaced(kernels, monkeypatch, kernel, problem):
    monkeypatch.setattr(launch, 'propagate', kernel)
    with pytest.warns(RuntimeWarning, match=problem) as caught:
        assert move() < 1e-6
        assert move() < 1e-6
    assert len(caught) == 1
    assert 'bfloat16, width 64' in str(caught[0].message)


def test_kernel_that_fails_later_is_closed(kernels, monkeypatch):
    assert move() < 1e-6
    monkeypatch.setattr(launch, 'propagate', out_of_resources)
    with pytest.warns(RuntimeWarning, match='out of resource'):
        assert move() < 1e-6
    monkeypatch.setattr(launch, 'propagate', lambda *_: pytest.fail('closed'))
    assert move() < 1e-6


def test_memory_that_is_full_is_no_fault_of_a_kernel(kernels, monkeypatch):
    def full(*arguments):
        raise torch.cuda.OutOfMemoryError('full')

    assert move() < 1e-6
    monkeypatch.setattr(launch, 'propagate', full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        move()


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        (dict(width=136), 'heads have 136 channels, more than 128'),
        (dict(columns=33), 'the share has 33 columns, more than 32'),
        (dict(scale=-1.0), 'the scale is -1.0'),
    ],
)
def test_call_that_does_not_fit_warns_once(kernels, options, problem):
    options = dict(dtype=torch.bfloat16, width=64, columns=1, scale=0.1) | options
    query, key = attention('cpu', options['dtype'], options['width'])
    share = torch.rand(2, 77, options['columns'])
    with pytest.warns(RuntimeWarning, match=problem) as caught:
        for _ in range(2):
            found = dispatch.propagate(query, key, share, options['scale'])
    expected = plain.propagate(query, key, share, options['scale'])
    assert len(caught) == 1 and torch.equal(found, expected)
    assert not kernels


def test_shapes_that_do_not_fit_reach_no_kernel(kernels):
    query, key = attention('cpu')
    share, weights = torch.rand(2, 77, 1), torch.rand(8, 2, 49, 49)
    for kind in (
        gpu.kind_of('propagate', query, key, share[:, 1:], 0.1),
        gpu.kind_of('propagate', query, key, share, 0.1, None, share[:, 1:]),
        gpu.kind_of('propagate', query, key, share.double(), 0.1),
        gpu.kind_of('propagate', query[..., 1:], key, share, 0.1),
        gpu.kind_of('class_rows', query, key, 78, 0.1),
        gpu.kind_of('received', query, key, torch.rand(2, 76), 0.1),
        gpu.window_kind(weights, torch.rand(2, 256, 1), (16, 16), (8, 8), (0, 0), True),
        gpu.window_kind(weights, torch.rand(2, 196, 1), (14, 15), (7, 7), (0, 0), True),
    ):
        assert 'do not match' in kind


def test_missing_triton_warns_once_for_all_functions(kernels, monkeypatch):
    def unfit(device):
        raise launch.UnfitError('Triton cannot be imported')

    monkeypatch.setattr(gpu, 'capability_of', unfit)
    with pytest.warns(RuntimeWarning, match='Triton cannot be imported') as caught:
        for name in ('width 64', '1 rows', 'received', 'windows whole'):
            assert error_of(name, 'cpu') < 1e-6
    assert len(caught) == 1 and not kernels


def test_the_check_has_whole_tiles_and_the_tail_of_the_call(kernels, monkeypatch):
    calls, lengths = [], (64, 65, 128, 577, 4097)

    def run(block, query, key, *arguments):
        calls.append((block, query.shape[2], key.shape[2]))
        return plain.propagate(query, key, *arguments)

    monkeypatch.setattr(launch, 'propagate', run)
    for tokens in lengths:
        query, key = attention('cpu', queries=tokens, keys=tokens)
        dispatch.propagate(query, key, torch.rand(2, tokens, 1), 0.125)
    real = [call for call in calls if call[1] in lengths]
    checks = [call for call in calls if call not in real]
    assert len(real) == 5 and len(checks) == 4  # 64 and 128 tokens are of a kind
    for block, queries, keys in checks:
        assert queries > 2 * block.rows and keys >= 2 * block.columns
    tails = [
        {(block, launch.tail(keys, block)) for block, _, keys in some}
        for some in (checks, real)
    ]
    assert tails[0] == tails[1]


def test_description_says_what_runs(kernels, monkeypatch):
    device = torch.device('cpu')
    assert gpu.describe_way(device) == 'extra value channels in float32, else sdpa'
    monkeypatch.setattr(gpu, 'asked_way', lambda: 'sdpa')
    assert gpu.describe_way(device) == 'sdpa, by MMTLALIGN_SHARE_KERNEL'


def test_old_gpu_and_missing_triton_are_named(monkeypatch):
    device = torch.device('cuda', 0)
    monkeypatch.setattr(torch.version, 'hip', None)
    monkeypatch.setattr(gpu, 'load_kernels', lambda: None)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda _: 'Tesla T4')
    with pytest.raises(launch.UnfitError, match='Tesla T4 has compute capability 7.5'):
        gpu.capability_of.__wrapped__(device)
    monkeypatch.setattr(torch.version, 'hip', '6.3')
    with pytest.raises(launch.UnfitError, match='NVIDIA GPUs only'):
        gpu.capability_of.__wrapped__(device)


def test_missing_and_old_triton_are_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'triton'")

    old = types.SimpleNamespace(triton=types.SimpleNamespace(__version__='2.1.0'))
    for load, problem in (
        (missing, "No module named 'triton'"),
        (lambda _: old, '2.1'),
    ):
        monkeypatch.setattr(launch.importlib, 'import_module', load)
        with pytest.raises(launch.UnfitError, match=problem):
            launch.load_kernels.__wrapped__()


def test_tensors_without_memory_take_no_kernel(kernels):
    with FakeTensorMode():
        query = torch.empty(2, 2, 77, 64)
        out = dispatch.propagate(query, query, torch.empty(2, 77, 1), 0.1)
    assert out.shape == (2, 77, 1) and not kernels


def test_unknown_kind_waits_while_a_graph_is_captured(kernels, monkeypatch):
    monkeypatch.setattr(gpu, 'is_capturing', lambda tensor: True)
    with pytest.warns(RuntimeWarning, match='first time while a CUDA graph'):
        assert move() < 1e-6
    assert not kernels and not gpu.CHECKED


# --- one launch a layer -------------------------------------------------------------


class Operations(TorchDispatchMode):
    """Names and types of all operations that are no view."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in VIEWS:
            dtype = str(out.dtype)[6:] if isinstance(out, torch.Tensor) else ''
            self.names.append(f'{name} {dtype}'.strip())
        return out


@pytest.mark.parametrize('row', ['ViT', 'Swin'])
def test_a_layer_is_one_launch(kernels, row):
    mix, ours = mixed(row), attached(row)
    counts = []
    for traced in (False, True):
        tracer = MixTracer(ours, mix)
        if traced:
            # Kinds are checked, and places of windows made, in a pass before.
            with half(), trace_forward(ours, MixTracer(ours, mix)):
                ours(mix.images)
            kernels.clear()
            with half(), trace_forward(ours, tracer), Operations() as found:
                ours(mix.images)
        else:
            with half(), Operations() as found:
                ours(mix.images)
        counts.append(len(found.names))
    layers = len(tracer.history)
    merged = len(set(tracer.grids)) - 1
    assert len(kernels) == layers
    # Merging tokens between stages is an operation of its own.
    assert counts[1] - counts[0] <= 2 * merged


def half():
    return torch.autocast('cpu', torch.bfloat16)


# --- TF32 ---------------------------------------------------------------------------

PRODUCTS = ('bmm', 'mm', 'addmm', 'baddbmm', 'matmul')


def products(call):
    """Products of matrices in float32 that a call makes on a GPU."""
    with FakeTensorMode(), Operations() as found:
        call()
    assert found.names
    return [n for n in found.names if n in [f'{p} float32' for p in PRODUCTS]]


needs_fake_gpu = pytest.mark.skipif(
    not dispatch.ONE_GRAPH, reason='fake tensors on a GPU need a driver before 2.5'
)


@needs_fake_gpu
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('columns', [1, 3])
def test_no_product_of_shares_rounds_to_tf32(monkeypatch, dtype, columns):
    monkeypatch.setattr(dispatch, 'asked_way', lambda: 'sdpa')

    def attend(masked=False):
        query, key = (
            torch.empty(2, 2, 77, 64, dtype=dtype, device='cuda') for _ in '12'
        )
        share = torch.empty(2, 77, columns, device='cuda')
        rows = torch.empty(2, 77, device='cuda')
        mask = torch.empty(77, 77, device='cuda') if masked else None
        dispatch.propagate(query, key, share, 0.1, mask, share)
        dispatch.class_rows(query, key, 2, 0.1, mask)
        dispatch.received(query, key, rows, 0.1, mask)

    def windows():
        weights = torch.empty(8, 2, 49, 49, dtype=dtype, device='cuda')
        share = torch.empty(2, 196, columns, device='cuda')
        dispatch.weigh_windows(weights, share, (14, 14), (7, 7), (3, 3), True)
        weigh(weights, torch.empty(8, 49, columns, device='cuda'))

    # Without a GPU PyTorch would take its form of single operations, which rounds.
    assert not products(attend)
    assert not products(lambda: attend(masked=True))
    assert not products(windows)


@needs_fake_gpu
def test_no_product_of_learnt_weights_rounds_to_tf32():
    def move_both():
        share, first, last, kernels = (
            torch.empty(shape, device='cuda')
            for shape in ((2, 49, 1), (20, 49), (49, 20), (8, 1, 3, 3))
        )
        move_by_layers(share, last, first)
        move_by_kernel(share, (7, 7), kernels, (1, 1, 1, 1))

    assert not products(move_both)


def test_a_cpu_rounds_no_share_to_bfloat16(monkeypatch):
    weights, share = torch.rand(4, 2, 49, 49).softmax(-1), torch.rand(4, 49, 1)
    before = weigh(weights, share)
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision('medium')
        assert torch.equal(weigh(weights, share), before)
    finally:
        torch.set_float32_matmul_precision(precision)


def test_form_in_double_is_the_formula(monkeypatch):
    monkeypatch.setattr(plain, 'is_unfused', lambda *_: True)
    monkeypatch.setattr(plain, 'MOST_ROWS', 32)
    for name in ('5 columns', 'added (2, 77, 77)', 'kept (2, 1, 1, 77)', 'received'):
        assert error_of(name, 'cpu') < 1e-6
    assert error_of('received, masked', 'cpu') < 1e-6


# --- the table ----------------------------------------------------------------------


def test_table_answers_newer_and_unknown_gpus():
    case = blocks.Case('propagate', 16)
    assert blocks.find_block(case, 89) == blocks.find_block(case, 80)
    assert blocks.find_block(case, 120) == blocks.find_block(case, 100)
    assert blocks.find_block(case, 90) != blocks.find_block(case, 80)


def test_small_batches_take_smaller_tiles():
    block = blocks.Block(64, 64, 4, 2)
    assert blocks.fewer_rows(block, 128, 197, 132) == block
    assert blocks.fewer_rows(block, 6, 4097, 132) == block
    assert blocks.fewer_rows(block, 1, 1025, 132).rows == 32
