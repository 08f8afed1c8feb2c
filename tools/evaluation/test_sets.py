"""Other test sets of ImageNet's classes: C, A, R, O, Sketch, V2, ReaL."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine import dist

from mmtlalign.datasets.corrupted import SIDE
from mmtlalign.datasets.imagenet_classes import subset_indices
from mmtlalign.datasets.imagenet_variants import V2_VARIANTS
from mmtlalign.evaluation import calibration
from mmtlalign.evaluation.conditions import CLEAN, Predictions, predict
from mmtlalign.evaluation.corruptions import CORRUPTIONS, corruption_errors
from mmtlalign.evaluation.out_of_distribution import detect_unknown
from tools.analysis_tools.published_costs import has_settings
from tools.evaluation.context import Context
from tools.evaluation.items import MeasuredItem
from tools.evaluation.rows import ResultsByCondition, Row, accuracy_rows
from tools.output import track

SUITE = 'robustness'
CLASSES = 1000
# Top-1 in percent on (A, R, V2, ReaL, Sketch); crop 0.9, bicubic.
TIMM = "timm's result tables of 2026-08-08, with timm's weights, crop 0.9 bicubic"
PUBLISHED = {
    'deit-tiny': (7.21, 32.71, 59.92, 80.03, 20.14),
    'deit-small': (18.72, 42.27, 68.53, 85.67, 29.44),
    'deit-base': (27.17, 44.91, 70.97, 86.83, 32.39),
    'swin-tiny': (21.12, 41.40, 69.45, 86.68, 29.35),
    'swin-small': (32.37, 45.11, 71.75, 87.69, 32.35),
    'swin-base': (35.77, 46.50, 72.40, 87.87, 32.64),
}
SIZES = ('tiny', 'small', 'base')
# Their networks, for images of 224 pixels.
NETWORKS = {
    f'deit-{size}': dict(type='VisionTransformer', arch=f'deit-{size}', patch_size=16)
    for size in SIZES
} | {
    f'swin-{size}': dict(type='SwinTransformer', arch=size, window_size=7)
    for size in SIZES
}
# Item to the setting of the published value, in the order of the values.
SETS = {
    'imagenet-a': '',
    'imagenet-r': '',
    'v2': V2_VARIANTS[0],
    'real': '',
    'sketch': '',
}


class TestSet(MeasuredItem):
    """Accuracy on a test set of ImageNet's classes.

    Args:
        name: Name of the item.
        about: What it measures.
        folder: Folder of the set in the data folder.
        target: Name of the set for ``prepare_data.py``.
    """

    suite = SUITE
    __test__ = False  # pytest must not collect it

    def __init__(self, name: str, about: str, folder: str, target: str):
        self.name, self.about, self.folder, self.target = name, about, folder, target

    def missing(self, context: Context) -> str | None:
        """Return a message if the classes differ or the data are missing."""
        if context.num_classes != CLASSES:
            return (
                f'it has the {CLASSES} classes of ImageNet, but the network has '
                f'{context.num_classes}'
            )
        path = context.data / self.folder
        if not path.is_dir():
            return (
                f'{path} does not exist: python '
                f'tools/dataset_converters/prepare_data.py {self.target}'
            )
        return None

    def images(self, context: Context) -> int:
        """Return how many images are evaluated."""
        sets = [context.build(one) for one in self.sets(context).values()]
        return sum(len(context.indices(len(one))) for one in sets)

    def stamps(self, context: Context) -> list:
        """Return stamps that show whether the data of the sets have changed."""
        roots = {one['data_root']: None for one in self.sets(context).values()}
        return [context.stamp(root) for root in roots]

    def sets(self, context: Context) -> dict[str, dict[str, Any]]:
        """Return the configs of the data sets, by name."""
        raise NotImplementedError

    def classes(self) -> Sequence[int] | None:
        """Return the classes among which the network chooses; None for all."""
        return None

    def measure(self, context: Context) -> list[Row]:
        """Return the accuracy on each set."""
        results = {
            n: self.predictions(context, n, s) for n, s in self.sets(context).items()
        }
        rows = []
        for name, own in results.items():
            rows += accuracy_rows(self.name, name, own, ['clean'], more=[5])
        return rows

    def predictions(
        self, context: Context, name: str, settings: dict
    ) -> ResultsByCondition:
        """Return the predictions of every network on one data set."""
        dataset = context.build(settings)
        indices = context.indices(len(dataset))
        given = (settings, indices, self.stamps(context))
        parts = context.parts(f'{self.name}-{name}'.rstrip('-'), *given)
        own = context.own_share(indices, parts.saved_indices())
        with track(f'{self.name} {name}', len(own)) as count:
            predict(
                context.networks,
                context.pictures(dataset),
                [CLEAN],
                parts,
                own,
                context.batch_size,
                context.workers,
                self.classes(),
                count,
            )
        dist.barrier()
        arrays = parts.collect()
        return {
            (network, 'clean'): Predictions.read(arrays, network, 'clean')
            for network in context.networks
        }

    def refer(self, context: Context, rows: list[Row]) -> list[Row]:
        """Add the published value of this network, if there is one."""
        backbone = context.cfg.model.backbone
        kinds = [k for k, own in NETWORKS.items() if has_settings(backbone, own)]
        places = [row for row in rows if row.setting == SETS.get(self.name)]
        if kinds and places and context.image_size == (224, 224):
            value = dict(zip(SETS, PUBLISHED[kinds[0]]))[self.name]
            places[0].reference = dict(value=value, source=f'{kinds[0]}: {TIMM}')
        return rows


class Subset(TestSet):
    """ImageNet-A or -R: top-1 among its 200 classes, beside the clean images."""

    def __init__(self, which: str):
        title = f'imagenet-{which}'
        super().__init__(
            title,
            f'accuracy on ImageNet-{which.upper()}, among its 200 classes',
            title,
            title,
        )
        self.which = which

    def classes(self) -> Sequence[int]:
        """Return the 200 classes."""
        return subset_indices(self.which)

    def sets(self, context: Context) -> dict[str, dict[str, Any]]:
        """Return the set, and ImageNet's own images of its classes if they exist."""
        given = dict(type='mmtlalign.ImageNetSubset', which=self.which)
        found = {'': dict(given, data_root=str(context.data / self.folder))}
        clean = context.data / 'imagenet' / 'val'
        if clean.is_dir():
            found['clean'] = dict(given, data_root=str(clean), clean=True)
        return found

    def measure(self, context: Context) -> list[Row]:
        """Return accuracy, RMS calibration error and AURRA."""
        rows = []
        for name, settings in self.sets(context).items():
            results = self.predictions(context, name, settings)
            own = accuracy_rows(self.name, name, results, ['clean'], more=[5])
            for row in own:
                found = results.get((row.network, 'clean'))
                if found is not None:
                    pair = found.confidence, found.correct()
                    rms = calibration.adaptive_rms_error(*pair)
                    row.metrics['RMS calibration error %'] = 100 * rms
                    row.metrics['AURRA %'] = 100 * calibration.aurra(*pair)
            rows += own
        return self.refer(context, rows)


class OutOfDistribution(TestSet):
    """ImageNet-O: detection of unknown images by low confidence."""

    def __init__(self) -> None:
        super().__init__(
            'imagenet-o',
            'how well low confidence tells images of no known class',
            'imagenet-o',
            'imagenet-o',
        )

    def missing(self, context: Context) -> str | None:
        """Return a message if the set or ImageNet's validation images are missing."""
        clean = context.data / 'imagenet' / 'val'
        if reason := super().missing(context):
            return reason
        return (
            None
            if clean.is_dir()
            else f'{clean} does not exist, and its images are the in-distribution half'
        )

    def classes(self) -> Sequence[int]:
        """Return the 200 classes."""
        return subset_indices('o')

    def sets(self, context: Context) -> dict[str, dict[str, Any]]:
        """Return both halves."""
        given = dict(type='mmtlalign.ImageNetSubset', which='o')
        clean = context.data / 'imagenet' / 'val'
        return dict(
            out=dict(given, data_root=str(context.data / self.folder)),
            known=dict(given, data_root=str(clean), clean=True),
        )

    def measure(self, context: Context) -> list[Row]:
        """Return AUPR, AUROC and the false positive rate."""
        both = {
            n: self.predictions(context, n, s) for n, s in self.sets(context).items()
        }
        rows = []
        for key, out in both['out'].items():
            known = both['known'][key]
            found = detect_unknown(known.confidence, out.confidence)
            metrics = {
                'AUPR %': 100 * found.aupr,
                'AUROC %': 100 * found.auroc,
                'false positives at 95 % recall %': 100 * found.fpr,
                'AUPR of chance %': 100 * found.base_rate,
            }
            count = len(known.confidence) + len(out.confidence)
            rows.append(Row(self.name, '', key[0], metrics, count))
        return rows


class Plain(TestSet):
    """Sketch, V2 or ReaL: accuracy among all classes."""

    def __init__(self, name: str, about: str, folder: str, target: str, types: dict):
        super().__init__(name, about, folder, target)
        self.types = types

    def sets(self, context: Context) -> dict[str, dict[str, Any]]:
        """Return the config of each set."""
        root = str(context.data / self.folder)
        return {name: dict(one, data_root=root) for name, one in self.types.items()}

    def measure(self, context: Context) -> list[Row]:
        """Return the accuracies."""
        return self.refer(context, super().measure(context))


class V2(Plain):
    """ImageNetV2: the variants that exist, matched frequency first."""

    def sets(self, context: Context) -> dict[str, dict[str, Any]]:
        """Return the config of each variant."""
        root = context.data / self.folder
        return {
            variant: dict(
                type='mmtlalign.ImageNetV2', variant=variant, data_root=str(root)
            )
            for variant in V2_VARIANTS
            if list(root.glob(f'imagenetv2-{variant}*'))
        }

    def missing(self, context: Context) -> str | None:
        """Return a message if no variant exists."""
        if reason := super().missing(context):
            return reason
        if self.sets(context):
            return None
        return f'{context.data / self.folder} has no folder imagenetv2-*'


class ImageNetC(TestSet):
    """The published files of ImageNet-C, with mCE."""

    options = ('limit', 'severities')

    def __init__(self) -> None:
        super().__init__(
            'imagenet-c',
            'errors on the files of ImageNet-C, and mCE',
            'imagenet-c',
            'imagenet-c',
        )

    def sets(self, context: Context) -> dict[str, dict[str, Any]]:
        """Return the cells of the chosen severities, resized to the network's size.

        The images are cropped already, to 224 pixels.
        """
        pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
        if context.image_size != (SIDE, SIDE):
            given = dict(backend='pillow', interpolation='bicubic')
            size = context.image_size[::-1]
            pipeline.insert(1, dict(type='Resize', scale=size, **given))
        return {
            f'{name} {severity}': dict(
                type='mmtlalign.ImageNetC',
                corruption=name,
                severity=severity,
                data_root=str(context.data / self.folder),
                pipeline=pipeline,
            )
            for name in CORRUPTIONS
            for severity in context.options.severities
        }

    def stamps(self, context: Context) -> list:
        """Return stamps of the data, and the size if images are resized to it."""
        size = context.image_size
        return super().stamps(context) + [size] * (size != (SIDE, SIDE))

    def images(self, context: Context) -> int:
        """Return how many images are evaluated, all cells together."""
        sets = self.sets(context)
        first = context.build(next(iter(sets.values())))
        return len(sets) * len(context.indices(len(first)))

    def measure(self, context: Context) -> list[Row]:
        """Return mCE, the mean error, and that of every corruption."""
        cells = {
            n: self.predictions(context, n, s) for n, s in self.sets(context).items()
        }
        pixels = 'x'.join(map(str, context.image_size))
        if context.image_size != (SIDE, SIDE):
            pixels += f', resized from {SIDE}x{SIDE}'
        protocol = dict(pixels=pixels)
        rows, details = [], []
        for name, results in cells.items():
            details += accuracy_rows(
                self.name, name, results, ['clean'], detail=True, protocol=protocol
            )
        severities = context.options.severities
        for network in context.networks:
            errors = {
                name: [
                    1 - cells[f'{name} {s}'][network, 'clean'].correct().mean()
                    for s in severities
                ]
                for name in CORRUPTIONS
            }
            count = sum(row.n for row in details if row.network == network)
            mean = 100 * float(np.mean([*errors.values()]))
            metrics = {'mean error %': mean}
            if len(severities) == 5:
                found = corruption_errors(errors)
                metrics = {'mCE': found.mce, **metrics}
            given = dict(protocol=protocol)
            rows.append(Row(self.name, 'all', network, metrics, count, **given))
            for name, own in errors.items():
                metrics = {'mean error %': 100 * float(np.mean(own))}
                if len(severities) == 5:
                    metrics['CE'] = found.by_corruption[name]
                n = count // len(CORRUPTIONS)
                rows.append(Row(self.name, name, network, metrics, n, **given))
        rows[0].notes = ['mCE divides by the errors of AlexNet, as the paper does.']
        return rows + details


ITEMS = (
    ImageNetC(),
    Subset('a'),
    Subset('r'),
    OutOfDistribution(),
    Plain(
        'sketch',
        'accuracy on ImageNet-Sketch',
        'imagenet-sketch',
        'imagenet-sketch',
        {'': dict(type='mmtlalign.ImageNetSketch')},
    ),
    V2('v2', 'accuracy on ImageNetV2', 'imagenetv2', 'imagenetv2', {}),
    Plain(
        'real',
        'accuracy with the labels of ImageNet-ReaL',
        'imagenet/val',
        'imagenet-real',
        {'': dict(type='mmtlalign.ImageNetReaL')},
    ),
)
