"""Labels that cannot be right: found in the data worker, told with their cause.

A class id that the model does not have fails much later, as an assertion of a GPU
kernel without file or id; a mask of another size than its image does not fail at
all, it trains on shifted labels.
"""

import numpy as np
import torch

__all__ = ['LabelCheck', 'LabelError']

# So many masks without a single class, from the first on, are no accident.
VOID_MASKS = 32


class LabelError(Exception):
    """The labels of a sample cannot be right; whoever catches it knows the files."""


class LabelCheck:
    """The checks of one data set's labels.

    Args:
        reduce_zero_label (bool, optional): Of a segmentation data set; None where
            samples have no masks. Defaults to None.
    """

    def __init__(self, reduce_zero_label=None):
        self.reduce_zero_label = reduce_zero_label
        self.classes, self.ignored = 0, frozenset()
        self.void_masks = 0

    def limit(self, classes: int, ignored=()) -> None:
        """Say which labels the model takes.

        Args:
            classes (int): Labels are ``0 … classes - 1``; 0 for no limit.
            ignored (Iterable[int]): Ids of pixels that count for nothing.
        """
        self.classes, self.ignored = classes, frozenset(ignored)

    def loaded(self, results: dict) -> None:
        """Check a mask just after it was read.

        Args:
            results (dict): ``gt_seg_map`` (H, W), ``ori_shape`` of the image.

        Raises:
            LabelError: If it is a colour picture or has not the image's size.
        """
        shape = results['gt_seg_map'].shape
        if len(shape) != 2:
            raise LabelError(
                f'the mask has shape {shape}, a colour picture, but a mask is one '
                'channel of class ids; write it anew as an 8-bit PNG of ids'
            )
        image = tuple(results.get('ori_shape', shape)[:2])
        if shape != image:
            hint = ''
            if shape == image[::-1]:
                hint = '; sides swapped: does the image carry an EXIF rotation?'
            raise LabelError(
                f'the image is {image[1]}x{image[0]} pixels but its mask '
                f'{shape[1]}x{shape[0]}{hint}; pair the right files, or write the mask '
                'anew in the size of the image'
            )

    def packed(self, results) -> None:
        """Check the labels of a sample as the model gets it.

        Args:
            results (dict): Of mmpretrain or mmseg, with ``data_samples``; others are
                let through.

        Raises:
            LabelError: If a label is none of the model's.
        """
        sample = results.get('data_samples') if isinstance(results, dict) else None
        # Test-time augmentation packs one for each view of the image.
        sample = sample[0] if isinstance(sample, list) and sample else sample
        if not self.classes or not hasattr(sample, 'get'):
            return
        if self.reduce_zero_label is not None:
            if 'gt_sem_seg' in sample:
                self._check_ids(sample.gt_sem_seg.data)
            return
        label = sample.get('gt_label')
        if torch.is_tensor(label) and label.numel():
            low, high = int(label.min()), int(label.max())
            if low < 0 or high >= self.classes:
                raise LabelError(
                    f'its label is {high if low >= 0 else low}, but the head has '
                    f'num_classes={self.classes}, labels 0…{self.classes - 1}; '
                    'correct the annotation, or num_classes'
                )

    def _check_ids(self, mask: torch.Tensor) -> None:
        """Check the ids of a mask, (1, H, W)."""
        # One pass over all pixels, more only over those that are no class; below
        # zero is far beyond as an unsigned number.
        values = mask.numpy().astype(np.int64, copy=False)
        beyond = values[values.view(np.uint64) >= self.classes]
        wrong = beyond
        for ignored in self.ignored:
            wrong = wrong[wrong != ignored]
        if wrong.size:
            raise LabelError(self._explain(np.unique(wrong).tolist()))
        if self.void_masks is None:
            return
        void = beyond.size == values.size
        self.void_masks = self.void_masks + 1 if void else None
        if self.void_masks == VOID_MASKS:
            raise LabelError(
                f'this and the {VOID_MASKS - 1} masks before it hold no class at all, '
                'every pixel is void; look at a mask, and at reduce_zero_label, which '
                f'is {self.reduce_zero_label} (True makes 0 void)'
            )

    def _explain(self, ids: list) -> str:
        """Say which ids are wrong and what usually makes them so."""
        shown = ', '.join(map(str, ids[:5])) + (' …' if len(ids) > 5 else '')
        void = ', '.join(map(str, sorted(self.ignored))) or 'none'
        causes = [
            'num_classes of the head is too small, or an id for void pixels is not '
            'ignored (map it to 255, or set ignore_index of the heads and the metric)'
        ]
        if ids == [self.classes] and not self.reduce_zero_label:
            causes.insert(
                0,
                'the ids count from 1 with 0 for void (as in ADE20K) and '
                'reduce_zero_label=True is missing in the data set and LoadAnnotations',
            )
        if self.reduce_zero_label:
            causes.insert(
                0,
                'the ids count from 0 already and reduce_zero_label=True '
                'shifts them once too often',
            )
        return (
            f'the mask holds id {shown}, but the model has {self.classes} classes, '
            f'0…{self.classes - 1}, and ignores {void} '
            f'(reduce_zero_label={self.reduce_zero_label}). Usual causes: '
            + '; or '.join(causes)
        )
