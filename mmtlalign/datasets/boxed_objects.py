"""Images with ground-truth boxes: ImageNet's own, or those of a ``localization.txt``.

Boxes are ``x0, y0, x1, y1`` in pixels; ``n`` is their number.
"""

import os.path as osp
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine.dataset import BaseDataset

from mmtlalign.errors import InputError, some_of
from mmtlalign.registry import DATASETS

SIDES = ('xmin', 'ymin', 'xmax', 'ymax')


@DATASETS.register_module()
class BoxedObjects(BaseDataset):
    """Images with the ground-truth boxes of their objects, to measure localisation.

    A sample has, beside ``img`` (BGR uint8), ``object_boxes`` (n, 4) int64 in pixels of
    the resized image, fractions cut off as wsolevaluation does (Choe et al., CVPR
    2020). Images without a box are left out, because no accuracy counts them. Images
    are read as they are stored, without their EXIF orientation; boxes are taken to be
    of these pixels.

    Args:
        ann_file (str): A folder of ImageNet's annotations (``ILSVRC2012_bbox_val_v3``,
            one XML file per image, in subfolders or not), or a ``localization.txt`` of
            wsolevaluation, with lines ``name,x0,y0,x1,y1``.
        data_root (str): Folder that the other paths are in. Defaults to ''.
        data_prefix (dict): ``img_path``, the folder of the images, which may lie in its
            subfolders. Defaults to ``dict(img_path='')``.
        resize (Sequence[int], optional): Height and width to which images are resized,
            whatever their aspect ratio. Defaults to None: the size of the file.
        interpolation (str): See ``mmcv.imresize``. Defaults to 'bilinear'.
        **kwargs: Arguments of mmengine's ``BaseDataset``.

    Raises:
        InputError: The annotations have another format, an image is missing, or its
            boxes are of an image of another size.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: dict | None = None,
        resize: Sequence[int] | None = None,
        interpolation: str = 'bilinear',
        **kwargs: Any,
    ):
        self.resize = resize
        self.interpolation = interpolation
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix or dict(img_path=''),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """List the images that have a box."""
        if osp.isdir(self.ann_file):
            files = sorted(Path(self.ann_file).rglob('*.xml'))
            if not files:
                raise InputError(
                    f"'{self.ann_file}' has no .xml files: unpack "
                    'ILSVRC2012_bbox_val_v3.tgz there, or name a localization.txt.'
                )
            entries = [read_annotation(file) for file in files]
        else:
            boxes = read_boxes(self.ann_file)
            entries = [(name, None, boxes[name]) for name in boxes]
        folder = Path(self.data_prefix['img_path'])
        places = defaultdict(list)
        for path in sorted(folder.rglob('*.JPEG')):
            places[path.name].append(path)
        return [
            dict(img_path=str(find_image(folder, name, places)), boxes=boxes, size=size)
            for name, size, boxes in entries
            if len(boxes)
        ]

    def prepare_data(self, idx: int) -> Any:
        """Load image and boxes of one sample, and pass them through the pipeline."""
        return self.pipeline(self.load(self.get_data_info(idx)))

    def load(self, info: dict) -> dict:
        """Load and resize an image, and its boxes with it."""
        path, boxes = info['img_path'], info['boxes']
        if not osp.isfile(path):
            raise InputError(
                f"'{path}' has box annotations, but the image does not exist. Correct "
                'data_prefix, the folder of the images.'
            )
        image = mmcv.imread(path, 'color_ignore_orientation')
        size = image.shape[:2]
        declared = info['size'] or size
        # The end of a box may be one past the last pixel.
        if declared != size or (boxes[:, 2:].max(axis=0) > size[::-1]).any():
            raise InputError(
                f"'{path}' has {size[1]} x {size[0]} pixels, but its boxes are for an "
                f'image of {max(declared[1], boxes[:, 2].max()):g} x '
                f'{max(declared[0], boxes[:, 3].max()):g}: give the images in the size '
                'that was annotated.'
            )
        if self.resize is not None:
            height, width = self.resize
            image = mmcv.imresize(
                image, (width, height), interpolation=self.interpolation
            )
        results = {key: info[key] for key in ('img_path', 'sample_idx')}
        return dict(
            results,
            img=image,
            ori_shape=size,
            img_shape=image.shape[:2],
            object_boxes=scaled_boxes(boxes, size, image.shape[:2]),
        )


def find_image(folder: Path, name: str, places: Mapping[str, list[Path]]) -> Path:
    """Return the image of an annotation, which may lie in any subfolder.

    Classifiers need class folders, which annotations do not name.

    Args:
        folder: The folder of the images.
        name: Path of the image in the annotation.
        places: File name to the images that have it.

    Raises:
        InputError: The path does not exist, and several images have this file name.
    """
    path = folder / name
    found = places.get(path.name) or [path]
    if path in found:
        return path
    if len(found) > 1:
        raise InputError(
            f"'{path}' has box annotations but does not exist, and several images have "
            f'its name ({some_of(found, 3)}): name its folder in the annotation, or '
            'correct data_prefix.'
        )
    return found[0]


def scaled_boxes(
    boxes: np.ndarray, image_size: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Scale ground-truth boxes (n, 4) with the image; fractions are cut off.

    Args:
        boxes: In pixels of the image.
        image_size: Height and width of the image.
        size: Height and width it is resized to.
    """
    # First * and then /, as in the official code: the other order may round to just
    # below a whole number.
    new, old = np.array([*size[::-1]] * 2), np.array([*image_size[::-1]] * 2, float)
    return (np.asarray(boxes, float).reshape(-1, 4) * new / old).astype(np.int64)


def read_boxes(path: str | Path) -> dict[str, np.ndarray]:
    """Read the boxes of a ``localization.txt``: lines ``name,x0,y0,x1,y1``.

    Returns:
        Name of an image to its boxes (n, 4).

    Raises:
        InputError: A line has another form.
    """
    found: dict[str, list[list[float]]] = {}
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        name, *sides = line.split(',')
        try:
            box = [float(side) for side in sides]
        except ValueError:
            box = []
        if len(box) != 4:
            raise InputError(f"'{path}', line {number}: no 'name,x0,y0,x1,y1': {line}")
        found.setdefault(name, []).append(box)
    return {name: np.array(boxes) for name, boxes in found.items()}


def read_annotation(path: Path) -> tuple[str, tuple[int, int] | None, np.ndarray]:
    """Read an annotation of ImageNet (or VOC), an XML file.

    Returns:
        Name of the image, its height and width, and its boxes (n, 4).

    Raises:
        InputError: The file has another form.
    """
    try:
        root = ElementTree.parse(path).getroot()
        size = [int(root.findtext(f'size/{side}', '')) for side in ('height', 'width')]
        boxes = [
            [float(box.findtext(side, '')) for side in SIDES]
            for box in root.iterfind('object/bndbox')
        ]
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(
            f"'{path}' is not an ImageNet annotation with size and bndbox ({error})."
        ) from error
    name = root.findtext('filename') or path.stem
    return (
        f'{name.removesuffix(".JPEG")}.JPEG',
        (size[0], size[1]),
        np.array(boxes).reshape(-1, 4),
    )
