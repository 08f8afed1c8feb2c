"""Images with masks of their objects: Pascal VOC 2012, or any file in COCO's format.

Shapes: ``H, W`` pixels after resize and crop, ``n`` boxes. Boxes are ``x0, y0, x1, y1``
in pixels, ends exclusive.
"""

import os.path as osp
from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file
from PIL import Image

from mmtlalign.compat.image_files import check_upright
from mmtlalign.datasets.coco_entries import check_masks
from mmtlalign.datasets.coco_file import check_entries, read_json
from mmtlalign.errors import InputError
from mmtlalign.registry import DATASETS

VOID = 255
VOC_CLASSES = (
    'aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse '
    'motorbike person pottedplant sheep sofa train tvmonitor'
).split()
VOC_FOLDERS = dict(
    img_path='JPEGImages',
    seg_map_path='SegmentationClass',
    instance_path='SegmentationObject',
)


@DATASETS.register_module()
class SegmentedObjects(BaseDataset):
    """Images with the masks and boxes of their objects, to compare attention with.

    The *object* of an image is the category that covers most pixels after the crop, all
    its instances together. A sample has, beside ``img`` (BGR uint8): ``gt_seg_map`` (H,
    W) uint8, 0 background, 255 void, else the category from 1 on; ``object_class``,
    the category of the object, 0 if there is none; ``object_mask`` (H, W) bool;
    ``object_boxes`` (n, 4) of its instances. A config packs them by
    ``dict(type='PackInputs', algorithm_keys=('gt_seg_map', 'object_mask',
    'object_boxes'))``.

    Resize and crop are done here, so that image and masks are treated alike.

    Args:
        ann_file (str): A file in COCO's format (``.json``), or VOC's list of names.
            Defaults to VOC's 'ImageSets/Segmentation/val.txt'.
        data_root (str): Folder that the other paths are in. Defaults to ''.
        data_prefix (dict, optional): Folders: ``img_path``, and for VOC also
            ``seg_map_path`` and ``instance_path``. Defaults to None: VOC's own names,
            or ``data_root`` itself for COCO.
        resize (int | Sequence[int], optional): Short side in pixels, or height and
            width whatever the aspect ratio. Defaults to None: the size of the file.
        crop (int | Sequence[int], optional): Side, or height and width, of a centre
            crop. Defaults to None: no crop.
        interpolation (str): Of the image, see ``mmcv.imresize``; masks are resized
            with nearest neighbour. Defaults to 'bilinear'.
        **kwargs: Arguments of mmengine's ``BaseDataset``.

    Raises:
        InputError: The file has another format, wrong entries, no masks, or too many
            categories; image and masks differ in size; the EXIF orientation of an image
            may turn it away from its masks; or a crop is larger than its image.
    """

    def __init__(
        self,
        ann_file: str = 'ImageSets/Segmentation/val.txt',
        data_root: str = '',
        data_prefix: dict | None = None,
        resize: int | Sequence[int] | None = None,
        crop: int | Sequence[int] | None = None,
        interpolation: str = 'bilinear',
        **kwargs: Any,
    ):
        self.is_coco = ann_file.endswith('.json')
        if data_prefix is None:
            data_prefix = dict(img_path='') if self.is_coco else dict(VOC_FOLDERS)
        self.resize = resize
        self.crop = (crop, crop) if isinstance(crop, int) else crop
        self.interpolation = interpolation
        super().__init__(
            ann_file=ann_file, data_root=data_root, data_prefix=data_prefix, **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """List the images, with the files or polygons of their masks."""
        return self._list_coco() if self.is_coco else self._list_voc()

    def prepare_data(self, idx: int) -> Any:
        """Load image and masks of one sample, and pass them through the pipeline."""
        return self.pipeline(self.load(self.get_data_info(idx)))

    def load(self, info: dict) -> dict:
        """Load, resize and crop image and masks, and choose the object."""
        image = mmcv.imread(info['img_path'])
        size = image.shape[:2]
        classes, instances = (_draw_coco if self.is_coco else _read_voc)(info)
        if classes.shape != size or instances.shape != size:
            raise InputError(
                f"'{info['img_path']}' has {size[0]} x {size[1]} pixels, but its masks "
                f'have {classes.shape} and {instances.shape}: give the masks of this '
                'image.'
            )
        check_upright(info['img_path'], 'masks')
        image, classes, instances = self._fit(image, classes, instances)
        results = dict(
            {key: info[key] for key in ('img_path', 'sample_idx')},
            img=image,
            ori_shape=size,
            img_shape=image.shape[:2],
            gt_seg_map=classes,
        )
        return dict(results, **choose_object(classes, instances))

    def _fit(self, image: np.ndarray, *maps: np.ndarray) -> list[np.ndarray]:
        """Resize and crop an image and its maps."""
        height, width = image.shape[:2]
        if isinstance(self.resize, int):
            # Rounded as by mmpretrain's ResizeEdge.
            short = self.resize
            if width < height:
                height, width = int(short * height / width), short
            else:
                height, width = short, int(short * width / height)
        elif self.resize is not None:
            height, width = self.resize
        image = mmcv.imresize(image, (width, height), interpolation=self.interpolation)
        nearest = cv2.INTER_NEAREST
        fitted = [
            image,
            *(cv2.resize(m, (width, height), None, 0, 0, nearest) for m in maps),
        ]
        if self.crop is None:
            return fitted
        high, wide = self.crop
        if high > height or wide > width:
            raise InputError(
                f'crop={high, wide} is larger than the resized image, {height} x '
                f'{width}: resize it to a larger size.'
            )
        top, left = round((height - high) / 2), round((width - wide) / 2)
        return [m[top : top + high, left : left + wide].copy() for m in fitted]

    def _list_voc(self) -> list[dict]:
        self._metainfo.setdefault('classes', tuple(VOC_CLASSES))
        endings = dict(img_path='.jpg', seg_map_path='.png', instance_path='.png')
        return [
            {
                key: osp.join(self.data_prefix[key], name.strip() + ending)
                for key, ending in endings.items()
            }
            for name in list_from_file(self.ann_file)
            if name.strip()
        ]

    def _list_coco(self) -> list[dict]:
        content = read_json(self.ann_file)
        check_entries(content, self.ann_file)
        check_masks(content, f"'{self.ann_file}'")
        categories = sorted(content['categories'], key=lambda one: one['id'])
        if len(categories) >= VOID:
            raise InputError(
                f"'{self.ann_file}' has {len(categories)} categories, but a label map "
                f'can hold {VOID - 1}: leave some out.'
            )
        self._metainfo.setdefault('classes', tuple(c['name'] for c in categories))
        numbers = {one['id']: i for i, one in enumerate(categories, 1)}
        found: dict[Any, dict] = {
            one['id']: dict(
                img_path=osp.join(self.data_prefix['img_path'], one['file_name']),
                size=(one['height'], one['width']),
                objects=[],
            )
            for one in content['images']
        }
        for one in content['annotations']:
            if one['image_id'] in found and one.get('segmentation'):
                category = VOID if one.get('iscrowd') else numbers[one['category_id']]
                objects = found[one['image_id']]['objects']
                objects.append((category, one['segmentation']))
        if not any(image['objects'] for image in found.values()):
            raise InputError(
                f"'{self.ann_file}' has {len(found)} images and no object with a mask "
                "('segmentation'): give a COCO file with masks."
            )
        return list(found.values())


def choose_object(classes: np.ndarray, instances: np.ndarray) -> dict[str, Any]:
    """Return the category of most pixels, its mask, and the boxes of its instances.

    Args:
        classes: (H, W), 0 background, 255 void, else the category.
        instances: (H, W), numbers of the instances.

    Returns:
        ``object_class`` (the lowest in a tie, 0 if there is no object),
        ``object_mask`` (H, W) bool, ``object_boxes`` (n, 4) int64.
    """
    counts = np.bincount(classes.ravel(), minlength=VOID + 1)
    counts[[0, VOID]] = 0
    chosen = int(counts.argmax()) if counts.any() else 0
    mask = (classes == chosen) & (chosen > 0)
    boxes = []
    for number in np.unique(instances[mask]):
        rows, columns = np.nonzero(mask & (instances == number))
        ends = columns.max() + 1, rows.max() + 1
        boxes.append((columns.min(), rows.min(), *ends))
    return dict(
        object_class=chosen,
        object_mask=mask,
        object_boxes=np.array(boxes, np.int64).reshape(-1, 4),
    )


def _read_voc(info: dict) -> tuple[np.ndarray, np.ndarray]:
    """Read the maps of classes and instances (height, width) of VOC."""
    paths = info['seg_map_path'], info['instance_path']
    classes, instances = (np.array(Image.open(path)) for path in paths)
    if classes.ndim != 2:
        raise InputError(
            f"'{paths[0]}' is a colour image, but class ids are needed: give a PNG "
            'with a palette.'
        )
    return classes, instances.astype(np.uint16)


def _draw_coco(info: dict) -> tuple[np.ndarray, np.ndarray]:
    """Draw COCO's maps of classes and instances, small objects on top of large ones."""
    classes = np.zeros(info['size'], np.uint8)
    instances = np.zeros(info['size'], np.uint16)
    masks = [_decode(segmentation, info['size']) for _, segmentation in info['objects']]
    order = sorted(range(len(masks)), key=lambda i: -masks[i].sum())
    for number, index in enumerate(order, 1):
        classes[masks[index]] = info['objects'][index][0]
        instances[masks[index]] = number
    return classes, instances


def _decode(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Decode COCO's polygons or run-length encoding to a (height, width) bool mask."""
    try:
        from pycocotools import mask as coder
    except ImportError as error:
        raise InputError(
            "Masks in COCO's format need pycocotools: pip install pycocotools."
        ) from error
    if isinstance(segmentation, list):
        parts = coder.frPyObjects(segmentation, *size)
        return coder.decode(coder.merge(parts)).astype(bool)
    if isinstance(segmentation['counts'], list):
        segmentation = coder.frPyObjects(segmentation, *size)
    return coder.decode(segmentation).astype(bool)
