"""TransMix's labels of a forward pass, in plain PyTorch."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.attach import attached, bare_model
from mmtlalign.tracing.attention_readers import (
    AttentionShareReader,
    attention_reader,
    check_layer,
    transmix_share,
)
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import check_traced, trace_forward


@dataclass
class AttentionTrace:
    """TransMix's labels of one forward pass (CVPR 2022, §3).

    Attributes:
        reader: The reader of the attention.
        mix: The mixed batch.
        ratio: Weight of the area.
        outputs: Number of outputs of the network that are scored.
    """

    reader: AttentionShareReader
    mix: Mix
    ratio: float
    outputs: int

    def partner_shares(self) -> tuple[Tensor, ...]:
        """Return the partner's share (B,) for each output, after the forward pass.

        Raises:
            TraceError: The forward pass has not run, or had other images.
        """
        check_traced(self.reader)
        area = self.mix.area()
        shares = self.reader.output_shares()[: self.outputs]
        return tuple(transmix_share(share, area, self.ratio) for share in shares)

    def targets(self) -> tuple[Tensor, ...]:
        """Return the labels (B, K) of each output: two of a distilled network."""
        return tuple(self.mix.target(share) for share in self.partner_shares())

    def target(self) -> Tensor:
        """Return the labels (B, K); of a distilled network the mean of both."""
        return torch.stack(self.targets()).mean(dim=0)


@contextlib.contextmanager
def trace_attention(
    backbone: nn.Module,
    mix: Mix,
    ratio: float = 0.5,
    layer: int = -1,
) -> Iterator[AttentionTrace]:
    """Read TransMix's labels (CVPR 2022) from the last attention of a forward pass.

    ::

        with mmtlalign.trace_attention(backbone, mix) as trace:
            logits = backbone(mix.images)
        target = trace.target()

    Networks without class token use the attention that each token receives, an
    extension of ours.

    Args:
        backbone: The network, as in :func:`mmtlalign.trace`.
        mix: The mixed batch, whose ``images`` are passed to the backbone.
        ratio: Weight of the area; that of the attention is ``1 - ratio``. Defaults to
            0.5.
        layer: Index of the attention; negative ones count from the end. Other layers
            than the last are our extension. Defaults to -1.

    Yields:
        AttentionTrace: Its methods are called after the forward pass.

    Raises:
        UnsupportedError: The backbone cannot be traced.
        InputError: The ratio is not in 0...1, the layer cannot be read, or no share can
            be read from the output.
        TraceError: There was not exactly one forward pass, or it had another batch.
    """
    if not 0 <= ratio <= 1:
        raise InputError(f'ratio={ratio!r}: give a number from 0 to 1.')
    backbone = bare_model(backbone)
    with attached(backbone):
        spec = backbone_spec(backbone)
        attention = 'cls' if spec.output(backbone) == 'class' else 'received'
        check_layer(backbone, layer)
        reader = attention_reader(backbone, mix, attention, layer)
        with mix.apply_in_backbone(backbone), trace_forward(backbone, reader):
            yield AttentionTrace(reader, mix, ratio, spec.count_outputs(backbone))
