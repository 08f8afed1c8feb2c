"""MixToken as an augment of batches (All Tokens Matter, NeurIPS 2021, arXiv
2104.10858): a record whose mixing happens inside the network."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from .boxes import Box, box_mask, clipped_box
from .mix import Mix
from .mix_token import swapped_patches
from .token_mix import TokenBatchMix


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
            raise TypeError(
                f'{type(backbone).__name__} has no patch_embed, after which MixToken '
                'mixes tokens: use TokenCutMix, which mixes pixels.'
            )

        def check(module, args, out):
            if not isinstance(out, tuple) or len(out) != 2:
                raise TypeError(
                    f'{type(module).__name__} does not give tokens and their grid, '
                    'which MixToken needs: use TokenCutMix, which mixes pixels.'
                )
            if tuple(out[1]) != self.grid:
                raise ValueError(
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
        raise TypeError(
            'MixToken mixes inside the backbone, so it works with '
            'mmtlalign.MixClassifier alone: put it in its train_cfg, or use '
            'TokenCutMix.'
        )
