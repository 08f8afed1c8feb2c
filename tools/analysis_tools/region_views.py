"""A checkpoint, an image and its mirror image, ready for regions to be compared."""

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmtlalign.checkpoint.config_text import read_config_text
from mmtlalign.checkpoint.io import read_checkpoint
from mmtlalign.errors import InputError
from mmtlalign.validation.config import load_config
from mmtlalign.validation.samples import why_unreadable

# Shares of red, green and blue in grey (ITU-R BT.601).
GREY = (0.299, 0.587, 0.114)


def read_config(path: str | None, checkpoint: str, options: dict | None) -> Config:
    """The config named, or the one in the checkpoint, which is only read.

    Args:
        path: Of a config file, or None.
        checkpoint: A local file.
        options: Dotted key -> value, as of ``--cfg-options``.

    Raises:
        InputError: No config is named, and the checkpoint holds none.
    """
    if path:
        return load_config(path, options)
    advice = 'Name the checkpoint of a run.'
    content = read_checkpoint(checkpoint, 'CHECKPOINT', advice, 'meta')
    text = (content.get('meta') or {}).get('cfg')
    if not text:
        raise InputError(f'{checkpoint} holds no config: name it, --config FILE.')
    cfg = Config(read_config_text(text, checkpoint))
    cfg.merge_from_dict(options or {})
    return cfg


def read_picture(path: str, size: int) -> np.ndarray:
    """An RGB image (size, size, 3): shorter side to 8/7 of that, then its centre.

    Raises:
        InputError: The file is no image.
    """
    fault = why_unreadable(path)
    if fault:
        raise InputError(f"image '{path}' cannot be read: {fault}; name another file.")
    picture = mmcv.imread(path, channel_order='rgb')
    if picture.shape[:2] == (size, size):
        return picture
    factor = size * 8 / 7 / min(picture.shape[:2])
    picture = mmcv.imrescale(picture, factor, interpolation='bicubic')
    top, left = (side - size + 1 >> 1 for side in picture.shape[:2])
    return picture[top : top + size, left : left + size]


def second_view(picture: np.ndarray) -> np.ndarray:
    """The mirror image (H, W, 3) in grey of an RGB picture, uint8 both."""
    grey = np.rint(picture[:, ::-1] @ np.array(GREY)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def normalised(pictures: list[np.ndarray], data_preprocessor: nn.Module) -> Tensor:
    """RGB images (s, s, 3) as the model sees them (n, 3, s, s)."""
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    # Those that turn channels round expect BGR.
    turns = [
        getattr(data_preprocessor, n, 0) for n in ('to_rgb', '_channel_conversion')
    ]
    images = images.flip(1) if any(turns) else images
    return data_preprocessor(dict(inputs=images, data_samples=None))['inputs']
