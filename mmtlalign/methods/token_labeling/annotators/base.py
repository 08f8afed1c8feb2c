"""Classifiers that label every cell of an image, not the image alone."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmtlalign.checkpoint.io import hash_tensors
from mmtlalign.errors import InputError


@dataclass
class Annotator:
    """A classifier whose own head reads one cell at a time.

    Before pooling, the head sees each cell as if it were a whole image of equal
    cells. Where the head is linear and pools by the mean, the mean of the logits of
    all cells is what the classifier says of the image.

    Attributes:
        name: ``timm:NAME`` or ``mmpretrain:NAME``.
        model: The network, in eval mode.
        cells: Images (B, 3, H, W) to features of cells (B, h, w, C).
        head: Features (n, C) to logits (n, K).
        mean: Of RGB, in 0 to 1.
        std: Of RGB, in 0 to 1.
        flip_channels: Whether the network takes BGR.
    """

    name: str
    model: nn.Module
    cells: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip_channels: bool = False

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits of each cell.

        Args:
            images: RGB (B, 3, H, W) uint8, on the device of the model.

        Returns:
            (B, K, h, w) float32.
        """
        mean, std = (images.new_tensor(x, dtype=torch.float32) for x in self.stats)
        images = (images / 255 - mean[:, None, None]) / std[:, None, None]
        if self.flip_channels:
            images = images.flip(1)
        cells = self.cells(images)
        B, h, w, C = cells.shape
        logits = self.head(cells.reshape(-1, C)).float()
        return logits.view(B, h, w, -1).permute(0, 3, 1, 2)

    @property
    def stats(self) -> tuple:
        """Mean and standard deviation."""
        return self.mean, self.std

    def weights(self) -> str:
        """16 hexadecimal digits that change with any weight."""
        return hash_tensors(self.model.state_dict(), types=False)[:16]


def build_annotator(
    name: str,
    checkpoint: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    size: tuple[int, int] | None = None,
) -> Annotator:
    """Build a classifier of timm or of mmpretrain.

    Args:
        name: ``timm:NAME``, a name of ``timm.list_models()``, or ``mmpretrain:NAME``,
            a name of ``mmpretrain.list_models()`` or a config file.
        checkpoint: File with its weights. Of a timm model it also says how many
            classes there are. Defaults to None: those the library publishes.
        mean: Of RGB, in 0 to 1. Defaults to None: what the library says.
        std: As ``mean``.
        size: Rows and columns of the images in pixels. Defaults to None: what the
            network was made for.

    Raises:
        InputError: Another library, weights that are missing or do not fit, or a
            network whose cells are not known.
    """
    library, _, model = name.partition(':')
    if library == 'timm' and model:
        from mmtlalign.methods.token_labeling.annotators.timm import build
    elif library == 'mmpretrain' and model:
        from mmtlalign.methods.token_labeling.annotators.mmpretrain import build
    else:
        raise InputError(f'annotator {name!r}: say timm:NAME or mmpretrain:NAME')
    annotator = build(name, model, checkpoint, size)
    annotator.model.eval()
    annotator.mean, annotator.std = mean or annotator.mean, std or annotator.std
    return annotator
