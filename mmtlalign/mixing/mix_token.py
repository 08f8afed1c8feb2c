"""MixToken (All Tokens Matter, NeurIPS 2021, arXiv 2104.10858): tokens are mixed.

Images stay whole; a box of tokens changes places with that of another image after
the patch embedding, so that no token shows two images, and before positions are
added, so that positions stay. After the network the box is put back, and what each
token says is of its own image again.

Shapes: ``B`` batch, ``h, w`` token grid, ``N = h * w`` tokens (row by row), ``C``
channels.
"""

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn

from .boxes import Box


def swap_box(tokens: Tensor, grid: tuple[int, int], box: Box) -> Tensor:
    """Exchange the tokens of a box between the images b and B - 1 - b.

    The exchange is its own inverse: done twice, every token is at its own image.

    Args:
        tokens: Patch tokens, or what a head says of them (B, N, C).
        grid: Token rows and columns ``(h, w)``.
        box: Rows and columns to exchange (top, bottom, left, right).

    Returns:
        A new tensor (B, N, C).
    """
    top, bottom, left, right = box
    here = (slice(None), slice(top, bottom), slice(left, right))
    maps = tokens.unflatten(1, grid)
    swapped = maps.clone()
    swapped[here] = maps[here].flip(0)
    return swapped.flatten(1, 2)


@contextlib.contextmanager
def swapped_patches(patch_embed: nn.Module, box: Box) -> Iterator[None]:
    """While it is active, the patch embedding's tokens have their box exchanged.

    Args:
        patch_embed: Images to tokens (B, N, C) and their grid, as the plain
            transformers of mmpretrain and those of this package have it.
        box: As in :func:`swap_box`.
    """

    def swap(module, args, out):
        tokens, grid = out
        return swap_box(tokens, tuple(grid), box), grid

    handle = patch_embed.register_forward_hook(swap)
    try:
        yield
    finally:
        handle.remove()
