"""A tracer with whole maps of weights in float64, and the target that it gives."""

import contextlib
from unittest import mock

import torch
from contract_steps import attached, mixed
from torch import Tensor

from mmtlalign.tracing.kernels import attention_hook
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import MixTracer, token_grid, trace_forward
from mmtlalign.tracing.tracer import Tracer

ROWS = ['ViT', 'DeiT, distilled', 'Swin', 'DHVT', 'PVT', 'timm ViT']


class Dense(Tracer):
    """The same rules with whole maps of weights, in float64."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.share = self.share.double()

    def product(self, weights: Tensor) -> Tensor:
        return weights.mean(dim=1) @ self.key_share(*weights.shape[::3])

    def attend_with_values(self, query, key, value, share, scale=None):
        """The network's output as with a share in its values, which is not used."""
        out, _ = attend_with_share(query, key, value, share.float(), scale)
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        logits = query.double() @ key.double().mT * scale
        return out, self.product(logits.softmax(dim=-1))

    def attend(self, query, key, scale, mask=None):
        logits = query.double() @ key.double().mT * scale
        logits = logits if mask is None else logits + mask.double()
        self.move_share(self.product(logits.softmax(dim=-1)))

    def weigh(self, weights):
        weights = weights.flatten(0, -4).double()
        # Rounded rows do not sum to one.
        self.move_share(self.product(weights / weights.mean(1, True).sum(-1, True)))


attend_with_share = attention_hook.attend_with_share


def target(row, dtype, kind=None):
    """What a mixed batch learns (B, K), traced under autocast if there is a type."""
    mix, backbone = mixed(row), attached(row)
    tracer, replaced = MixTracer(backbone, mix), contextlib.nullcontext()
    if kind is not None:
        grid = token_grid(backbone, mix.images.shape[-2:])
        attentions = backbone.trace_context.attentions
        prefix = backbone_spec(backbone).prefix(backbone)
        tracer = kind(tracer.share, grid, prefix, attentions)
        replaced = mock.patch.object(
            attention_hook, 'attend_with_share', tracer.attend_with_values
        )
    half = torch.autocast(
        'cpu', dtype=dtype or torch.bfloat16, enabled=dtype is not None
    )
    with half, replaced, trace_forward(backbone, tracer), torch.no_grad():
        backbone(mix.images)
    (share, *_) = tracer.output_shares(backbone_spec(backbone).output(backbone))
    share = share.squeeze(-1)[:, None].double()
    return (1 - share) * mix.labels + share * mix.labels[mix.partner]
