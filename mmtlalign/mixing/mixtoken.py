"""MixToken (All Tokens Matter, NeurIPS 2021, arXiv 2104.10858): tokens are mixed.

Images stay whole; a box of tokens changes places with that of another image after
the patch embedding, so that no token shows two images, and before positions are
added, so that positions stay. After the network the box is put back, and what each
token says is of its own image again.

Shapes: ``B`` batch, ``h, w`` token grid, ``N = h * w`` tokens (row by row), ``C``
channels.

MixToken as an augment of batches (All Tokens Matter, NeurIPS 2021, arXiv
2104.10858): a record whose mixing happens inside the network.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.mixing.cutmix import Box, box_mask, clipped_box
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.token_mix import TokenBatchMix


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


@dataclass(frozen=True)
class TokenSwap(Mix):
    """A batch whose images are whole and whose tokens are mixed later.

    Attributes:
        images: Images (B, 3, H, W), not mixed.
        grid: Token rows and columns.
        box: Rows and columns of the tokens that change places between the images b
            and B - 1 - b (top, bottom, left, right).
    """

    grid: tuple[int, int]
    box: Box

    @contextlib.contextmanager
    def inside(self, backbone: nn.Module) -> Iterator[None]:
        """While it is active, the backbone mixes tokens after its patch embedding.

        Raises:
            TypeError: If it has no patch embedding that gives tokens and their grid.
            ValueError: If that grid is another.
        """
        embed = getattr(backbone, 'patch_embed', None)
        if embed is None:
            raise UnsupportedError(
                f'{type(backbone).__name__} has no patch_embed, after which MixToken '
                'mixes tokens: use TokenCutMix, which mixes pixels.'
            )

        def check(module, args, out):
            if not isinstance(out, tuple) or len(out) != 2:
                raise UnsupportedError(
                    f'{type(module).__name__} does not give tokens and their grid, '
                    'which MixToken needs: use TokenCutMix, which mixes pixels.'
                )
            if tuple(out[1]) != self.grid:
                raise InputError(
                    f'MixToken drew a box on {self.grid[0]}x{self.grid[1]} tokens, '
                    f'the backbone has {out[1][0]}x{out[1][1]}: give MixToken the '
                    'patch_size of the backbone.'
                )

        handle = embed.register_forward_hook(check)
        try:
            with swapped_patches(embed, self.box):
                yield
        finally:
            handle.remove()


class MixToken(TokenBatchMix):
    """MixToken: a box of tokens changes places after the patch embedding.

    Unlike TokenCutMix nothing of the partner is seen by the convolutions of a stem,
    and no token shows two images. Needs ``MixClassifier`` and a backbone with a
    ``patch_embed`` (VisionTransformer, LVViT, DHVT). The partner is that of the
    batch flipped.

    Args:
        alpha: As in :class:`BatchMix`. Defaults to 1.0, the official value.
        patch_size: Side of a token in pixels, that of the backbone. Defaults to 16.
        prob: As in :class:`BatchMix`. Defaults to 1.0: every batch.
    """

    def __init__(self, alpha: float = 1.0, patch_size: int = 16, prob: float = 1.0):
        super().__init__(alpha, patch_size, prob=prob)
        self._drawn = None

    def mix(self, images: Tensor, labels: Tensor, inplace: bool = False) -> Mix:
        """As :meth:`BatchMix.mix`; the images of the record are not mixed."""
        self._drawn = None
        # Of the pixels only the mask is wanted: one channel is enough.
        record = super().mix(images[:, :1], labels)
        if self._drawn is None:
            return Mix.unmixed(images, record.labels)
        return TokenSwap(
            images, record.labels, record.partner, record.mask, *self._drawn
        )

    def draw_tokens(self, grid, lam):
        box = clipped_box(grid, lam)
        self._drawn = grid, box
        return box_mask(box, grid)

    def __call__(self, images: Tensor, labels: Tensor):
        """Refused: images cannot be handed on mixed."""
        raise UnsupportedError(
            'MixToken mixes inside the backbone, so it works with '
            'mmtlalign.MixClassifier alone: put it in its train_cfg, or use '
            'TokenCutMix.'
        )
