"""Check that samples can be prepared, and that their labels can be right.

Errors, which name the files, when a sample is prepared are:

* an image or label image that is missing, empty, cut short or of another format;
* a mask that is a colour picture, or has ids of more than 8 bits;
* annotations of a picture of another size, or turned or mirrored
  (:mod:`mmtlalign.validation.pictures`);
* a label, or an id in a mask, that the model does not have;
* many masks in a row, from the first on, that are all void;
* a sample on which the data pipeline fails otherwise;
* images of different sizes in a batch that are stacked.

Without these checks, OpenCV fails on an empty file with an assertion of its C++ code
and returns ``None`` for a broken label image; a wrong class id is an assertion of a GPU
kernel; with a mask of another size, training silently uses shifted labels. The pipeline
of every data set is wrapped where the data loader is built, so that the stock data sets
of all hosts are covered.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from torch.utils.data import Dataset

from mmtlalign.compat.wrappers import walk_datasets
from mmtlalign.validation.broken import FILES, BrokenSampleError, explain, named
from mmtlalign.validation.pictures import AnnotationError, PictureCheck

# So many void masks in a row, from the first on, are an error.
VOID_MASKS = 32


class LabelError(AnnotationError):
    """The labels of a sample cannot be right; the caller adds the file names."""


def name_broken_samples(dataset: Dataset) -> None:
    """Wrap the pipelines of a data set and of those inside it in NamedPipeline."""
    for one in walk_datasets(dataset):
        pipeline = getattr(one, 'pipeline', None)
        if callable(pipeline) and not isinstance(pipeline, NamedPipeline):
            labels = LabelCheck(getattr(one, 'reduce_zero_label', None))
            one.pipeline = NamedPipeline(pipeline, labels)


def limit_labels(
    dataset: Dataset,
    classes: int,
    ignored: Iterable[int] = (),
    needs_labels: bool = False,
    one_label: bool = False,
) -> None:
    """Set which labels the checks of a data set allow.

    Args:
        dataset: Data set that :func:`name_broken_samples` has wrapped.
        classes: Labels are ``0 … classes - 1``; 0 for no limit.
        ignored: Ids of pixels that are ignored.
        needs_labels: Whether every image must have a label.
        one_label: Whether no image may have several.
    """
    for one in walk_datasets(dataset):
        pipeline = getattr(one, 'pipeline', None)
        if isinstance(pipeline, NamedPipeline):
            pipeline.labels.classes = classes
            pipeline.labels.ignored = frozenset(ignored)
            pipeline.labels.needs_labels = needs_labels
            pipeline.labels.one_label = one_label


def obeys_marks(dataset: Dataset) -> bool | None:
    """Return whether pictures are turned by EXIF marks; None if it is not known."""
    for one in walk_datasets(dataset):
        pipeline = getattr(one, 'pipeline', None)
        if isinstance(pipeline, NamedPipeline):
            return pipeline.pictures.obeys
    return None


class NamedPipeline:
    """A data pipeline whose errors name the files of the sample.

    Args:
        pipeline: The pipeline of a data set.
        labels: The checks of the labels of that data set.
    """

    def __init__(self, pipeline: Callable[[dict], Any], labels: 'LabelCheck'):
        self.pipeline: Any = pipeline
        self.labels = labels
        self.pictures = PictureCheck(pipeline)

    def __call__(self, results: dict) -> Any:
        """Run the pipeline and check the labels.

        Raises:
            BrokenSampleError: A step or a check has failed.
        """
        files = {key: results[key] for key in FILES if results.get(key)}
        try:
            results = self._run(results)
            self.labels.check_packed(results)
        except Exception as error:
            raise BrokenSampleError(explain(files, error)) from error
        return results

    def check_files(self, info: dict, mask: np.ndarray) -> None:
        """Check the files of a sample before training.

        Args:
            info: The sample before the pipeline.
            mask: Its mask as it is in the file.

        Raises:
            BrokenSampleError: A check has failed.
        """
        with named(info):
            self.pictures.check_headers(info)
            self.labels.check_loaded(dict(gt_seg_map=mask))

    def check_labels(self, info: dict, labels: np.ndarray) -> None:
        """Check the labels of a classification sample before training.

        Raises:
            BrokenSampleError: One is out of range, or there are several for a softmax.
        """
        with named(info):
            self.labels.check_count(labels.size)
            self.labels.check_range(labels)

    def check_ids(self, info: dict, ids: Iterable[int]) -> None:
        """Check the ids of a sample's mask, as training gets them.

        Raises:
            BrokenSampleError: An id is out of range.
        """
        with named(info):
            self.labels.find_void(np.array(sorted(ids)))

    def _run(self, results: dict) -> Any:
        """Run the pipeline, and check annotations before a step changes a size."""
        if type(self.pipeline) is not Compose:
            return self.pipeline(results)
        self.pictures.start(results)
        for transform in self.pipeline.transforms:
            had_mask = 'gt_seg_map' in results
            results = transform(results)
            if results is None:
                return None
            self.pictures.check(results)
            if not had_mask and 'gt_seg_map' in results:
                self.labels.check_loaded(results)
        return results

    def __getattr__(self, name: str) -> Any:
        # Hosts read `dataset.pipeline.transforms`. Copying and unpickling read
        # attributes before there is a pipeline.
        if name == 'pipeline':
            raise AttributeError(name)
        return getattr(self.pipeline, name)


class NamedCollate:
    """A collate function that names two files if images of a batch differ in shape.

    Args:
        collate: The collate function of a data loader.
    """

    def __init__(self, collate: Callable[[list], Any]):
        self.collate = collate

    def __call__(self, batch: list) -> Any:
        """Collate a batch.

        Raises:
            BrokenSampleError: The images cannot be stacked.
        """
        try:
            return self.collate(batch)
        except RuntimeError as error:
            shapes: dict[tuple, Any] = {}
            for sample in batch:
                image: Any = sample.get('inputs') if isinstance(sample, dict) else None
                if torch.is_tensor(image):
                    shapes.setdefault(tuple(image.shape), sample.get('data_samples'))
            if len(shapes) < 2:
                raise
            one, other = (
                f"'{getattr(sample, 'img_path', 'no file name')}' has {shape}"
                for shape, sample in list(shapes.items())[:2]
            )
            raise BrokenSampleError(
                f'images of a batch differ in shape (channels, height, width): {one} '
                f'and {other}. Bring all to one size in the pipeline of the data set, '
                "such as dict(type='Resize', scale=(224, 224))"
            ) from error


class LabelCheck:
    """The checks of one data set's labels.

    Args:
        reduce_zero_label: That of a segmentation data set; None if there are no masks.

    Attributes:
        classes: Labels are ``0 … classes - 1``; 0 for no limit.
        ignored: Ids of pixels that are ignored.
        needs_labels: Whether every image must have a label.
        one_label: Whether no image may have several.
    """

    def __init__(self, reduce_zero_label: bool | None = None):
        self.reduce_zero_label = reduce_zero_label
        self.classes: int = 0
        self.ignored: frozenset[int] = frozenset()
        self.needs_labels = False
        self.one_label = False
        # Void masks so far; None after the first mask with a class.
        self._void_masks: int | None = 0

    def check_loaded(self, results: dict) -> None:
        """Check a mask, ``gt_seg_map`` (H, W), right after it is read.

        Raises:
            LabelError: It is a colour picture.
        """
        shape = results['gt_seg_map'].shape
        if len(shape) != 2:
            raise LabelError(
                f'the mask has shape {shape}, a colour image, but a mask is one '
                'channel of class ids; write it again as an 8-bit PNG of ids'
            )

    def check_packed(self, results: Any) -> None:
        """Check the labels of a packed sample, which the model will get.

        Raises:
            LabelError: A label is missing or out of range.
        """
        sample: Any = None
        if isinstance(results, dict):
            sample = results.get('data_samples')
        # Test-time augmentation packs one sample for each view of the image.
        sample = sample[0] if isinstance(sample, list) and sample else sample
        if not self.classes or not hasattr(sample, 'get'):
            return
        if self.reduce_zero_label is not None:
            if 'gt_sem_seg' in sample:
                self._check_mask(sample.gt_sem_seg.data)
            return
        label = sample.get('gt_label')
        if label is None and self.needs_labels and sample.get('gt_score') is None:
            raise LabelError(
                'it has no label, but the head needs one label per image; label the '
                'data set (with_label=True, class folders or an ann_file with labels), '
                'and keep gt_label in the pipeline'
            )
        if torch.is_tensor(label):
            if sample.get('gt_score') is None:
                self.check_count(label.numel())
            self.check_range(label.numpy())

    def check_count(self, labels: int) -> None:
        """Check the number of labels of an image, else raise LabelError."""
        if self.one_label and labels != 1:
            raise LabelError(
                f'it has {labels} labels, but the softmax of the head needs one label '
                'per image; for several take a loss with use_sigmoid=True, such as '
                'that of MultiLabelLinearClsHead'
            )

    def check_range(self, labels: np.ndarray) -> None:
        """Check that the labels of an image are classes, else raise LabelError."""
        low, high = labels.min(initial=0), labels.max(initial=0)
        if low < 0 or high >= self.classes:
            raise LabelError(
                f'its label is {high if low >= 0 else low}, but the head has '
                f'num_classes={self.classes}, labels 0…{self.classes - 1}; '
                'correct the annotation, or num_classes'
            )

    def _check_mask(self, mask: torch.Tensor) -> None:
        """Check the ids of a mask, (1, H, W)."""
        values = mask.numpy().astype(np.int64, copy=False)
        beyond = self.find_void(values)
        if self._void_masks is None:
            return
        void = beyond.size == values.size
        self._void_masks = self._void_masks + 1 if void else None
        if self._void_masks == VOID_MASKS:
            raise LabelError(
                f'this and the {VOID_MASKS - 1} masks before it hold no class at all, '
                'every pixel is void; check a mask and reduce_zero_label, which is '
                f'{self.reduce_zero_label} (True makes 0 void)'
            )

    def find_void(self, values: np.ndarray) -> np.ndarray:
        """Return the ids, of any shape and int64, that are no class.

        Raises:
            LabelError: One is not ignored either.
        """
        # One pass over all pixels, and more only over those that are not a class;
        # negative ids are large as unsigned numbers.
        beyond = values[values.view(np.uint64) >= (self.classes or 1 << 63)]
        wrong = beyond
        for ignored in self.ignored:
            wrong = wrong[wrong != ignored]
        if wrong.size:
            raise LabelError(self._explain(np.unique(wrong).tolist()))
        return beyond

    def _explain(self, ids: list[int]) -> str:
        """Return a message with the wrong ids and their usual causes."""
        causes = []
        if self.reduce_zero_label:
            causes.append(
                'the ids already count from 0, and reduce_zero_label=True shifts them '
                'wrongly'
            )
        elif ids == [self.classes]:
            causes.append(
                'the ids count from 1 with 0 for void (as in ADE20K) and '
                'reduce_zero_label=True is missing in the data set and LoadAnnotations'
            )
        causes.append(
            'num_classes of the head is too small, or an id for void pixels is not '
            'ignored (map it to 255, or set ignore_index of the heads and the metric)'
        )
        shown = ', '.join(map(str, ids[:5])) + (' …' if len(ids) > 5 else '')
        void = ', '.join(map(str, sorted(self.ignored))) or 'none'
        return (
            f'the mask holds id {shown}, but the model has {self.classes} classes, '
            f'0…{self.classes - 1}, and ignores {void} '
            f'(reduce_zero_label={self.reduce_zero_label}). Usual causes: '
            + '; or '.join(causes)
        )
