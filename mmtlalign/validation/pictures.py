"""Check that annotations lie on the picture as it was when it was annotated.

If a picture was resized after it was annotated, or if an orientation mark (EXIF) turns
or mirrors it when it is read, its boxes and masks are at the wrong places. For every
sample, this compares the size that the annotation declares with that of the picture
as it was read, and looks at its mark.
"""

from collections.abc import Callable
from typing import Any

from mmtlalign.compat.image_files import TURNS, Size, read_header
from mmtlalign.compat.wrappers import flat_steps, is_a, is_stock
from mmtlalign.validation.mask_files import depth_fault, format_fault, read_mask

# Endings of color_type and imdecode_backend with which mmcv ignores EXIF marks.
IGNORING = ('ignore_orientation', 'unchanged', 'turbojpeg', 'tifffile')


class AnnotationError(Exception):
    """An annotation cannot be right; the caller adds the names of the files."""


class PictureCheck:
    """The check of the pictures of one data set.

    Args:
        pipeline: Pipeline of the data set.
    """

    def __init__(self, pipeline: Callable):
        steps = list(flat_steps(pipeline))
        self.reads_masks = any(is_a(step, 'LoadAnnotations') for step in steps)
        loads = [step for step in steps if is_a(step, 'LoadImageFromFile')]
        kinds = {
            str(getattr(step, name, ''))
            for step in loads
            for name in ('color_type', 'imdecode_backend')
        }
        self.stock = is_stock(pipeline)
        self.obeys = not any(kind.endswith(IGNORING) for kind in kinds)
        self.declared: Size | None = None
        self.path: Any = None
        self.what, self.done = '', True

    def start(self, results: dict) -> None:
        """Read the size that the annotation declares, before the pipeline runs.

        Raises:
            AnnotationError: A mask has ids of more than 8 bits, or a lossy format.
        """
        self.declared, self.done, self.what = None, 'img' in results, 'annotation'
        self.path = results.get('img_path')
        size: Any = (results.get('width'), results.get('height'))
        mask = results.get('seg_map_path') if self.reads_masks else None
        if 'instances' in results and all(
            isinstance(side, (int, float)) for side in size
        ):
            self.declared = size
        elif mask:
            header = read_header(mask)
            self.what = 'mask'
            if header is not None:
                self.declared = header.size
            if header is not None:
                fault = format_fault(header.kind) if self.stock else ''
                if header.mode.startswith(('I', 'F')):
                    fault = depth_fault(read_mask(mask))
                if fault:
                    raise AnnotationError(f'the mask {fault}')
        self.done |= self.declared is None or not isinstance(self.path, str)

    def check_headers(self, results: dict) -> None:
        """Check the files of a sample without decoding the picture.

        Raises:
            AnnotationError: See :meth:`start` and :meth:`check`.
        """
        self.start(results)
        header = None if self.done else read_header(self.path)
        if header is not None:
            width, height = header.read_size if self.obeys else header.size
            self.check(dict(ori_shape=(height, width)))

    def check(self, results: dict) -> None:
        """Check the picture as soon as it is read.

        Raises:
            AnnotationError: The annotation has another size, or the picture was turned
                or mirrored when it was read, and the sizes do not show whether the
                annotation was made before or after that.
        """
        declared = self.declared
        if self.done or declared is None or 'ori_shape' not in results:
            return
        self.done = True
        height, width = results['ori_shape'][:2]
        loaded, header = (width, height), read_header(self.path)
        mark = header.mark if header and self.obeys else 1
        ways = (
            'if it was annotated as viewers show it, save the image again upright and '
            'without EXIF orientation; if it was annotated as stored, set '
            "color_type='color_ignore_orientation' of LoadImageFromFile in every "
            'pipeline'
        )
        if loaded != tuple(declared):
            hint = f'pair the right files, or make the {self.what} again for this size'
            if mark >= 5 and loaded == tuple(declared)[::-1]:
                hint = (
                    f'its EXIF orientation {mark} means that it is {TURNS[mark]}: '
                    f'{ways}'
                )
            raise AnnotationError(
                f'the image is {width}x{height} pixels but its {self.what} '
                f'{declared[0]}x{declared[1]}; {hint}'
            )
        if mark != 1 and (mark < 5 or width == height):
            raise AnnotationError(
                f'by its EXIF orientation {mark} the image is {TURNS[mark]} when it is '
                f'read, and its size does not show whether its {self.what} was made '
                f'for the image before or after that; {ways}'
            )
