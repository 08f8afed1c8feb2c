"""Read names and headers of picture files, without decoding the pictures."""

import os
from typing import NamedTuple

from PIL import Image

from mmtlalign.errors import InputError

# Suffixes of picture files, in lower case.
PICTURES = (
    *('.avif', '.bmp', '.gif', '.heic', '.jp2', '.jpeg', '.jpg', '.pgm', '.png'),
    *('.ppm', '.tif', '.tiff', '.webp'),
)
# Folders that operating systems make beside pictures.
MADE_BY_SYSTEMS = ('__MACOSX', '@eaDir', 'lost+found')
# The EXIF tag, and what its values do to a picture that is read. From 5 on width and
# height are swapped.
ORIENTATION = 0x0112
TURNS = {
    2: 'mirrored',
    3: 'rotated by 180 degrees',
    4: 'mirrored',
    5: 'rotated and mirrored',
    6: 'rotated by 90 degrees',
    7: 'rotated and mirrored',
    8: 'rotated by 90 degrees',
}
# Formats whose mark OpenCV and Pillow obey, as mmcv calls them.
OBEYED = ('JPEG', 'MPO', 'PNG', 'TIFF')
Size = tuple[int, int]


def is_hidden(path: str) -> bool:
    """Return whether a file, or a folder above it, is hidden or made by a system."""
    parts = path.replace(os.sep, '/').split('/')
    return any(part.startswith('.') or part in MADE_BY_SYSTEMS for part in parts)


class Header(NamedTuple):
    """The header of a picture file.

    Attributes:
        size: Width and height as they are stored.
        mark: EXIF orientation, 1 to 8; 1 means upright.
        mode: Pillow's image mode, such as 'RGB'.
        kind: Pillow's name of the format, such as 'PNG'.
    """

    size: Size
    mark: int
    mode: str
    kind: str

    @property
    def read_size(self) -> Size:
        """Width and height after the EXIF orientation is applied."""
        return self.size[::-1] if self.mark >= 5 else self.size


def read_header(path: str) -> Header | None:
    """Read the header of a picture file; None if that is not possible."""
    if '://' in path or not os.path.isfile(path):
        return None
    try:
        with Image.open(path) as image:
            mark = 1
            # `getexif` would decode a PNG without EXIF as a whole.
            if image.format in OBEYED and (
                image.format != 'PNG' or 'exif' in image.info
            ):
                mark = image.getexif().get(ORIENTATION, 1)
            mark = mark if mark in TURNS else 1
            return Header(image.size, mark, image.mode, image.format or '')
    except Exception:
        return None  # the fault is reported when the picture is decoded


def check_upright(path: str, what: str) -> None:
    """Check that it is certain where the annotations of an image lie.

    By an EXIF orientation the image is turned when it is read, and annotations may be
    made for the image before or after that, which at most its size shows.

    Args:
        path: The image.
        what: Kind of annotation, for the message, such as 'masks'. Its size is that of
            the image as it is read.

    Raises:
        InputError: The image has an orientation that the size does not show.
    """
    header = read_header(path)
    mark = header.mark if header else 1
    if header is None or mark == 1:
        return
    if mark >= 5 and header.size[0] != header.size[1]:
        return
    raise InputError(
        f"'{path}' is {TURNS[mark]} when it is read, by its EXIF orientation {mark}, "
        f'and its size does not show whether its {what} were made before or after '
        'that: save the image again without the orientation, as it was annotated.'
    )
