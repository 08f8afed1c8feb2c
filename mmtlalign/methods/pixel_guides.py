"""Guides with maps as large as the images: input gradient and OpenCV's saliency.

Guides are described in :mod:`mmtlalign.methods.guides`.

Shapes: ``B`` batch, ``K`` classes, ``H, W`` pixels.
"""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.methods.guides import Grids, silent_evaluation
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.registry import MODELS

# Half sides of the windows around a pixel in OpenCV's StaticSaliencyFineGrained.
SURROUNDS = (12, 24, 48, 28, 56, 112)


def pixel_grids(backbone: nn.Module) -> Grids | None:
    """Return the image size of a backbone, as grid and as size; None if unknown."""
    size = getattr(backbone, 'img_size', None)
    if size is None:
        return None
    size = (size, size) if isinstance(size, int) else tuple(size)
    return size, size


class PixelGuide:
    """Base class of guides that use the normalisation of a classifier.

    Attributes:
        gives: Fields of :class:`mmtlalign.mixing.guides.GuideOutput` that it provides.
    """

    gives = frozenset({'saliency', 'pictures'})
    mean: Tensor | None = None
    std: Tensor | None = None
    blue_first = True

    def bind(self, model: nn.Module) -> Grids | None:
        """Read the normalisation of a classifier; see ``AttentionGuide.bind``."""
        pre: Any = model.data_preprocessor
        self.mean = getattr(pre, 'mean', None)
        self.std = getattr(pre, 'std', None)
        self.blue_first = not getattr(pre, 'to_rgb', False)
        return pixel_grids(model.backbone)  # type: ignore[arg-type]

    def pixels(self, images: Tensor) -> Tensor:
        """Return normalised images (B, 3, H, W) as pixels, float32, 0...255."""
        pixels = images.float()
        if self.mean is not None and self.std is not None:
            pixels = pixels * self.std.to(pixels) + self.mean.to(pixels)
        return pixels.clamp(0, 255)


@MODELS.register_module()
class InputGradient(PixelGuide):
    """Guide that computes the gradient of the loss for each pixel before mixing.

    Saliency is the root mean square of the gradient over the channels, as in Puzzle Mix
    (ICML 2020). The loss is the cross-entropy of the labels, summed over the images, so
    that the map does not depend on the batch size. It costs an additional forward and a
    backward pass to the pixels, in evaluation mode and in the precision of the step;
    gradients of parameters are neither computed nor changed. It also gives the scores
    and the pictures.

    Raises:
        InputError: The backbone recomputes activations (``with_cp``), which PyTorch
            does not support for a gradient of the pixels alone.
    """

    gives = frozenset({'saliency', 'scores', 'pictures'})

    def bind(self, model: nn.Module) -> Grids | None:
        """Connect the guide with a classifier; see ``AttentionGuide.bind``."""
        self.model: Any = model
        backbone: Any = model.backbone
        if any(getattr(module, 'with_cp', False) for module in backbone.modules()):
            raise InputError(
                'InputGradient with with_cp=True in the backbone: PyTorch has no '
                'gradient for only the pixels through recomputed activations; set '
                'with_cp=False, or use mmtlalign.OwnAttention.'
            )
        return super().bind(model)

    def __call__(self, images: Tensor, labels: Tensor) -> GuideOutput:
        """Return the guide's output for images (B, 3, H, W) with labels (B, K)."""
        model = self.model
        with silent_evaluation(model), torch.enable_grad():
            pixels = images.detach().requires_grad_()
            feats = model.extract_feat(pixels)
            scores = model.head(feats).float()
            loss = -(labels * scores.log_softmax(dim=1)).sum()
            (gradient,) = torch.autograd.grad(loss, pixels)
        saliency = gradient.float().square().mean(dim=1).sqrt()
        return GuideOutput(saliency, scores.detach(), self.pixels(images) / 255)


@MODELS.register_module()
class FineGrainedSaliency(PixelGuide):
    """Guide that computes the saliency of OpenCV's ``StaticSaliencyFineGrained``.

    It compares the smoothed grey value of a pixel with the means of six windows around
    it (Montabone and Soto, Image and Vision Computing 2010). It uses only functions of
    the standard OpenCV, and its results are bit-identical to the saliency module of
    opencv-contrib 4.12. It runs on the CPU, without a network. The normalisation by the
    data preprocessor is undone first.

    Args:
        legacy_floats (bool): Whether to pass the normalised images to OpenCV, as
            SaliencyMix's code does. OpenCV then reads bytes of the floats in place of
            the grey values of the pixels, so that the map is hardly meaningful.
            Defaults to False.
    """

    def __init__(self, legacy_floats: bool = False):
        self.legacy_floats = legacy_floats

    def __call__(self, images: Tensor, labels: Tensor) -> GuideOutput:
        """Return the saliency of images (B, 3, H, W); labels are not used."""
        pixels = self.pixels(images)
        pictures = images.float() if self.legacy_floats else pixels.round().byte()
        if not (self.blue_first or self.legacy_floats):
            pictures = pictures.flip(1)
        channels_last = pictures.permute(0, 2, 3, 1).cpu().numpy()
        maps = [fine_grained_saliency(image) for image in channels_last]
        saliency = torch.from_numpy(np.stack(maps)).float()
        return GuideOutput(saliency.to(images.device), pictures=pixels / 255)


def fine_grained_saliency(image: np.ndarray) -> np.ndarray:
    """Return the saliency map (H, W), uint8, of an image (H, W, 3), blue first.

    Args:
        image: uint8. With float32, bytes of the floats take the place of the grey
            values of the pixels, as in OpenCV.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY)
    for _ in range(2):
        grey = cv2.GaussianBlur(grey, (3, 3), 0)
    height, width = grey.shape
    sums = cv2.integral(grey, sdepth=cv2.CV_32F)
    middle = grey.view(np.uint8).reshape(height, -1)[:, :width].astype(np.float32)
    above, below = (np.zeros((height, width), np.int64) for _ in range(2))
    for side in SURROUNDS:
        top, bottom = _span(height, side)
        left, right = _span(width, side)
        around = (
            sums[bottom[:, None], right]
            + sums[top[:, None], left]
            - sums[bottom[:, None], left]
            - sums[top[:, None], right]
        )
        count = (bottom - top)[:, None] * (right - left) - 1
        difference = middle - (around - middle) / count.astype(np.float32)
        # OpenCV stores each in a byte, which may overflow.
        above += difference.clip(min=0).astype(np.int64) % 256
        below += (-difference).clip(min=0).astype(np.int64) % 256
    above, below = _stretch(above), _stretch(below)
    both = 255.0 * (above + below).astype(np.float32)
    most = max(above.max(), below.max(), 1)
    # The byte of the sum may overflow, too.
    return (both / np.float64(most)).astype(np.int64).astype(np.uint8)


def _span(length: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of the window around each position of an axis."""
    places = np.arange(length) + 1
    return (places - side).clip(0, length), (places + side).clip(0, length)


def _stretch(values: np.ndarray) -> np.ndarray:
    """Scale values to integers 0...255; zeros stay zero."""
    share = values.astype(np.float32) / np.float32(max(values.max(), 1))
    return (255.0 * share.astype(np.float64)).astype(np.int64)
