"""mmpretrain's Swin Transformers, v1 and v2.

Their window attention has a softmax module, whose output moves the shares.
"""

from mmcv.cnn.bricks.transformer import PatchMerging as MMCVPatchMerging
from mmpretrain.models.backbones import SwinTransformer, SwinTransformerV2
from mmpretrain.models.utils import PatchMerging, ShiftWindowMSA
from mmpretrain.models.utils.attention import WindowMSA, WindowMSAV2
from torch import Tensor, nn

from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.adapters.mmcv_patches import (
    adaptive_padding,
    patch_grid,
    patch_stride,
)
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    check_last_output,
    register_attention,
    register_backbone,
    register_token_module,
)


def _output(backbone: nn.Module) -> str:
    check_last_output(backbone.out_indices, backbone.num_layers - 1)
    return 'mean'


SWIN = BackboneSpec(
    patch=patch_stride,
    prefix=lambda backbone: 0,
    output=_output,
    grid=patch_grid,
    note='mean of the tokens',
)
register_backbone(SwinTransformer, SWIN)
register_backbone(SwinTransformerV2, SWIN)

# Attentions inside ShiftWindowMSA with one softmax of (B * windows, heads, T, T).
WINDOW_ATTENTIONS: list[type[nn.Module]] = [WindowMSA, WindowMSAV2]


def _enter_windows(
    reader: Reader, module: nn.Module, query: Tensor, hw_shape: tuple[int, int]
) -> None:
    """Cut the shares into the windows that this forward pass uses."""
    shift = module.shift_size
    if min(hw_shape) == module.window_size and not module.pad_small_map:
        # mmpretrain does not shift a map that is a single window.
        shift = 0
    reader.enter_windows(hw_shape, (module.window_size,) * 2, (shift,) * 2)


@register_attention(ShiftWindowMSA)
def _attach_windows(module: nn.Module, context: TraceContext) -> None:
    if not issubclass(type(module.w_msa), tuple(WINDOW_ATTENTIONS)):
        known = ', '.join(sorted(c.__name__ for c in WINDOW_ATTENTIONS))
        raise UnsupportedError(
            f'ShiftWindowMSA with a {type(module.w_msa).__name__} inside cannot be '
            f'traced, only with {known}. See docs/add_a_backbone.md.'
        )
    context.in_windows(module, _enter_windows)
    context.read_weights(module.w_msa.softmax)


def _merge(
    reader: Reader, module: nn.Module, x: Tensor, input_size: tuple[int, int]
) -> None:
    sampler = module.sampler
    padding = adaptive_padding(module.adaptive_padding, sampler, input_size)
    reader.merge_tokens(sampler.kernel_size, sampler.stride, padding)


@register_token_module(MMCVPatchMerging, PatchMerging)
def _attach_merging(module: nn.Module, context: TraceContext) -> None:
    if tuple(module.sampler.dilation) != (1, 1):
        raise UnsupportedError(
            f'Patch merging with dilation {module.sampler.dilation} cannot be traced, '
            'only with dilation 1: leave it out of downsample_cfg.'
        )
    context.before(module, _merge)
