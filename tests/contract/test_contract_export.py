"""Rows of the tracing contract: what leaves training has no trace in it."""

import copy
import io

import onnx
import onnx.reference
import pytest
import torch
from contract_rows import ROWS
from contract_steps import (
    attached,
    every_row,
    flat,
    mixed,
    plain,
    random_loss,
    run,
    stock,
)
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from torch.optim.swa_utils import AveragedModel

from mmtlalign.methods.classifier import MixClassifier
from mmtlalign.tracing.trace import MixTracer, trace_forward


def train(backbone, mix):
    """One step, traced where the backbone is attached."""
    out = run(backbone, mix)[0]
    random_loss(out).backward()
    torch.optim.SGD(backbone.parameters(), lr=0.01).step()
    backbone.zero_grad()
    backbone.eval()


@torch.no_grad()
def untraced(row, ours, images):
    """The stock backbone with the weights of one of ours, for evaluation."""
    theirs = copy.deepcopy(stock(row))
    # Some grow their tables of positions when they meet a larger size.
    theirs(images)
    for mine, its in zip(ours.state_dict().items(), theirs.state_dict().items()):
        assert mine[0] == its[0]
        its[1].copy_(mine[1])
    theirs.eval()
    return theirs


@torch.no_grad()
def export(backbone, images):
    """The model as a file of ONNX, by the exporter that both stacks have."""
    file = io.BytesIO()
    torch.onnx.export(backbone, images, file, opset_version=17, **_TORCHSCRIPT)
    return file.getvalue()


# torch 2.5 and newer have two exporters; older ones only this.
_TORCHSCRIPT = dict(dynamo=False) if torch.__version__ >= '2.5' else {}


@every_row
@pytest.mark.filterwarnings('ignore')
def test_onnx_of_a_trained_model_is_the_stock_one(row):
    if ROWS[row].same_graph:
        pytest.skip('the same graph as another row')
    mix, ours = mixed(row, batch=2), attached(row)
    train(ours, mix)
    theirs = untraced(row, ours, mix.images)
    try:
        expected = export(theirs, mix.images)
    except (torch.onnx.errors.OnnxExporterError, TypeError) as error:
        # A TypeError is PyTorch 2.1's, for fused attention with a scale.
        if isinstance(error, TypeError) and torch.__version__ >= '2.2':
            raise
        pytest.skip(f'the stock model does not export: {str(error)[:80]}')
    assert graph(export(ours, mix.images)) == graph(expected)


def graph(file):
    """Operators with their attributes, weights and wiring; values by number."""
    model = _read(file).graph
    numbers = {}

    def number(name):
        return numbers.setdefault(name, len(numbers))

    weights = [
        (number(w.name), list(w.dims), w.data_type, w.raw_data)
        for w in model.initializer
    ]
    nodes = [
        (
            n.op_type,
            [a.SerializeToString() for a in n.attribute],
            [number(name) for name in n.input],
            [number(name) for name in n.output],
        )
        for n in model.node
    ]
    return nodes, weights


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('row', ['ViT', 'Swin'])
def test_onnx_computes_what_the_model_does(row):
    mix, ours = mixed(row, batch=2), attached(row)
    train(ours, mix)
    session = onnx.reference.ReferenceEvaluator(_read(export(ours, mix.images)))
    (name,) = session.input_names
    found = session.run(None, {name: mix.images.numpy()})[-1]
    expected = flat(ours(mix.images)).detach()
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


def _read(file):
    return onnx.load_model_from_string(file)


class Pool(torch.nn.Module):
    """The last output as vectors, whatever the backbone puts it into."""

    def forward(self, outs):
        last = outs[-1]
        if isinstance(last, tuple) or last.ndim < 3:
            return (last,)
        return (last[:, 0] if last.ndim == 3 else last.mean((2, 3)),)


def classifier(row, images):
    """The row's backbone in a classifier that trains on traced labels."""
    backbone = copy.deepcopy(stock(row))
    # Some grow their tables of positions when they meet a larger size.
    (sample,) = Pool()(backbone(images))
    two = isinstance(sample, tuple)
    head = 'TLAlignDeiTClsHead' if two else 'TLAlignLinearClsHead'
    channels = sample[0].shape[1] if two else sample.shape[1]
    return MixClassifier(
        backbone,
        dict(type=f'mmtlalign.{head}', num_classes=3, in_channels=channels),
        dict(augments=[dict(type='mmtlalign.CutMix')]),
        neck=Pool(),
    )


@every_row
@pytest.mark.parametrize('kind', [ExponentialMovingAverage, AveragedModel])
def test_averaged_copies_are_independent_and_need_no_labels(row, kind):
    init_default_scope('mmpretrain')
    images = mixed(row).images
    model = classifier(row, images)
    average = kind(model)
    copied = average.module
    assert list(copied.state_dict()) == list(model.state_dict())
    assert copied.backbone.trace_context is not model.backbone.trace_context

    model.train()
    samples = [DataSample().set_gt_score(score) for score in torch.eye(3)]
    model.loss(images, samples)['loss'].backward()
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    average.update_parameters(model)
    with trace_forward(model.backbone, MixTracer(model.backbone, mixed(row))) as tracer:
        copied.backbone(images)
        assert tracer.seen == 0
        model.backbone(images)

    copied.eval()
    with torch.no_grad():
        theirs = untraced(row, copied.backbone, images)
        found = flat(copied.extract_feat(images, stage='backbone'))
        expected = plain(theirs, images)
    # Features reach 20 here, and products are summed in an order that depends on where
    # the weights lie: up to 1.6e-6 of the largest were seen, both sides as far from
    # float64. Attention of mmdet goes through another kernel than the stock model's.
    scale, tolerance = expected.abs().max(), 1e-5 if 'of mmdet' in row else 5e-6
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=tolerance)
    assert all(s.pred_label.numel() == 1 for s in copied(images, mode='predict'))
