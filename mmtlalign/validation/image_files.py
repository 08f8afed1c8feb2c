"""What a folder and the header of a picture file tell without decoding it."""

import os
from typing import NamedTuple

from PIL import Image

# Endings of pictures, in lower case.
PICTURES = (
    *('.avif', '.bmp', '.gif', '.heic', '.jp2', '.jpeg', '.jpg', '.pgm', '.png'),
    *('.ppm', '.tif', '.tiff', '.webp'),
)
# Folders that systems make beside pictures.
MADE_BY_SYSTEMS = ('__MACOSX', '@eaDir', 'lost+found')
# EXIF tag; what the marks do when a picture is read. From 5 on sides are swapped.
ORIENTATION = 0x0112
TURNS = {
    2: 'mirrored',
    3: 'turned by 180 degrees',
    4: 'mirrored',
    5: 'turned and mirrored',
    6: 'turned by 90 degrees',
    7: 'turned and mirrored',
    8: 'turned by 90 degrees',
}
# OpenCV and Pillow, as mmcv calls them, obey the mark of these.
OBEYED = ('JPEG', 'MPO', 'PNG', 'TIFF')
Size = tuple[int, int]


def is_hidden(path: str) -> bool:
    """Return whether a file or a folder above it is hidden, or a system's own."""
    parts = path.replace(os.sep, '/').split('/')
    return any(part.startswith('.') or part in MADE_BY_SYSTEMS for part in parts)


class Header(NamedTuple):
    """What the header of a picture says.

    Attributes:
        size: Width and height as they are stored.
        mark: Orientation of EXIF, 1 to 8; 1 means as it is.
        mode: Pillow's name of the kind of its pixels.
    """

    size: Size
    mark: int
    mode: str

    @property
    def read_size(self) -> Size:
        """Width and height as training reads it."""
        return self.size[::-1] if self.mark >= 5 else self.size


def read_header(path: str) -> Header | None:
    """Read the header of a picture file; None if that is not possible."""
    if '://' in path or not os.path.isfile(path):
        return None
    try:
        with Image.open(path) as image:
            mark = 1
            # Of a PNG the mark is asked for without decoding it all.
            if image.format in OBEYED and (
                image.format != 'PNG' or 'exif' in image.info
            ):
                mark = image.getexif().get(ORIENTATION, 1)
            return Header(image.size, mark if mark in TURNS else 1, image.mode)
    except Exception:
        return None  # whoever decodes it names the fault
