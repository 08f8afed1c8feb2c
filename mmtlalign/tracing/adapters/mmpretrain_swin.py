"""mmpretrain's Swin Transformers, v1 and v2.

Token geometry lives inside the stock forward, so three modules become twins:
subclasses with the same parameters, adopted in place, that call the stock
forward and tell the reader what it does to the tokens.
"""

from mmcv.cnn.bricks.transformer import PatchMerging as MMCVPatchMerging
from mmpretrain.models.backbones import SwinTransformer, SwinTransformerV2
from mmpretrain.models.utils import PatchMerging, ShiftWindowMSA
from mmpretrain.models.utils.attention import WindowMSA, WindowMSAV2
from torch import nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.fast.modules import (
    FastPatchMerging,
    FastShiftWindowMSA,
    FastWindowMSA,
    adopt_fast,
)
from mmtlalign.fast.windows import WindowMasks, WindowOrder
from mmtlalign.tracing.attach import Listening, TraceContext, adopt
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
    register_token_module,
)


def _output(backbone: nn.Module) -> str:
    last = backbone.num_layers - 1
    if backbone.out_indices[-1] != last:
        raise InputError(
            f'out_indices={tuple(backbone.out_indices)}: labels are traced to the '
            f'last stage, so the last output must be stage {last}; leave '
            'out_indices out.'
        )
    return 'mean'


SWIN = BackboneSpec(
    patch=lambda backbone: backbone.patch_embed.projection.stride,
    prefix=lambda backbone: 0,
    output=_output,
    note='mean of the tokens',
)
register_backbone(SwinTransformer, SWIN)
register_backbone(SwinTransformerV2, SWIN)


# What a ShiftWindowMSA may hold: one softmax of (B * windows, heads, T, T).
WINDOW_ATTENTIONS = {WindowMSA, FastWindowMSA, WindowMSAV2}


class TracedShiftWindowMSA(Listening, FastShiftWindowMSA):
    """Cuts the shares into the windows that this forward really uses."""

    def before(self, reader, query, hw_shape):
        shift = self.shift_size
        if min(hw_shape) == self.window_size and not self.pad_small_map:
            # The stock forward does not shift a map that is a single window.
            shift = 0
        reader.enter_windows(hw_shape, (self.window_size,) * 2, (shift,) * 2)

    def after(self, reader):
        reader.leave_windows()


@register_attention(ShiftWindowMSA)
@register_attention(FastShiftWindowMSA)
def _tap_windows(module: ShiftWindowMSA, context: TraceContext) -> None:
    if type(module.w_msa) not in WINDOW_ATTENTIONS:
        known = ', '.join(sorted(c.__name__ for c in WINDOW_ATTENTIONS))
        raise UnsupportedError(
            f'ShiftWindowMSA with a {type(module.w_msa).__name__} inside: known are '
            f'{known}. See docs/add_a_backbone.md.'
        )
    if adopt_fast(module.w_msa):
        module.w_msa.context = context
    module.get_attn_mask = context.shared.setdefault('masks', WindowMasks())
    module.order = context.shared.setdefault('order', WindowOrder())
    adopt(TracedShiftWindowMSA, module, context)


class TracedMerging:
    """Mixin: merges the shares as mmcv's and mmpretrain's ``PatchMerging`` do."""

    def forward(self, x, input_size):
        reader = self.context.reader
        if reader is not None:
            pads = adaptive_pads(self.adaptive_padding, self.sampler, input_size)
            reader.merge(self.sampler.kernel_size, self.sampler.stride, pads)
        return super().forward(x, input_size)


def adaptive_pads(adaptive, layer, size) -> tuple[int, int, int, int]:
    """Left, right, top and bottom padding of a map of this size.

    Args:
        adaptive: mmcv's ``AdaptivePadding`` before the layer, or None.
        layer: The convolution or unfolding, with its own ``padding``.
        size: Rows and columns of the map.
    """
    if adaptive is None:
        high, wide = layer.padding
        return wide, wide, high, high
    high, wide = adaptive.get_pad_shape(size)
    if adaptive.padding == 'corner':
        return 0, wide, 0, high
    left, top = wide // 2, high // 2
    return left, wide - left, top, high - top


class TracedPatchMerging(TracedMerging, PatchMerging):
    """Twin of mmpretrain's patch merging (Swin v2)."""


class TracedMMCVPatchMerging(TracedMerging, FastPatchMerging):
    """Twin of mmcv's patch merging (Swin v1)."""


def _adopt_merging(twin: type):
    def install(module: nn.Module, context: TraceContext) -> None:
        if tuple(module.sampler.dilation) != (1, 1):
            raise UnsupportedError(
                f'Patch merging with dilation {module.sampler.dilation}: only '
                'dilation 1 has a rule.'
            )
        adopt(twin, module, context)

    return install


register_token_module(MMCVPatchMerging)(_adopt_merging(TracedMMCVPatchMerging))
register_token_module(FastPatchMerging)(_adopt_merging(TracedMMCVPatchMerging))
register_token_module(PatchMerging)(_adopt_merging(TracedPatchMerging))
