"""Token features after every block with an attention, and their similarities.

Shapes: ``B`` batch, ``T`` tokens, special ones first, ``D`` channels, ``h, w`` grid.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.label_shares import similarity_cosine, similarity_projection
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.propagate import Pair
from mmtlalign.tracing.support import KNOWN

SIMILARITIES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = dict(
    projection=similarity_projection, cosine=similarity_cosine
)


def attention_blocks(backbone: nn.Module) -> list[nn.Module]:
    """Return the block around each attention, which ends with its last residual.

    This is the parent of the attention, or the attention itself if the parent is a
    list of blocks.

    Args:
        backbone: Backbone after ``attach``.
    """
    inside: tuple[str, ...] = ()
    blocks = {}
    for name, module in backbone.named_modules():
        kinds = {*type(module).__mro__, vars(type(module)).get('stands_for')}
        if name and not name.startswith(inside) and kinds & KNOWN.attentions.keys():
            inside += (f'{name}.',)
            parent_name = name.rpartition('.')[0]
            parent = backbone.get_submodule(parent_name)
            lists = (nn.ModuleList, nn.Sequential)
            if not parent_name or isinstance(parent, lists):
                parent_name, parent = name, module
            blocks[parent_name] = parent
    return list(blocks.values())


@contextlib.contextmanager
def block_outputs(
    backbone: nn.Module, take: Callable[[object], None]
) -> Iterator[None]:
    """Call a function with the output of each block during a forward pass, in order."""
    handles = [
        block.register_forward_hook(lambda module, args, output: take(output))
        for block in attention_blocks(backbone)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def as_tokens(output: object, tokens: int, grid: Pair) -> Tensor:
    """Convert the output of a block to tokens in the tracer's order, (B, T, D).

    Args:
        output: Output of a block: tokens (B, T, D), a map (B, h, w, D) or (B, D, h, w),
            or a tuple that begins with one of these.
        tokens: Number of tokens T.
        grid: Token rows and columns.

    Raises:
        UnsupportedError: The output has another form.
    """
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if isinstance(output, Tensor):
        shape = tuple(output.shape)
        if output.ndim == 3 and shape[1] == tokens:
            return output
        if output.ndim == 4 and tokens == grid[0] * grid[1]:
            if shape[1:3] == tuple(grid):
                return output.flatten(1, 2)
            if shape[2:] == tuple(grid):
                return output.flatten(2).mT
    found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise UnsupportedError(
        f'A block returns {found}, but {tokens} tokens or a map of {grid[0]} x '
        f'{grid[1]} are needed: features of this backbone cannot be compared token by '
        'token; omit the argument images.'
    )


@contextlib.contextmanager
def comparing(
    backbone: nn.Module, images: Tensor, mix: Mix, names: Iterable[str]
) -> Iterator[dict[str, list[Tensor]]]:
    """Compare the features of a traced forward pass with those before mixing.

    Yields:
        Similarities (B, T) of each block by name, filled in the forward pass.
    """
    names = tuple(names)
    unknown = set(names) - SIMILARITIES.keys()
    if unknown or not names:
        raise InputError(
            f'similarities={list(names)}: choose from {", ".join(SIMILARITIES)}.'
        )
    if images.shape != mix.images.shape:
        raise InputError(
            f'images {tuple(images.shape)} for a mixed batch of '
            f'{tuple(mix.images.shape)}: give the same batch before mixing.'
        )
    own: list[Any] = []
    with torch.no_grad(), block_outputs(backbone, own.append):
        backbone(images)
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    context = backbone.trace_context

    def compare(output: object) -> None:
        tracer = context.reader
        layer = tracer.seen - 1
        if layer != len(found[names[0]]) or len(own) != context.attentions:
            raise UnsupportedError(
                f'A block of {type(backbone).__name__} does not hold exactly one '
                'attention, so it does not match a layer of the trace: omit the '
                'argument images.'
            )
        tokens = tracer.history[-1].shape[1]
        after = as_tokens(output, tokens, tracer.grid)
        before = as_tokens(own[layer], tokens, tracer.grid)
        own[layer] = None  # frees memory
        for name in names:
            values = SIMILARITIES[name](before, before[mix.partner], after)
            found[name].append(values)

    with block_outputs(backbone, compare):
        yield found
