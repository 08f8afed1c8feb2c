"""timm's Swin Transformers, v1 and v2.

Their blocks shift a map and pad it afterwards, the other way round than the
official code. Attention is unfused unless ``TIMM_FUSED_ATTN=2`` is set (v1).
"""

from functools import partial

from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.tracing.adapters.timm_check import look_up, told, try_once
from mmtlalign.tracing.attach import Listening, TraceContext, adopt
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
    register_token_module,
)

SwinTransformer, SwinTransformerBlock, WindowAttention, PatchMerging = look_up(
    'timm.models.swin_transformer',
    'SwinTransformer',
    'SwinTransformerBlock',
    'WindowAttention',
    'PatchMerging',
)
SwinTransformerV2, SwinTransformerV2Block, WindowAttentionV2, PatchMergingV2 = look_up(
    'timm.models.swin_transformer_v2',
    'SwinTransformerV2',
    'SwinTransformerV2Block',
    'WindowAttention',
    'PatchMerging',
)


@told
def _output(model: nn.Module) -> str:
    if model.global_pool in ('avg', ''):
        return 'mean'
    raise InputError(
        f'{type(model).__name__} of timm pools with global_pool='
        f"{model.global_pool!r}: no share can be read from it; choose 'avg'."
    )


@told
def _grid(model: nn.Module, size) -> tuple[int, int]:
    return tuple(model.patch_embed.dynamic_feat_size(tuple(size)))


SWIN = BackboneSpec(
    patch=told(lambda model: tuple(model.patch_embed.patch_size)),
    prefix=lambda model: 0,
    output=_output,
    grid=_grid,
    note='mean of the tokens',
)
register_backbone(SwinTransformer, SWIN)
register_backbone(SwinTransformerV2, SWIN)


class _TracedBlock(Listening):
    """Cuts the shares into the windows that the block cuts the map into."""

    def before(self, reader, x: Tensor) -> None:
        grid = tuple(x.shape[1:3])
        reader.enter_windows(grid, self.window_size, self.shift_size, pad_first=False)

    def after(self, reader) -> None:
        reader.leave_windows()


class TracedSwinTransformerBlock(_TracedBlock, SwinTransformerBlock):
    """Twin of the block of v1."""


class TracedSwinTransformerV2Block(_TracedBlock, SwinTransformerV2Block):
    """Twin of the block of v2."""


class _TracedMerging:
    """Mixin: merges the shares of squares of four tokens."""

    def forward(self, x: Tensor) -> Tensor:
        reader = self.context.reader
        if reader is not None:
            rows, columns = x.shape[1:3]
            reader.merge((2, 2), (2, 2), (0, columns % 2, 0, rows % 2))
        return super().forward(x)


class TracedPatchMerging(_TracedMerging, PatchMerging):
    """Twin of the patch merging of v1."""


class TracedPatchMergingV2(_TracedMerging, PatchMergingV2):
    """Twin of the patch merging of v2."""


def _on_map(grid: tuple[int, int], module: nn.Module, tokens: Tensor) -> Tensor:
    return module(tokens.unflatten(1, grid)).flatten(1, 2)


def _adopt_block(twin: type, attention: type):
    def install(module: nn.Module, context: TraceContext) -> None:
        if type(module.attn) is not attention:
            raise UnsupportedError(
                f'{type(module).__name__} with a {type(module.attn).__name__} inside: '
                f'known is {attention.__name__}. See docs/add_a_backbone.md.'
            )
        adopt(twin, module, context)

    def install_tried(module: nn.Module, context: TraceContext) -> None:
        cls, grid = type(module), (3, 5)
        make = partial(cls, 8, grid, num_heads=2, window_size=2, shift_size=1)
        try_once(cls, make, install, partial(_on_map, grid), grid)
        install(module, context)

    return install_tried


def _adopt_merging(twin: type):
    install = partial(adopt, twin)

    def install_tried(module: nn.Module, context: TraceContext) -> None:
        cls, grid = type(module), (3, 4)
        try_once(cls, partial(cls, 8), install, partial(_on_map, grid), grid, 0)
        install(module, context)

    return install_tried


register_attention(SwinTransformerBlock)(
    _adopt_block(TracedSwinTransformerBlock, WindowAttention)
)
register_attention(SwinTransformerV2Block)(
    _adopt_block(TracedSwinTransformerV2Block, WindowAttentionV2)
)
register_token_module(PatchMerging)(_adopt_merging(TracedPatchMerging))
register_token_module(PatchMergingV2)(_adopt_merging(TracedPatchMergingV2))
