"""Robustness: corruptions, other test sets, attacks, calibration."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

import numpy as np

from mmtlalign.evaluation import calibration, corruptions
from mmtlalign.evaluation.conditions import Condition
from tools.evaluation.context import Context
from tools.evaluation.items import ConditionItem
from tools.evaluation.rows import ResultsByCondition, Row, accuracy_rows, mean_rows

SUITE = 'robustness'
# Seconds for one corruption of an image of 224 pixels in one thread
# (docs/evaluation.md).
CORRUPTION_SECONDS = 0.195 / 15


class Clean(ConditionItem):
    """Accuracy on the images as they are."""

    suite, name, about = SUITE, 'clean', 'accuracy on the test set as it is'

    def conditions(self, context: Context) -> Sequence[Condition]:
        """Return no further condition: clean images are always measured."""
        return []

    def rows(self, context: Context, results: ResultsByCondition) -> list[Row]:
        """Return top-1 and top-5 accuracy, likelihood and Brier score."""
        more = [5] if context.num_classes > 5 else []
        rows = accuracy_rows(self.name, '', results, ['clean'], more=more)
        for row in rows:
            if (row.network, 'clean') in results:
                own = results[row.network, 'clean']
                row.metrics['negative log likelihood'] = -own.likelihood.mean()
                row.metrics['Brier score'] = own.brier.mean()
        return rows


class Calibration(ConditionItem):
    """Calibration: agreement of confidence and accuracy."""

    suite, name, about = SUITE, 'calibration', 'errors of the confidence, clean images'

    def conditions(self, context: Context) -> Sequence[Condition]:
        """Return no further condition."""
        return []

    def rows(self, context: Context, results: ResultsByCondition) -> list[Row]:
        """Return ECE, RMS and maximum error, and AURRA."""
        rows = []
        for (network, condition), own in results.items():
            if condition != 'clean':
                continue
            correct = own.correct()
            bins = calibration.reliability_bins(own.confidence, correct)
            errors = calibration.calibration_errors(bins)
            adaptive = calibration.adaptive_rms_error(own.confidence, correct)
            metrics = {
                'ECE %': 100 * errors.ece,
                'RMS calibration error %': 100 * adaptive,
                'maximum calibration error %': 100 * errors.mce,
                'AURRA %': 100 * calibration.aurra(own.confidence, correct),
                'mean confidence %': 100 * own.confidence.mean(),
            }
            protocol = dict(
                ece='15 bins of equal width', rms='bins of 100 images, all counted'
            )
            rows.append(
                Row(self.name, '', network, metrics, len(correct), protocol=protocol)
            )
        return rows


class Corruptions(ConditionItem):
    """The fifteen corruptions of ImageNet-C, made on the fly."""

    suite, name, options = SUITE, 'corruptions', ('limit', 'severities')
    about = 'the 15 corruptions of ImageNet-C, made on the fly'

    def missing(self, context: Context) -> str | None:
        """Return what to install, or a message if the images are too small."""
        if find_spec('imagecorruptions') is None:
            return 'pip install imagecorruptions-imaug'
        if min(context.image_size) < corruptions.SMALLEST:
            return (
                f'images of {context.image_size[0]} x {context.image_size[1]} pixels; '
                f'corruptions need {corruptions.SMALLEST} x {corruptions.SMALLEST}'
            )
        return None

    def _cells(self, context: Context) -> list[tuple[str, int, str]]:
        return [
            (name, severity, f'{name} {severity}')
            for severity in context.options.severities
            for name in corruptions.CORRUPTIONS
        ]

    def seconds(self, context: Context, forward: float) -> float:
        """Return the estimate: forward passes, and the corruption library."""
        cells = len(self._cells(context))
        pixels = context.image_size[0] * context.image_size[1] / 224**2
        library = CORRUPTION_SECONDS * pixels / max(1, context.workers)
        return self.images(context) * cells * (forward + library)

    def conditions(self, context: Context) -> Sequence[Condition]:
        """Return a condition for each corruption and severity."""
        return [
            Condition(title, version=partial(_corrupt, name=name, severity=severity))
            for name, severity, title in self._cells(context)
        ]

    def rows(self, context: Context, results: ResultsByCondition) -> list[Row]:
        """Return the mean, the mean of each severity, and every corruption."""
        cells = self._cells(context)
        protocol = dict(
            made='on the fly by imagecorruptions, not the published files: do not '
            'divide by the errors of AlexNet',
            severities=list(context.options.severities),
            pixels='x'.join(map(str, context.image_size)),
        )
        notes = []
        if min(context.image_size) < 224:
            notes = [
                'The severities are those of 224 pixels, too strong for smaller images.'
            ]
        given = dict(protocol=protocol, notes=notes)
        titles = [title for *_, title in cells]
        rows = mean_rows(self.name, 'mean of all', results, titles, **given)
        for severity in context.options.severities:
            titles = [title for _, s, title in cells if s == severity]
            name = f'mean of severity {severity}'
            rows += mean_rows(self.name, name, results, titles, **given)
        for name in corruptions.CORRUPTIONS:
            titles = [title for n, _, title in cells if n == name]
            rows += mean_rows(self.name, name, results, titles, **given)
        for *_, title in cells:
            rows += accuracy_rows(
                self.name, title, results, [title], detail=True, **given
            )
        return rows


def _corrupt(image: np.ndarray, index: int, name: str, severity: int) -> np.ndarray:
    seed = corruptions.corruption_seed(0, name, severity, index)
    return corruptions.corrupt(image, name, severity, seed)


ITEMS = (Clean(), Calibration(), Corruptions())
