"""mmpretrain's Swin Transformers, v1 and v2.

Token geometry lives inside the stock forward, so three leaf modules become
twins: subclasses with the same parameters, adopted in place, that call the
stock forward and move the shares in the same way. Window attention is unfused
in mmpretrain, and the shares ride on the weights at hand.
"""

from mmcv.cnn.bricks.transformer import PatchMerging as MMCVPatchMerging
from mmpretrain.models.backbones import SwinTransformer, SwinTransformerV2
from mmpretrain.models.utils import PatchMerging, ShiftWindowMSA
from mmpretrain.models.utils.attention import WindowMSA, WindowMSAV2
from torch import nn

from .taps import (
    Family,
    Wire,
    register_attention,
    register_backbone,
    register_helper,
)


def _output(backbone: nn.Module) -> str:
    last = backbone.num_layers - 1
    if backbone.out_indices[-1] != last:
        raise ValueError(
            f'out_indices={tuple(backbone.out_indices)}: labels are traced to the '
            f'last stage, so the last output must be stage {last}; leave '
            'out_indices out.'
        )
    return 'mean'


SWIN = Family(
    patch=lambda backbone: backbone.patch_embed.projection.stride,
    prefix=lambda backbone: 0,
    output=_output,
)
register_backbone(SwinTransformer, SWIN)
register_backbone(SwinTransformerV2, SWIN)


class TracedSoftmax(nn.Softmax):
    """Hands the attention weights to the reader before dropout sees them."""

    def forward(self, logits):
        weights = super().forward(logits)
        reader = self.wire.reader
        if reader is not None:
            reader.weigh(weights)
        return weights


class TracedShiftWindowMSA(ShiftWindowMSA):
    """Cuts the shares into the windows that this forward really uses."""

    def forward(self, query, hw_shape):
        reader = self.wire.reader
        if reader is None:
            return super().forward(query, hw_shape)
        shift = self.shift_size
        if min(hw_shape) == self.window_size and not self.pad_small_map:
            # The stock forward does not shift a map that is a single window.
            shift = 0
        reader.enter_windows(tuple(hw_shape), self.window_size, shift)
        out = super().forward(query, hw_shape)
        reader.leave_windows()
        return out


@register_attention(ShiftWindowMSA)
def _tap_windows(module: ShiftWindowMSA, wire: Wire) -> None:
    if type(module.w_msa) not in (WindowMSA, WindowMSAV2):
        raise TypeError(
            f'ShiftWindowMSA with a {type(module.w_msa).__name__} inside: known are '
            'WindowMSA and WindowMSAV2. See docs/add_a_backbone.md.'
        )
    for part, twin in (
        (module, TracedShiftWindowMSA),
        (module.w_msa.softmax, TracedSoftmax),
    ):
        part.__class__ = twin
        part.wire = wire


class _TracesMerging:
    """Merges the shares as the tokens are merged."""

    def forward(self, x, input_size):
        reader = self.wire.reader
        if reader is not None:
            reader.merge(
                self.sampler.kernel_size, self.sampler.stride, self._pads(input_size)
            )
        return super().forward(x, input_size)

    def _pads(self, size) -> tuple[int, int, int, int]:
        """Left, right, top and bottom padding of a map of this size."""
        if self.adaptive_padding is None:
            high, wide = self.sampler.padding
            return wide, wide, high, high
        high, wide = self.adaptive_padding.get_pad_shape(size)
        if self.adaptive_padding.padding == 'corner':
            return 0, wide, 0, high
        left, top = wide // 2, high // 2
        return left, wide - left, top, high - top


class TracedPatchMerging(_TracesMerging, PatchMerging):
    """Twin of mmpretrain's patch merging (Swin v2)."""


class TracedMMCVPatchMerging(_TracesMerging, MMCVPatchMerging):
    """Twin of mmcv's patch merging (Swin v1)."""


def _adopt_merging(twin: type):
    def install(module: nn.Module, wire: Wire) -> None:
        if tuple(module.sampler.dilation) != (1, 1):
            raise TypeError(
                f'Patch merging with dilation {module.sampler.dilation}: only '
                'dilation 1 has a rule.'
            )
        module.__class__ = twin
        module.wire = wire

    return install


register_helper(MMCVPatchMerging)(_adopt_merging(TracedMMCVPatchMerging))
register_helper(PatchMerging)(_adopt_merging(TracedPatchMerging))
