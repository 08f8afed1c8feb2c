"""A tracer with whole maps of weights in float64, and the target that it gives."""

import torch
from contract_steps import attached, mixed
from torch import Tensor

from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import MixTracer, token_grid, trace_forward
from mmtlalign.tracing.tracer import Tracer

ROWS = ['ViT', 'DeiT, distilled', 'Swin', 'DHVT', 'PVT', 'timm ViT']


class Dense(Tracer):
    """The same rules with whole maps of weights, in float64."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.share = self.share.double()

    def key_share(self, batch, keys):
        return None  # so that queries and keys are handed over

    def product(self, weights: Tensor) -> Tensor:
        return weights.mean(dim=1) @ Tracer.key_share(self, *weights.shape[::3])

    def attend(self, query, key, scale, mask=None):
        logits = query.double() @ key.double().mT * scale
        logits = logits if mask is None else logits + mask.double()
        self.move_share(self.product(logits.softmax(dim=-1)))

    def weigh(self, weights):
        weights = weights.flatten(0, -4).double()
        # Rounded rows do not sum to one.
        self.move_share(self.product(weights / weights.mean(1, True).sum(-1, True)))


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
