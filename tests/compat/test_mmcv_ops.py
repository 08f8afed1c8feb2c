"""The stand-in for mmcv's compiled module: names, arguments, processes, export."""

import ast
import copy
import importlib
import inspect
import io
import pickle
import subprocess
import sys

# First, for a spawned worker too: it lets Python find the operators.
from mmtlalign.compat import mmcv_ops

# isort: split
import mmcv.ops
import pytest
import torch
from mmcv_stand_in import (
    boxes,
    files,
    is_compiled,
    needs_compiled,
    regions,
    stand_in,
    use,
)
from repository import ROOT
from torch.utils.data import DataLoader

from mmtlalign.errors import InputError, UnsupportedError


def loaded():
    """Every name that a file of mmcv.ops asks of the compiled module."""
    names = set()
    for module in files().values():
        for call in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(
                'load_ext'
            ):
                names.update(ast.literal_eval(call.args[1]))
    return sorted(names)


def calls():
    """Operator, number of positional arguments, keywords, of each call in mmcv.ops.

    Calls with stars are left out.
    """
    for module in files().values():
        for call in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(call, ast.Call):
                continue
            owner, _, name = ast.unparse(call.func).rpartition('.')
            if owner == 'ext_module' and name in mmcv_ops.SUPPORTED:
                keywords = {k.arg for k in call.keywords}
                starred = any(isinstance(a, ast.Starred) for a in call.args)
                if not starred and None not in keywords:
                    yield name, len(call.args), keywords


def parameters(name):
    """Names of an operator's parameters, and whether it takes further keywords."""
    found = inspect.signature(getattr(stand_in(), name)).parameters
    kinds = {p.kind for p in found.values()}
    named = [n for n, p in found.items() if p.kind != p.VAR_KEYWORD]
    return named, inspect.Parameter.VAR_KEYWORD in kinds


def test_every_operator_is_ours_or_says_what_to_do():
    names = loaded()
    assert len(names) > 100 and set(mmcv_ops.SUPPORTED) <= set(names)
    module = stand_in()
    for name in names:
        operator = getattr(module, name)
        assert operator.__name__ == name
        if name in mmcv_ops.SUPPORTED:
            assert operator.__module__.startswith('mmtlalign.compat.mmcv_ops.')
            continue
        with pytest.raises(UnsupportedError) as error:
            operator(torch.zeros(1), size=2)
        text = str(error.value)
        assert name in text and __name__ in text
        assert '--compile-mmcv' in text and mmcv_ops.compile_command() in text


def test_a_missing_operator_names_its_caller(ours):
    with pytest.raises(UnsupportedError, match=r'^mmcv\.ops\.nms needs .*nms_rotated'):
        mmcv.ops.nms_rotated(torch.zeros(2, 5), torch.zeros(2), 0.5)
    with pytest.raises(TypeError):  # what the hosts catch
        mmcv.ops.nms_rotated(torch.zeros(2, 5), torch.zeros(2), 0.5)


def test_roi_align_of_the_maximum_says_what_to_do(ours):
    with pytest.raises(UnsupportedError, match="pool_mode='max'.*--compile-mmcv"):
        mmcv.ops.roi_align(torch.zeros(1, 1, 4, 4), regions(2), 2, 1.0, 0, 'max')


def test_the_module_has_no_other_names():
    assert not hasattr(stand_in(), '__file__')
    assert mmcv_ops.find_spec('mmcv._ext2') is None


@pytest.mark.parametrize('name', sorted(mmcv_ops.SUPPORTED))
def test_arguments_are_those_of_the_callers(name):
    named, more = parameters(name)
    found = [call for call in calls() if call[0] == name]
    assert found or name == 'nms_match'  # called with stars
    for _, count, keywords in found:
        positional, rest = set(named[:count]), set(named[count:])
        assert count <= len(named) and not positional & keywords
        assert keywords <= rest or more
        # All others have defaults.
        signature = inspect.signature(getattr(stand_in(), name)).parameters
        left = rest - keywords
        assert all(signature[n].default is not inspect.Parameter.empty for n in left)


@needs_compiled
@pytest.mark.parametrize('name', sorted(mmcv_ops.SUPPORTED))
def test_arguments_are_those_of_the_compiled_module(name):
    import mmcv._ext

    text = getattr(mmcv._ext, name).__doc__.split('->')[0]
    tree = ast.parse(f'def {text.strip()}: ...')
    arguments = tree.body[0].args.args
    kinds = [ast.unparse(argument.annotation) for argument in arguments]
    tensors = kinds.count('torch.Tensor')  # first, by position, under names of our own
    assert set(kinds[:tensors]) <= {'torch.Tensor'}
    right = [argument.arg for argument in arguments[tensors:]]
    named, more = parameters(name)
    assert set(named[tensors:]) <= set(right)
    assert more or named[tensors:] == right


def test_the_compiled_module_comes_first():
    module = importlib.import_module('mmcv._ext')
    is_file = getattr(module, '__file__', None) is not None
    assert is_file == is_compiled()


def test_the_environment_report_says_so(ours):
    assert 'not compiled' in mmcv.ops.get_compiler_version()
    assert 'not compiled' in mmcv.ops.get_compiling_cuda_version()


def modules():
    """Modules of mmcv with their inputs."""
    x, rois = torch.randn(2, 4, 9, 9), regions(5, size=30)
    return {
        'align': (mmcv.ops.RoIAlign((2, 3), 0.25), (x, rois)),
        'pool': (mmcv.ops.RoIPool((2, 3), 0.25), (x, rois)),
        'deform': (mmcv.ops.DeformConv2dPack(4, 4, 3, padding=1), (x,)),
        'modulated': (mmcv.ops.ModulatedDeformConv2dPack(4, 4, 3, padding=1), (x,)),
    }


KINDS = pytest.mark.parametrize('kind', ['align', 'pool', 'deform', 'modulated'])


@KINDS
def test_modules_are_copied_and_pickled(ours, kind):
    module, inputs = modules()[kind]
    right = module(*inputs)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(*inputs), right)


class SoftNMS(torch.nn.Module):
    def forward(self, b, s):
        return mmcv.ops.soft_nms(b, s, 0.3, 0.5, 1e-3, 'linear')


def exported(module, inputs):
    """Types of the nodes of the ONNX graph."""
    onnx = pytest.importorskip('onnx')
    file = io.BytesIO()
    options = dict(opset_version=11, custom_opsets={'mmcv': 1})
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        options.update(dynamo=False)
    torch.onnx.export(module, inputs, file, **options)
    graph = onnx.load_from_string(file.getvalue()).graph
    return [node.op_type for node in graph.node]


# What a compiled mmcv exports.
NODES = dict(
    align='RoiAlign',
    pool='MaxRoiPool',
    deform='MMCVDeformConv2d',
    modulated='MMCVModulatedDeformConv2d',
    soft='SoftNonMaxSuppression',
)


@pytest.mark.parametrize('kind', NODES)
def test_export(kind, monkeypatch):
    cases = dict(modules(), soft=(SoftNMS(), boxes(20)))
    use(stand_in(), monkeypatch)
    found = exported(*cases[kind])
    assert NODES[kind] in found
    if is_compiled():
        use(sys.modules['mmcv._ext'], monkeypatch)
        if kind != 'pool':  # compiled, it needs a GPU
            assert exported(*cases[kind]) == found


@pytest.mark.slow
def test_torch_compile(ours):
    """Results and gradients; those of operators that were compiled would be 0."""
    features = torch.randn(2, 4, 6, 7, requires_grad=True)
    offset = torch.randn(2, 18, 6, 7, requires_grad=True)
    weight = torch.randn(4, 4, 3, 3, requires_grad=True)
    scores = torch.randn(9, 4, requires_grad=True)
    classes = torch.randint(0, 5, (9,))
    rois = torch.tensor([[0, 0.0, 0, 5, 5], [1, 1, 1, 6, 4]])
    focal = mmcv.ops.sigmoid_focal_loss
    cases = [
        (
            lambda: mmcv.ops.roi_align(features, rois, 3, 1.0, 0, 'avg', True),
            [features],
        ),
        (
            lambda: mmcv.ops.deform_conv2d(features, offset, weight, 1, 1, 1, 1, 1),
            [features, offset, weight],
        ),
        (lambda: focal(scores, classes, 2.0, 0.25, None, 'none'), [scores]),
    ]
    for call, leaves in cases:
        torch._dynamo.reset()
        right, found = call(), torch.compile(call, backend='eager')()
        torch.testing.assert_close(found, right)
        wanted, grads = (
            torch.autograd.grad(out.square().sum(), leaves) for out in (right, found)
        )
        assert all(grad.abs().max() > 0 for grad in wanted)
        torch.testing.assert_close(grads, wanted)


def test_boxes_in_bfloat16_are_told(ours):
    rois = torch.tensor([[0, 0.0, 0, 5, 5]]).bfloat16()
    with pytest.warns(RuntimeWarning, match='bfloat16, which rounds'):
        mmcv.ops.roi_align(torch.randn(1, 4, 6, 7).bfloat16(), rois, 3)


def test_nms_of_half_boxes_that_batched_nms_moved_apart(ours):
    near = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [900, 900, 1333, 1333]])
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([79, 79, 0])
    options = dict(type='nms', iou_threshold=0.5)
    assert len(mmcv.ops.batched_nms(near, scores, classes, options)[1]) == 2
    with pytest.raises(InputError, match='NMS of boxes in torch.float16.*float'):
        mmcv.ops.batched_nms(near.half(), scores.half(), classes, options)


def test_operators_run_where_only_deterministic_ones_may(ours, monkeypatch):
    allowed = []
    backward = torch.ops.torchvision._roi_align_backward

    def alone(*given):
        allowed.append(torch.is_deterministic_algorithms_warn_only_enabled())
        return backward(*given)

    monkeypatch.setattr(torch.ops.torchvision, '_roi_align_backward', alone)
    module, (x, rois) = modules()['align']
    torch.use_deterministic_algorithms(True)
    try:
        module(x.requires_grad_(), rois).sum().backward()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert allowed == [True]


class Kept(torch.utils.data.Dataset):
    """What NMS keeps, found in a worker."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        torch.manual_seed(index)
        return len(mmcv.ops.nms(*boxes(30), 0.4)[1])


@pytest.mark.parametrize('start', ['fork', 'spawn'])
def test_in_a_worker(ours, start):
    loader = DataLoader(Kept(), num_workers=1, multiprocessing_context=start)
    assert torch.cat(list(loader)).tolist() == [Kept()[i] for i in range(4)]


@pytest.mark.slow
def test_in_a_new_process():
    """Importing the package is enough, before mmcv or after."""
    code = (
        'import mmtlalign, mmcv.ops, torch; '
        'b = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8]]); '
        'print(mmcv.ops.nms(b, torch.tensor([0.9, 0.8]), 0.5)[1].tolist())'
    )
    found = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ['[0]']
