"""MMSyncBN without a compiled mmcv: in one process it is plain batch normalisation."""

import importlib.util

import pytest
import torch

from mmtlalign.compat import mmcv_ops

sync_bn = pytest.importorskip('mmcv.ops.sync_bn')


@pytest.fixture(autouse=True)
def our_operators(monkeypatch):
    module = importlib.util.module_from_spec(mmcv_ops.find_spec(mmcv_ops.MODULE))
    module.__spec__.loader.exec_module(module)
    monkeypatch.setattr(sync_bn, 'ext_module', module)


def normalise(images, parameters, stats, group_size=1):
    return sync_bn.SyncBatchNormFunction.apply(
        images, *stats, *parameters, 0.1, 1e-5, 0, group_size, 'default'
    )


@pytest.mark.parametrize('size', [(3, 4, 5, 6), (2, 4, 1, 1)])
def test_one_process_is_batch_norm(size):
    torch.manual_seed(0)
    images = torch.randn(size, requires_grad=True)
    parameters = [torch.randn(4, requires_grad=True) for _ in range(2)]
    stats = [torch.randn(4), torch.rand(4)]
    expected_stats = [x.clone() for x in stats]
    output = normalise(images, parameters, stats)
    expected = torch.nn.functional.batch_norm(
        images, *expected_stats, *parameters, training=True
    )
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(stats, expected_stats)
    weights = torch.randn_like(output)
    inputs = [images, *parameters]
    torch.testing.assert_close(
        torch.autograd.grad((output * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        atol=1e-5,
        rtol=1e-4,
    )


def test_half_precision_has_float32_statistics():
    torch.manual_seed(0)
    images = torch.randn(4, 4, 8, 8).half() * 100
    parameters, stats = [torch.ones(4), torch.zeros(4)], [torch.zeros(4), torch.ones(4)]
    output = normalise(images, parameters, stats)
    assert output.dtype == torch.half
    expected = torch.nn.functional.batch_norm(images.float(), None, None, training=True)
    torch.testing.assert_close(output.float(), expected, atol=2e-3, rtol=2e-3)


def test_an_empty_batch_leaves_the_statistics():
    stats = [torch.rand(4), torch.rand(4)]
    before = [x.clone() for x in stats]
    images = torch.zeros(0, 4, 2, 2)
    output = normalise(images, [torch.ones(4), torch.zeros(4)], stats)
    assert output.shape == images.shape
    torch.testing.assert_close(stats, before)
