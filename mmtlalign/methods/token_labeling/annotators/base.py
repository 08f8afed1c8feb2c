"""A classifier that labels every cell of an image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmtlalign.checkpoint.io import hash_tensors


@dataclass
class Annotator:
    """A classifier whose head is applied to each cell of the feature map.

    The head gets each cell before pooling, as if all cells of the image were equal to
    it. If the head is linear with mean pooling, the mean of the logits over all cells
    is the classifier's output for the image.

    Attributes:
        name: ``timm:NAME`` or ``mmpretrain:NAME``.
        model: The network, in eval mode.
        cells: Maps images (B, 3, H, W) to features of cells (B, h, w, C).
        head: Maps features (n, C) to logits (n, K).
        mean: Mean of R, G and B, in 0 to 1.
        std: Standard deviation of R, G and B, in 0 to 1.
        flip_channels: Whether the network takes BGR.
        classes: Names of the classes, in order; None if they are not known.
    """

    name: str
    model: nn.Module
    cells: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip_channels: bool = False
    classes: Sequence[str] | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of each cell (B, K, h, w) float32.

        Args:
            images: RGB (B, 3, H, W) uint8, on the device of the model.
        """
        mean, std = (
            images.new_tensor(x, dtype=torch.float32).view(3, 1, 1)
            for x in (self.mean, self.std)
        )
        images = (images / 255 - mean) / std
        if self.flip_channels:
            images = images.flip(1)
        cells = self.cells(images)
        B, h, w, C = cells.shape
        logits = self.head(cells.reshape(-1, C)).float()
        return logits.view(B, h, w, -1).permute(0, 3, 1, 2)

    def weights(self) -> str:
        """Return 16 hexadecimal digits that change with any weight."""
        return hash_tensors(self.model.state_dict(), types=False)[:16]
