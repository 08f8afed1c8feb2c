"""Metrics for a config's ``test_evaluator``: subsets, ReaL, corruptions, calibration.

Fractions are in percent, as in mmpretrain's ``Accuracy``.

Shapes: ``B`` images of a batch, ``K`` classes, ``L`` most labels of an image.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmtlalign.datasets.corrupted import CORRUPTIONS, SEVERITIES
from mmtlalign.errors import InputError
from mmtlalign.evaluation.accuracy import (
    NO_LABEL,
    accuracy,
    correct_in_top,
    has_label,
)
from mmtlalign.evaluation.calibration import (
    adaptive_rms_error,
    aurra,
    calibration_errors,
    confidences,
    reliability_bins,
    soft_f1,
)
from mmtlalign.evaluation.corruptions import corruption_errors
from mmtlalign.evaluation.image_metric import ImageMetric
from mmtlalign.evaluation.out_of_distribution import detect_unknown
from mmtlalign.registry import METRICS

# mmdet cannot be imported with mmcv-lite, which has no operators.
if find_spec('mmdet') and find_spec('mmcv._ext'):
    import mmtlalign.evaluation.coco_metric  # noqa: F401


@METRICS.register_module()
class SubsetAccuracy(ImageMetric):
    """Accuracy among some of the classes, such as the 200 of ImageNet-A.

    It reports ``top1``, …, and ``standard_error`` of the first, in percent. An image
    with several labels is right if one of them is; images without label are left out.

    Args:
        which (str, optional): Subset of ImageNet: ``'a'``, ``'r'`` or ``'o'``.
            Defaults to None.
        classes (Sequence[int], optional): Indices of the classes in its place; all
            classes if both are None. Defaults to None.
        topk (Sequence[int]): Values of k for top-k accuracy. Defaults to (1, 5).
        **kwargs: As in mmengine's ``BaseMetric``: ``prefix``, ``collect_device``.

    Raises:
        InputError: The model has other classes, or a label is not one of the classes.
    """

    default_prefix = 'subset'

    def __init__(
        self,
        which: str | None = None,
        classes: Sequence[int] | None = None,
        topk: Sequence[int] = (1, 5),
        **kwargs: Any,
    ):
        super().__init__(which, classes, **kwargs)
        self.topk = tuple(topk)
        if self.classes is not None and max(self.topk) > len(self.classes):
            raise InputError(
                f'topk={self.topk} of {len(self.classes)} classes: no k may be larger '
                'than the number of classes'
            )

    def values(
        self, scores: Tensor, labels: Tensor, samples: Sequence[dict]
    ) -> dict[str, Any]:
        """Return which images are right, and which have a label."""
        scores, labels = self.restricted(scores, labels)
        right = {f'top{k}': correct_in_top(scores, labels, k) for k in self.topk}
        return {**right, 'counts': has_label(labels)}

    def figures(self, values: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the accuracies."""
        counts = torch.from_numpy(values['counts'])
        found = [
            accuracy(torch.from_numpy(values[f'top{k}']), counts) for k in self.topk
        ]
        shares = {f'top{k}': 100 * one.accuracy for k, one in zip(self.topk, found)}
        return {**shares, 'standard_error': 100 * found[0].standard_error}


@METRICS.register_module()
class ReaLAccuracy(SubsetAccuracy):
    """Accuracy where any of several labels is right, for ``mmtlalign.ImageNetReaL``.

    Args:
        topk (Sequence[int]): Values of k for top-k accuracy. Defaults to (1, 5).
        **kwargs: As in mmengine's ``BaseMetric``.
    """

    default_prefix = 'real'

    def __init__(self, topk: Sequence[int] = (1, 5), **kwargs: Any):
        super().__init__(topk=topk, **kwargs)


@METRICS.register_module()
class CorruptionError(ImageMetric):
    """Top-1 error by corruption, their mean, and mCE on the files of ImageNet-C.

    It reports in percent ``mean_error`` over all corruptions and severities and
    ``error/NAME`` of each corruption; with ``mmtlalign.ImageNetC`` and all 15
    corruptions and 5 severities also ``mce`` and ``ce/NAME``, divided by AlexNet's
    errors.

    Args:
        clean_error (float, optional): The model's error on clean images, a fraction.
            Defaults to None.
        alexnet_clean_error (float, optional): AlexNet's error on clean images; if both
            are given, ``relative_mce`` is reported. Defaults to None.
        **kwargs: As in mmengine's ``BaseMetric``.

    Raises:
        InputError: Samples lack the fields of their corruption.
    """

    default_prefix = 'corruption'

    def __init__(
        self,
        clean_error: float | None = None,
        alexnet_clean_error: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.clean = dict(
            clean_error=clean_error, alexnet_clean_error=alexnet_clean_error
        )

    def values(
        self, scores: Tensor, labels: Tensor, samples: Sequence[dict]
    ) -> dict[str, Any]:
        """Return which images are right, and how they were corrupted."""
        fields = ('corruption', 'severity')
        if any(field not in sample for sample in samples for field in fields):
            raise InputError(
                'CorruptionError: samples have no fields corruption and severity; set '
                "PackInputs(meta_keys=('sample_idx', 'img_path', 'corruption', "
                "'severity')) after mmtlalign.ImageNetC, CIFARC or Corrupt"
            )
        right = correct_in_top(scores, self.single(labels))
        return {'top1': right} | {f: [s[f] for s in samples] for f in fields}

    def figures(self, values: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the errors."""
        wrong, errors = 1 - values['top1'], {}
        for name in dict.fromkeys(values['corruption'].tolist()):
            own = values['corruption'] == name
            cells = [own & (values['severity'] == level) for level in SEVERITIES]
            errors[name] = [wrong[cell].mean().item() for cell in cells if cell.any()]
        means = {name: 100 * float(np.mean(own)) for name, own in errors.items()}
        found = {'mean_error': float(np.mean(list(means.values())))}
        found |= {f'error/{name}': value for name, value in means.items()}
        whole = all(len(errors.get(n, ())) == len(SEVERITIES) for n in CORRUPTIONS)
        # AlexNet's errors are only valid for the published files.
        if whole and (self.dataset_meta or {}).get('dataset_name') == 'ImageNet-C':
            by_alexnet = corruption_errors(errors, **self.clean)
            found['mce'] = by_alexnet.mce
            if by_alexnet.relative_mce is not None:
                found['relative_mce'] = by_alexnet.relative_mce
            found |= {f'ce/{n}': ce for n, ce in by_alexnet.by_corruption.items()}
        return found


@METRICS.register_module()
class Calibration(ImageMetric):
    """Calibration errors, which compare a model's confidence with its accuracy.

    It reports in percent ``accuracy``, ``ece`` and ``max_error`` of bins of equal
    width, ``rms`` of bins with equal numbers of images, ``aurra`` and ``soft_f1`` (the
    last three as in Natural Adversarial Examples, CVPR 2021); and ``nll`` in nats and
    ``brier``, 0 to 2.

    Args:
        which (str, optional): Subset of ImageNet to whose classes the model's choice is
            restricted: ``'a'``, ``'r'`` or ``'o'``. Defaults to None.
        classes (Sequence[int], optional): Indices of the classes in its place.
            Defaults to None.
        bins (int): Number of bins of equal width. Defaults to 15.
        bin_size (int): Images per bin of ``rms``. Defaults to 100.
        official_last_bin (bool): Whether ``rms`` leaves out the most confident images,
            as the official code does by mistake. Defaults to False.
        **kwargs: As in mmengine's ``BaseMetric``.
    """

    default_prefix = 'calibration'

    def __init__(
        self,
        which: str | None = None,
        classes: Sequence[int] | None = None,
        bins: int = 15,
        bin_size: int = 100,
        official_last_bin: bool = False,
        **kwargs: Any,
    ):
        super().__init__(which, classes, **kwargs)
        if min(bins, bin_size) < 1:
            raise InputError(f'bins={bins}, bin_size={bin_size}: give 1 or more')
        self.bins = bins
        self.bin_size, self.official_last_bin = bin_size, official_last_bin

    def values(
        self, scores: Tensor, labels: Tensor, samples: Sequence[dict]
    ) -> dict[str, Any]:
        """Return confidence, whether it is right, log-likelihood and Brier score."""
        scores, label = self.restricted(scores, self.single(labels))
        confidence, predicted = confidences(scores)
        probability = scores.softmax(1)
        own = probability.gather(1, label[:, None])[:, 0]
        return dict(
            confidence=confidence,
            top1=predicted == label.numpy(),
            nll=-own.clamp_min(1e-45).log(),
            brier=probability.square().sum(1) - 2 * own + 1,
        )

    def figures(self, values: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the calibration errors."""
        pairs = values['confidence'], values['top1']
        errors = calibration_errors(reliability_bins(*pairs, self.bins))
        shares = dict(
            accuracy=values['top1'].mean(),
            ece=errors.ece,
            max_error=errors.mce,
            rms=adaptive_rms_error(*pairs, self.bin_size, self.official_last_bin),
            aurra=aurra(*pairs),
            soft_f1=soft_f1(*pairs),
        )
        means = {name: float(values[name].mean()) for name in ('nll', 'brier')}
        return {name: 100 * float(value) for name, value in shares.items()} | means


@METRICS.register_module()
class OutOfDistribution(ImageMetric):
    """Out-of-distribution detection by low confidence, as on ImageNet-O.

    The test data are both halves, ``mmtlalign.ImageNetSubset('o')`` and the same with
    ``clean=True``, in one ``ConcatDataset``. It reports in percent ``aupr``, ``auroc``,
    ``fpr95``, and ``base_rate``, the AUPR of chance.

    Args:
        which (str, optional): Subset of ImageNet to whose classes the model's choice is
            restricted. Defaults to 'o'.
        classes (Sequence[int], optional): Indices of the classes in its place, with
            ``which=None``; all classes if both are None. Defaults to None.
        field (str, optional): Field of the samples that is true for images out of
            distribution, kept by ``PackInputs(meta_keys=…)``. Defaults to None: images
            without a label are out of distribution.
        **kwargs: As in mmengine's ``BaseMetric``.

    Raises:
        InputError: All images are of one half, or a sample lacks the field.
    """

    default_prefix = 'out_of_distribution'

    def __init__(
        self,
        which: str | None = 'o',
        classes: Sequence[int] | None = None,
        field: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(which, classes, **kwargs)
        self.field = field

    def values(
        self, scores: Tensor, labels: Tensor, samples: Sequence[dict]
    ) -> dict[str, Any]:
        """Return confidences, and which images are out of distribution."""
        if self.field is None:
            out = ~has_label(labels)
        elif all(self.field in sample for sample in samples):
            out = torch.tensor([bool(sample[self.field]) for sample in samples])
        else:
            raise InputError(
                f'OutOfDistribution: a sample has no field {self.field!r}; add it with '
                f"PackInputs(meta_keys=('sample_idx', {self.field!r}))"
            )
        known = torch.where(out[:, None], NO_LABEL, labels)
        scores, _ = self.restricted(scores, known)
        return dict(confidence=confidences(scores)[0], out=out)

    def figures(self, values: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the areas under the curves."""
        confidence, out = values['confidence'], values['out']
        if out.all() or not out.any():
            raise InputError(
                f'OutOfDistribution: {out.sum()} of {len(out)} images are out of '
                'distribution, but both kinds are needed; test on a ConcatDataset of '
                'both'
            )
        found = detect_unknown(confidence[~out], confidence[out])
        shares = dict(
            aupr=found.aupr,
            auroc=found.auroc,
            fpr95=found.fpr,
            base_rate=found.base_rate,
        )
        return {name: 100 * value for name, value in shares.items()}
