"""Shares stay exact where the network computes in half precision."""

import pytest
import torch
from contract_steps import attached, mixed
from torch import Tensor

from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import MixTracer, token_grid, trace_forward
from mmtlalign.tracing.tracer import Tracer

ROWS = ['ViT', 'DeiT, distilled', 'Swin', 'DHVT', 'PVT', 'timm ViT']


def computes_in(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has autocast to a type on a CPU."""
    try:
        with torch.autocast('cpu', dtype):
            return True
    except RuntimeError:
        return False


needs_float16 = pytest.mark.skipif(
    not computes_in(torch.float16), reason='PyTorch 2.1 has no float16 on a CPU'
)
HALF = [torch.bfloat16, pytest.param(torch.float16, marks=needs_float16)]


class Dense(Tracer):
    """The same rules with whole maps of weights, in float64."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.share = self.share.double()

    def key_share(self, batch):
        return None  # so that queries and keys are handed over

    def product(self, weights: Tensor) -> Tensor:
        return weights.mean(dim=1) @ Tracer.key_share(self, len(weights))

    def attend(self, query, key, scale, mask=None):
        logits = query.double() @ key.double().mT * scale
        logits = logits if mask is None else logits + mask.double()
        self.move_share(self.product(logits.softmax(dim=-1)))

    def weigh(self, weights):
        weights = weights.flatten(0, -4).double()
        # Rounded rows do not sum to one.
        self.move_share(self.product(weights / weights.mean(1, True).sum(-1, True)))


class Official(Dense):
    """The official code multiplies under autocast: maps and labels are rounded."""

    def product(self, weights):
        return (
            weights.mean(dim=1).half() @ Tracer.key_share(self, len(weights)).half()
        ).double()


def target(row, dtype, kind=None):
    """What a mixed batch learns (B, K), traced under autocast if there is a type."""
    mix, backbone = mixed(row), attached(row)
    tracer = MixTracer(backbone, mix)
    if kind is not None:
        grid = token_grid(backbone, mix.images.shape[-2:])
        attentions = backbone.trace_context.attentions
        prefix = backbone_spec(backbone).prefix(backbone)
        tracer = kind(tracer.share, grid, prefix, attentions)
    half = torch.autocast(
        'cpu', dtype=dtype or torch.bfloat16, enabled=dtype is not None
    )
    with half, trace_forward(backbone, tracer), torch.no_grad():
        backbone(mix.images)
    (share, *_) = tracer.output_shares(backbone_spec(backbone).output(backbone))
    share = share.squeeze(-1)[:, None].double()
    return (1 - share) * mix.labels + share * mix.labels[mix.partner]


@pytest.mark.parametrize('dtype', HALF, ids=str)
@pytest.mark.parametrize('row', ROWS)
def test_target_is_exact_for_the_attention_that_the_network_has(row, dtype):
    ours, dense = target(row, dtype), target(row, dtype, Dense)
    assert (ours - dense).abs().max() < 1e-5
    # Other attention than in float32, and the share follows it.
    assert (ours - target(row, None)).abs().max() > 1e-5


@needs_float16
@pytest.mark.parametrize('row', ROWS)
def test_official_product_is_not(row):
    dense = target(row, torch.float16, Dense)
    ours, official = (
        (target(row, torch.float16, kind) - dense).abs().max()
        for kind in (None, Official)
    )
    assert 10 * ours < official < 5e-3
