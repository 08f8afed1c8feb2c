"""A training step with token labels: compiled, in half precision, accumulated."""

import copy
import re

import numpy as np
import pytest
import torch
from label_samples import label_samples
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from repository import ROOT
from token_label_nets import GRID, B, K, build

HEADS = {
    'Token Labeling': dict(type='mmtlalign.TokenLabelClsHead'),
    'traced share': dict(traced='share'),
    'traced labels': dict(traced='labels'),
}
every_head = pytest.mark.parametrize('head', HEADS)


def step(model, images, samples, seed=4):
    """Losses of a step whose box is neither empty nor all."""
    np.random.seed(seed)
    return model(images, samples, mode='loss')


def gradients(model, losses):
    return torch.autograd.grad(sum(losses.values()), list(model.parameters()))


@pytest.mark.parametrize('head', ['Token Labeling', 'traced labels'])
@pytest.mark.slow  # compiles a network
def test_compiled_step_is_the_eager_one(head):
    """As mmengine does it, the forward of the whole model; boxes change."""
    torch._dynamo.reset()
    model, images = build('LVViT', **HEADS[head])
    samples, _, _ = label_samples(B, K, GRID, topk=3)
    compiled = copy.deepcopy(model)
    compiled.forward = torch.compile(compiled.forward, backend='aot_eager')
    for seed in (4, 5):
        eager = step(model, images, samples, seed)
        losses = step(compiled, images, samples, seed)
        torch.testing.assert_close(losses, eager, rtol=1e-5, atol=1e-6)
        for ours, theirs in zip(gradients(compiled, losses), gradients(model, eager)):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@every_head
@pytest.mark.parametrize('name', ['LVViT', 'DHVT'])
def test_half_precision_is_near(head, name):
    model, images = build(name, **HEADS[head])
    samples, _, _ = label_samples(B, K, GRID, topk=3)
    exact = step(model, images, samples)
    with torch.autocast('cpu', torch.bfloat16):
        losses = step(model, images, samples)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    torch.testing.assert_close(losses, exact, rtol=0.02, atol=0.02)
    assert all(gradient.isfinite().all() for gradient in gradients(model, losses))


@every_head
def test_accumulated_steps_are_the_mean(head):
    model, _ = build('LVViT', **HEADS[head])
    whole = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = OptimWrapper(optimizer, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 2)
    total = 0
    for seed in (4, 5):
        batch = dict(
            inputs=torch.randn(B, 3, 32, 48),
            data_samples=label_samples(B, K, GRID, topk=3, scores=False)[0],
        )
        same = whole.data_preprocessor(copy.deepcopy(batch), training=True)
        total = total + sum(step(whole, *same.values(), seed).values()) / 2
        np.random.seed(seed)
        model.train_step(batch, wrapper)
    for ours, theirs, gradient in zip(
        model.parameters(), whole.parameters(), gradients(whole, dict(loss=total))
    ):
        torch.testing.assert_close(ours, theirs - 0.1 * gradient)


PAGE = ROOT / 'docs/token_labeling.md'


def test_the_page_builds():
    """The classifier as it stands there, and the head that takes its head's place."""
    first, second = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
    names = {}
    exec(first, names)
    exec(second, names)
    init_default_scope('mmpretrain')
    for head in (names['model']['head'], names['head']):
        model = MODELS.build(dict(names['model'], head=head))
        assert f'mmtlalign.{type(model.head).__name__}' == head['type']
        assert model.head.loss_module.dense_weight == 1
