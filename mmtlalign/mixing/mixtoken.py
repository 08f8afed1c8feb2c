"""MixToken (All Tokens Matter, NeurIPS 2021, arXiv 2104.10858): mixing of tokens.

The images are not mixed. A box of tokens is exchanged with that of another image after
the patch embedding, so that no token shows two images, and before position embeddings
are added, so that positions stay. After the network the box is exchanged back, so that
the outputs of all tokens are at their own image again.

Shapes: ``B`` batch, ``h, w`` token grid, ``N = h * w`` tokens (row by row), ``C``
channels.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.mixing.cutmix import Box, box_mask
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.token_mix import TokenBatchMix, draw_token_box


def swap_box(tokens: Tensor, grid: tuple[int, int], box: Box) -> Tensor:
    """Exchange the tokens of a box between the images b and B - 1 - b.

    The exchange is its own inverse: doing it twice restores the tokens.

    Args:
        tokens: Patch tokens, or the outputs of a head for them (B, N, C).
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
def swap_patches(
    patch_embed: nn.Module, box: Box, grid: tuple[int, int] | None = None
) -> Iterator[None]:
    """Exchange a box of the patch embedding's tokens while the context is active.

    Args:
        patch_embed: Module that returns tokens (B, N, C) and their grid, as in the
            plain vision transformers of mmpretrain and of this package.
        box: Rows and columns to exchange (top, bottom, left, right).
        grid: Token rows and columns that the box was drawn on. Defaults to None: the
            grid is not checked.

    Raises:
        UnsupportedError: The embedding does not return tokens and their grid.
        InputError: The embedding's grid differs from ``grid``.
    """

    def swap(module: nn.Module, args: tuple, out: Any) -> tuple[Tensor, Any]:
        if not isinstance(out, tuple) or len(out) != 2:
            raise UnsupportedError(
                f'{type(module).__name__} does not give tokens and their grid, '
                'which MixToken needs: use TokenCutMix, which mixes pixels.'
            )
        tokens, given = out
        if grid is not None and tuple(given) != grid:
            raise InputError(
                f'MixToken drew a box on {grid[0]}x{grid[1]} tokens, the backbone has '
                f'{given[0]}x{given[1]}: give MixToken the patch_size of the backbone.'
            )
        return swap_box(tokens, tuple(given), box), given

    handle = patch_embed.register_forward_hook(swap)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True, eq=False, repr=False)
class TokenSwap(Mix):
    """A batch whose images are not mixed; the backbone mixes their tokens.

    Attributes:
        images: Images (B, 3, H, W), not mixed.
        grid: Token rows and columns.
        box: Rows and columns of the tokens that are exchanged between the images b
            and B - 1 - b (top, bottom, left, right).
    """

    grid: tuple[int, int]
    box: Box

    def apply_in_backbone(
        self, backbone: nn.Module
    ) -> contextlib.AbstractContextManager[None]:
        """Exchange tokens after the backbone's patch embedding.

        Raises:
            UnsupportedError: The backbone has no patch embedding that returns tokens
                and their grid.
            InputError: The embedding's grid differs from the record's.
        """
        embed = getattr(backbone, 'patch_embed', None)
        if embed is None:
            raise UnsupportedError(
                f'{type(backbone).__name__} has no patch_embed, after which MixToken '
                'mixes tokens: use TokenCutMix, which mixes pixels.'
            )
        return swap_patches(embed, self.box, self.grid)


class MixToken(TokenBatchMix):
    """MixToken: a box of tokens is exchanged after the patch embedding.

    Unlike with TokenCutMix, the convolutions of a stem see nothing of the partner, and
    no token shows two images. Needs ``MixClassifier`` and a backbone with a
    ``patch_embed`` (VisionTransformer, LVViT, DHVT). Partners are those of
    ``pairing='flip'``.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0, the official value.
        patch_size (int): Side of a token in pixels, that of the backbone. Defaults
            to 16.
        prob (float): Probability that a batch is mixed at all. Defaults to 1.0.
        mode (str): Only ``'batch'``: one box is exchanged in all images. Defaults to
            ``'batch'``.
    """

    modes = ('batch',)
    per_image = False

    def __init__(
        self,
        alpha: float = 1.0,
        patch_size: int = 16,
        prob: float = 1.0,
        mode: str = 'batch',
    ):
        super().__init__(alpha, patch_size, prob=prob, mode=mode)
        self._drawn: tuple[tuple[int, int], Box] | None = None

    def mix(
        self,
        images: Tensor,
        labels: Tensor,
        inplace: bool = False,
        guide: Callable[[Tensor, Tensor], GuideOutput] | None = None,
    ) -> Mix:
        """Draw a box for a batch, and leave its images unchanged.

        Args:
            images: (B, C, H, W).
            labels: (B, K), one-hot or smoothed.
            inplace: Without effect: no image is changed.
            guide: Not used.
        """
        self._drawn = None
        # Only the mask of this record is used, so that one channel is enough.
        record = super().mix(images[:, :1], labels)
        if self._drawn is None:
            return Mix.unmixed(images, record.labels)
        return TokenSwap(
            images, record.labels, record.partner, record.mask, *self._drawn
        )

    def draw_tokens(self, grid: tuple[int, int], lam: float) -> np.ndarray:
        """Draw one box of tokens, and keep it for the record of :meth:`mix`."""
        box = draw_token_box(grid, lam)
        self._drawn = grid, box
        return box_mask(box, grid)

    def __call__(self, images: Tensor, labels: Tensor) -> NoReturn:
        """Raise an error: there are no mixed images to return."""
        raise UnsupportedError(
            'MixToken mixes inside the backbone, so it works with '
            'mmtlalign.MixClassifier alone: put it in its train_cfg, or use '
            'TokenCutMix.'
        )
