"""timm's Swin Transformers, v1 and v2.

Their blocks shift a map before padding it, where the official code pads first. In v1
attention is unfused unless ``TIMM_FUSED_ATTN=2`` is set.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.tracing.adapters.timm_check import (
    import_classes,
    require_attributes,
    try_once,
)
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
    register_token_module,
)

NAMES = ('SwinTransformerBlock', 'WindowAttention', 'PatchMerging')
SwinTransformer, Block, WindowAttention, PatchMerging = import_classes(
    'timm.models.swin_transformer', 'SwinTransformer', *NAMES
)
NAMES = ('SwinTransformerV2Block', 'WindowAttention', 'PatchMerging')
SwinTransformerV2, BlockV2, WindowAttentionV2, PatchMergingV2 = import_classes(
    'timm.models.swin_transformer_v2', 'SwinTransformerV2', *NAMES
)
# The supported attention of each block.
ATTENTIONS = {Block: WindowAttention, BlockV2: WindowAttentionV2}


@require_attributes
def _output(model: nn.Module) -> str:
    if model.global_pool in ('avg', ''):
        return 'mean'
    raise InputError(
        f'{type(model).__name__} of timm pools with global_pool='
        f"{model.global_pool!r}: no share can be read from it; choose 'avg'."
    )


@require_attributes
def _grid(model: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    return tuple(model.patch_embed.dynamic_feat_size(tuple(size)))


SWIN = BackboneSpec(
    patch=require_attributes(lambda model: tuple(model.patch_embed.patch_size)),
    prefix=lambda model: 0,
    output=_output,
    grid=_grid,
    note='mean of the tokens',
)
register_backbone(SwinTransformer, SWIN)
register_backbone(SwinTransformerV2, SWIN)


def _enter_windows(reader: Reader, module: nn.Module, x: Tensor) -> None:
    """Cut the shares into the windows that the block cuts the map into."""
    grid = tuple(x.shape[1:3])
    reader.enter_windows(grid, module.window_size, module.shift_size, pad_first=False)


def _merge(reader: Reader, module: nn.Module, x: Tensor) -> None:
    """Merge the shares of squares of four tokens."""
    rows, columns = x.shape[1:3]
    reader.merge_tokens((2, 2), (2, 2), (0, columns % 2, 0, rows % 2))


def _on_map(grid: tuple[int, int]) -> Callable[[nn.Module, Tensor], Tensor]:
    """Return a function that runs a module of maps on tokens (B, N, C)."""
    return lambda module, tokens: module(tokens.unflatten(1, grid)).flatten(1, 2)


def _install_block(module: nn.Module, context: TraceContext) -> None:
    context.in_windows(module, _enter_windows)
    context.capture(module.attn)


@register_attention(Block, BlockV2)
def _attach_block(module: nn.Module, context: TraceContext) -> None:
    cls, grid = type(module), (3, 5)
    if type(module.attn) is not ATTENTIONS[cls]:
        raise UnsupportedError(
            f'{cls.__name__} with a {type(module.attn).__name__} inside cannot be '
            f'traced, only with {ATTENTIONS[cls].__name__}. See docs/add_a_backbone.md.'
        )

    def make() -> nn.Module:
        return cls(8, grid, num_heads=2, window_size=2, shift_size=1)

    try_once(cls, make, _install_block, _on_map(grid), grid)
    _install_block(module, context)


def _install_merging(module: nn.Module, context: TraceContext) -> None:
    context.before(module, _merge)


@register_token_module(PatchMerging, PatchMergingV2)
def _attach_merging(module: nn.Module, context: TraceContext) -> None:
    cls, grid = type(module), (3, 4)
    try_once(cls, lambda: cls(8), _install_merging, _on_map(grid), grid, 0)
    _install_merging(module, context)
