"""A model that takes pixels, for changes of images before normalisation.

Shapes: ``B`` images, ``H, W`` pixels, ``K`` classes. Images are RGB in [0, 1].
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.modes import eval_mode

# Tolerance for overshoot by resizing; normalised or 0...255 images are far outside.
ROUNDING = 1e-3


class PixelModel(nn.Module):
    """A classifier with its normalisation, from RGB images in [0, 1] to class scores.

    Scores are computed as in evaluation, with gradients to the pixels: modules are in
    eval mode, autocast is off, and parameters get no gradient. After each call training
    flags and parameters are restored. The softmax of the scores equals the output of
    mmpretrain's ``predict`` up to rounding, as PyTorch's linear layers round
    differently for parameters with gradient.

    Args:
        model: The network, in float32 (or float64).
        mean: Mean of the channels in 0...255, in the order that the network reads.
        std: Standard deviation of the channels in 0...255.
        forward: Function from normalised images (B, 3, H, W) to scores (B, K). By
            default the model itself.
        bgr: Whether the network reads the channels as B, G, R.
        backbone: Network for tracing; by default ``model.backbone``, or the model.
        num_classes: Number of classes K, if it is known.

    Attributes:
        model: The network.
        backbone: Network that tracing can attach to.
        num_classes: Number of classes K, or None.

    Raises:
        InputError: Mean or standard deviation are not on the scale 0...255.
        UnsupportedError: The model computes in half precision.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
        forward: Callable[[Tensor], Tensor] | None = None,
        bgr: bool = False,
        backbone: nn.Module | None = None,
        num_classes: int | None = None,
    ):
        super().__init__()
        self.model = model
        self.bgr = bgr
        self.num_classes = num_classes
        self._forward = forward
        self._arguments: dict[str, Any] = {}
        self._padding = (1, 0.0)
        # In a tuple, so that it is not registered as a second submodule.
        self._backbone = (backbone or getattr(model, 'backbone', model),)
        for name, values in (('mean', mean), ('std', std)):
            values = torch.as_tensor(values).detach().to(torch.float64).flatten()
            if len(values) not in (1, 3) or (name == 'std' and values.min() <= 0):
                raise InputError(
                    f'{name}={values.tolist()}: give one number for each of R, G, B'
                    f'{", above 0" if name == "std" else ""}.'
                )
            if 0 < values.abs().max() <= 1 and name == 'mean':
                raise InputError(
                    f'mean={values.tolist()} is in 0...1: mean and std of PixelModel '
                    'are in 0...255, so multiply both by 255.'
                )
            self.register_buffer(name, values.view(-1, 1, 1), persistent=False)
        half = {p.dtype for p in model.parameters()} & {torch.half, torch.bfloat16}
        if half:
            raise UnsupportedError(
                f'The model is in {half.pop()}: gradients to pixels need float32, so '
                'call model.float() first.'
            )

    @classmethod
    def of(cls, model: nn.Module, bgr: bool = True) -> 'PixelModel':
        """Wrap a classifier that stores how its images are normalised.

        Args:
            model: A classifier of mmpretrain or of this package (with a
                ``data_preprocessor``, and ``mode='tensor'``), a timm model (with a
                ``pretrained_cfg``), or any model with one of these attributes.
            bgr: Whether a ``data_preprocessor`` is given images as B, G, R, as OpenCV
                reads files. False for mmpretrain's CIFAR.

        Raises:
            InputError: It has no mean, so that the value of black is unknown.
            UnsupportedError: It has neither attribute.
        """
        name = type(model).__name__
        pre = getattr(model, 'data_preprocessor', None)
        stats = getattr(model, 'pretrained_cfg', None)
        if pre is not None:
            return cls._of_mmpretrain(model, pre, bgr)
        if stats is None:
            raise UnsupportedError(
                f'{name} does not say how its images are normalised (no '
                'data_preprocessor, no pretrained_cfg): use PixelModel(model, mean, '
                'std).'
            )
        if stats.get('mean') is None or stats.get('std') is None:
            raise InputError(
                f'pretrained_cfg of {name} has no mean or std: use PixelModel(model, '
                'mean, std).'
            )
        mean, std = ([255 * v for v in stats[key]] for key in ('mean', 'std'))
        return cls(model, mean, std, num_classes=getattr(model, 'num_classes', None))

    @classmethod
    def _of_mmpretrain(cls, model: nn.Module, pre: Any, bgr: bool) -> 'PixelModel':
        if getattr(pre, 'mean', None) is None or getattr(pre, 'std', None) is None:
            raise InputError(
                f'The data_preprocessor of {type(model).__name__} has no mean and std, '
                'so images cannot be normalised: set data_preprocessor=dict(mean=..., '
                'std=...) as in the config that trained the model.'
            )
        inner = getattr(model, 'backbone', getattr(model, 'model', model))
        parts = (getattr(model, 'head', None), inner)
        classes = [getattr(part, 'num_classes', None) for part in parts]
        # mmengine's ImgDataPreprocessor uses the second name.
        to_rgb = getattr(pre, 'to_rgb', getattr(pre, '_channel_conversion', False))
        pixels = cls(
            model,
            pre.mean,
            pre.std,
            bgr=bgr != to_rgb,
            backbone=inner,
            num_classes=next((c for c in classes if c), None),
        )
        pixels._arguments = dict(mode='tensor')
        pixels._padding = (getattr(pre, 'pad_size_divisor', 1), pre.pad_value)
        return pixels

    @property
    def backbone(self) -> nn.Module:
        """Network that tracing can attach to."""
        return self._backbone[0]

    @property
    def mean_colour(self) -> Tensor:
        """RGB colour in [0, 1] (3, 1, 1) that is zero after normalisation."""
        mean = self.mean.expand(3, 1, 1) / 255
        return mean.flip(0) if self.bgr else mean

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise RGB images (B, 3, H, W) in [0, 1] for the network.

        Raises:
            InputError: The images are invalid.
        """
        check_images(images)
        images = images.flip(1) if self.bgr else images
        images = images.to(self._dtype())
        inputs = (255 * images - self.mean.to(images)) / self.std.to(images)
        step, value = self._padding
        height, width = inputs.shape[-2:]
        if height % step or width % step:
            inputs = F.pad(inputs, (0, -width % step, 0, -height % step), value=value)
        return inputs

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores (B, K) of RGB images (B, 3, H, W) in [0, 1].

        Raises:
            InputError: The images are invalid.
            UnsupportedError: The model's output is not of shape (B, K).
        """
        inputs = self.normalise(images)
        no_autocast = torch.autocast(images.device.type, enabled=False)
        with evaluating(self.model), no_autocast:
            if self._forward is not None:
                scores = self._forward(inputs)
            else:
                scores = self.model(inputs, **self._arguments)
        if not isinstance(scores, Tensor) or scores.ndim != 2:
            shape = getattr(scores, 'shape', None)
            raise UnsupportedError(
                f'{type(self.model).__name__} returns {type(scores).__name__}'
                f'{"" if shape is None else f" of shape {tuple(shape)}"}: class scores '
                '(B, K) are needed, so use PixelModel(model, mean, std, forward=...).'
            )
        return scores

    def _dtype(self) -> torch.dtype:
        dtypes = (p.dtype for p in self.model.parameters() if p.is_floating_point())
        return next(dtypes, torch.float32)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set eval mode and freeze parameters, and restore both afterwards."""
    learnt = [p for p in model.parameters() if p.requires_grad]
    try:
        for parameter in learnt:
            parameter.requires_grad_(False)
        with eval_mode(model):
            yield
    finally:
        for parameter in learnt:
            parameter.requires_grad_(True)


def check_images(images: Tensor) -> None:
    """Check that images are (B, 3, H, W), of a floating type, in [0, 1].

    Raises:
        InputError: They are not.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise InputError(
            f'images {tuple(images.shape)} in {images.dtype}: give (B, 3, H, W), RGB, '
            'float in [0, 1] (uint8 divided by 255).'
        )
    if not images.numel():
        return
    low, high = torch.stack(torch.aminmax(images.detach())).tolist()
    # Written so that NaN fails too.
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise InputError(
            f'Pixels are in [{low:.4g}, {high:.4g}]: give RGB in [0, 1], neither '
            '0...255 nor normalised.'
        )
