"""The images of a folder as inputs of an annotator: whole, or centre-cropped."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from mmtlalign.compat.image_files import ORIENTATION, is_hidden
from mmtlalign.errors import InputError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.ppm', '.webp', '.tif', '.tiff')


def list_images(root: str | Path) -> list[str]:
    """List the images below a folder: relative paths, sorted, with forward slashes.

    Raises:
        InputError: There are none.
    """
    names = [
        os.path.relpath(os.path.join(folder, file), root).replace(os.sep, '/')
        for folder, _, files in os.walk(root, followlinks=True)
        for file in files
        if file.lower().endswith(SUFFIXES)
    ]
    # Training skips hidden files and folders, such as .ipynb_checkpoints.
    names = [name for name in names if not is_hidden(name)]
    if not names:
        raise InputError(f'{root} contains no images ({", ".join(SUFFIXES)})')
    return sorted(names)


@dataclass
class AnnotatorImages(Dataset):
    """Images resized to one size, each RGB (3, H, W) uint8.

    Attributes:
        root: Their folder.
        names: Relative paths.
        size: Rows and columns in pixels.
        centre_crop: Resize the short side and crop the centre, as the official code
            does. Training assumes that the map covers the whole image, which is then
            true of square images only. Defaults to False: both sides are resized.
    """

    root: str | Path
    names: Sequence[str]
    size: tuple[int, int]
    centre_crop: bool = False

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return an image, RGB (3, H, W) uint8.

        Raises:
            InputError: The file is not an image.
        """
        file = os.path.join(self.root, self.names[index])
        try:
            with Image.open(file) as opened:
                # Pillow clips 16 bits to 8; mmcv divides them.
                wide = opened.mode.startswith(('I', 'F'))
                marked = opened.getexif().get(ORIENTATION, 1) != 1
                image = opened.convert('RGB')
            if marked or wide:
                # As in training.
                image = Image.fromarray(mmcv.imread(file, channel_order='rgb'))
        except (OSError, SyntaxError, ValueError, cv2.error) as error:
            raise InputError(
                f'{file} cannot be read as an image ({error}): repair or remove it'
            ) from error
        rows, columns = self.size
        box = None
        if self.centre_crop:
            scale = min(image.width / columns, image.height / rows)
            width, height = columns * scale, rows * scale
            left, top = (image.width - width) / 2, (image.height - height) / 2
            box = (left, top, left + width, top + height)
        image = image.resize((columns, rows), Image.Resampling.BICUBIC, box=box)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
