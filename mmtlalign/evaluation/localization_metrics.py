"""Test loop and metrics that compare attention with object masks and boxes.

Shapes: ``H`` heads, ``h, w`` token grid, ``R, C`` rows and columns of the image in
pixels, ``n`` boxes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.runner import Runner, TestLoop
from torch.utils.data import DataLoader

from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.errors import InputError
from mmtlalign.evaluation.attention_maps import MAPS, attention_map
from mmtlalign.evaluation.localization import is_located, map_box, mask_jaccard
from mmtlalign.evaluation.max_box_accuracy import MaxBoxAccuracy, score_map
from mmtlalign.registry import LOOPS, METRICS


@LOOPS.register_module()
class AttentionLoop(TestLoop):
    """Test loop that adds ``attention_map`` (H, h, w) to each image's prediction.

    In a config: ``test_cfg = dict(type='mmtlalign.AttentionLoop')``, with
    ``mmtlalign.MaskJaccard`` or ``mmtlalign.BoxAccuracy`` and the data set
    ``mmtlalign.SegmentedObjects``. It needs two forward passes per batch, or for
    ``'rollout'`` one for every 256 tokens.

    Args:
        runner (Runner): Runner of mmengine.
        dataloader (DataLoader | dict): Loader of images with masks or boxes.
        evaluator (Evaluator | dict | list): Evaluator of predictions and maps.
        which (str): Map of :func:`attention_map`: ``'auto'``, ``'cls'``,
            ``'received'`` or ``'rollout'``. Defaults to 'auto'.
        layer (int): Index of the attention. Defaults to -1, the last.

    Raises:
        InputError: The map does not exist, or not for this network.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        which: str = 'auto',
        layer: int = -1,
    ):
        super().__init__(runner, dataloader, evaluator)
        if which not in ('auto', *MAPS):
            raise InputError(f"which={which!r}: choose 'auto' or one of {MAPS}.")
        self.which = which
        self.layer = layer

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Run the model on a batch, and pass predictions and maps to the evaluator."""
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        model = unwrap_model(self.runner.model)
        batch = model.data_preprocessor(data_batch, False)
        maps = attention_map(model, batch['inputs'], self.which, self.layer)
        outputs = model(**batch, mode='predict')
        for sample, one in zip(outputs, maps):
            sample.set_field(one, 'attention_map')
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            'after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )


class _MapMetric(BaseMetric):
    """Base class of metrics of the attention maps of single images.

    Attributes:
        per_image: After the evaluation, a dict of values for every image.
    """

    needed: str

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Store the values of a batch."""
        for sample in data_samples:
            missing = {'attention_map', self.needed} - sample.keys()
            if missing:
                raise InputError(
                    f'{type(self).__name__}: the samples have no '
                    f'{" or ".join(sorted(missing))}: set test_cfg = '
                    "dict(type='mmtlalign.AttentionLoop'), use data of "
                    'mmtlalign.SegmentedObjects, and let PackInputs pack '
                    f"algorithm_keys=('{self.needed}',)."
                )
            values = self.values(sample)
            self.results.append(dict(values, grid=sample['attention_map'].shape[-2:]))

    def values(self, sample: dict) -> dict[str, Any]:
        """Return the values of an image; ``valid`` says whether it has an object."""
        raise NotImplementedError

    def figures(self, values: list[dict]) -> dict[str, float]:
        """Return the metric from the values of the images with an object."""
        raise NotImplementedError

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Return the metric, the numbers of images used and left out, and the grid."""
        self.per_image = results
        valid = [one for one in results if one['valid']]
        if not valid:
            raise InputError(
                f'No image has an object that {type(self).__name__} can evaluate: '
                'check the annotations of the data set.'
            )
        height, width = results[0]['grid']
        return dict(
            self.figures(valid),
            images=len(valid),
            without_object=len(results) - len(valid),
            grid_rows=height,
            grid_columns=width,
        )


@METRICS.register_module()
class MaskJaccard(_MapMetric):
    """Jaccard index of thresholded attention with the masks of objects, in percent.

    ``best_head``: the head that fits each class best, chosen with the ground truth as
    in Naseer et al. (NeurIPS 2021); ``head_mean``: the mask from the mean over heads,
    by class; ``foreground``: that mask with the union of all objects. Images without
    object are left out, and their number is reported. Compare only networks with the
    same grid, which is reported as well.

    Args:
        mass (float): Share of the attention inside a mask. Defaults to 0.9.
        official (bool): Count void pixels as errors, as the official code does by
            mistake. Defaults to False.
        **kwargs: As in mmengine's ``BaseMetric``.
    """

    default_prefix = 'jaccard'
    needed = 'gt_seg_map'

    def __init__(self, mass: float = 0.9, official: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.mass = mass
        self.official = official

    def values(self, sample: dict) -> dict[str, Any]:
        """Return the three indices of an image."""
        maps = sample['attention_map'].cpu()
        labels = np.asarray(sample['gt_seg_map'])
        scores = mask_jaccard(maps, labels, self.mass, self.official)
        valid = not np.isnan(scores.best_head)
        return dict(valid=valid, **scores._asdict())

    def figures(self, values: list[dict]) -> dict[str, float]:
        """Return means over images."""
        names = ('best_head', 'head_mean', 'foreground')
        return {n: 100 * float(np.mean([one[n] for one in values])) for n in names}


@METRICS.register_module()
class BoxAccuracy(_MapMetric):
    """Localisation accuracy of boxes from attention, in percent of the images.

    ``gt_known@m``: the box of the mask with a share m of the mean over heads overlaps a
    true box enough (a rule of ours, as TransMix does not state its own);
    ``top1_loc@m`` also requires the right class, if the images have labels.
    ``max_box_acc`` and ``max_box_acc_v2`` (Choe et al., CVPR 2020) use the threshold
    that is best for the evaluated images, which should be squashed to 224 x 224 pixels.

    Args:
        masses (Sequence[float]): Shares m. Defaults to (0.6, 0.9).
        overlap (float): Smallest intersection over union. Defaults to 0.5.
        max_box (bool): Whether to search the best threshold, up to 0.1 s per image.
            Defaults to True.
        **kwargs: As in mmengine's ``BaseMetric``.
    """

    default_prefix = 'box'
    needed = 'object_boxes'

    def __init__(
        self,
        masses: Sequence[float] = (0.6, 0.9),
        overlap: float = 0.5,
        max_box: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.masses = masses
        self.overlap = overlap
        self.max_box = max_box

    def values(self, sample: dict) -> dict[str, Any]:
        """Return which boxes are right, and packed bits for the threshold search."""
        truths = np.asarray(sample['object_boxes']).reshape(-1, 4)
        if not len(truths):
            return dict(valid=False)
        maps, size = sample['attention_map'].cpu(), tuple(sample['img_shape'][:2])
        boxes = [map_box(maps, size, mass) for mass in self.masses]
        found: dict[str, Any] = dict(
            valid=True, located=[is_located(box, truths, self.overlap) for box in boxes]
        )
        if 'gt_label' in sample:
            best = sample['pred_score'].argmax().cpu()
            found['right'] = bool((best == sample['gt_label'].cpu()).any())
        if self.max_box:
            scores = score_map(maps.mean(dim=0).numpy(), size)
            for name, every in (('largest', False), ('every', True)):
                measure = MaxBoxAccuracy(every=every)
                measure.add(scores, truths)
                found[name] = np.packbits(measure.correct.astype(bool))
        return found

    def figures(self, values: list[dict]) -> dict[str, float]:
        """Return percentages of images."""
        figures = {}
        located = np.array([one['located'] for one in values])
        for mass, right in zip(self.masses, located.T):
            figures[f'gt_known@{mass:g}'] = 100 * float(right.mean())
            if all('right' in one for one in values):
                both = right & np.array([one['right'] for one in values])
                figures[f'top1_loc@{mass:g}'] = 100 * float(both.mean())
        if self.max_box:
            found = {}
            for name in ('largest', 'every'):
                measure = MaxBoxAccuracy()
                for one in values:
                    bits = np.unpackbits(one[name], count=measure.correct.size)
                    measure.add_correct(bits.reshape(measure.correct.shape))
                found[name] = measure.compute()
            figures['max_box_acc'] = found['largest']['max_box_acc@0.5']
            figures['max_box_acc_v2'] = found['every']['max_box_acc']
        return figures
