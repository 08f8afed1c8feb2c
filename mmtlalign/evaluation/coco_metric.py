"""COCO's average precision, computed by a faster library if it is installed."""

import copy
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from types import FunctionType
from typing import Any

from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation.metrics import CocoMetric as MMDetCocoMetric
from mmengine.fileio import get_local_path
from mmengine.logging import MMLogger
from pycocotools.cocoeval import COCOeval

from mmtlalign.datasets.coco_file import number_annotations, open_coco
from mmtlalign.errors import InputError
from mmtlalign.registry import METRICS

DISTRIBUTIONS = {'faster': 'faster-coco-eval', 'pycocotools': 'pycocotools'}


@METRICS.register_module()
class CocoMetric(MMDetCocoMetric):
    """mmdet's ``CocoMetric`` with matching by class name and an optional C++ backend.

    Labels are mapped to the categories of the same name, in any order in the annotation
    file; mmdet's own metric maps them by the order in the file.

    faster-coco-eval computes precision and recall, which differ from pycocotools' by
    3e-16 at most (pycocotools adds 2.2e-16 to a divisor); the results are then read
    from them by pycocotools' own rules. Both backends therefore report the same three
    decimals. The log states which backend was used.

    Args:
        ann_file (str, optional): The COCO file. Defaults to None: the annotations of
            the samples.
        *args: As in mmdet's ``CocoMetric``.
        backend (str): ``'faster'`` (faster-coco-eval), ``'pycocotools'``, or
            ``'auto'``: the first if it is installed, else the second. Defaults to
            'auto'.
        **kwargs: As in mmdet's ``CocoMetric``. ``use_mp_eval=True`` runs pycocotools in
            several processes.

    Raises:
        InputError: ``backend`` is unknown or not installed, or the annotation file
            is invalid or has no annotations.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        *args: Any,
        backend: str = 'auto',
        **kwargs: Any,
    ):
        super().__init__(None, *args, **kwargs)
        if ann_file is not None:
            with get_local_path(ann_file, backend_args=self.backend_args) as path:
                self._coco_api = open_coco(COCO, path)
        self.backend = choose_backend(backend, self.use_mp_eval)
        if not self.format_only and self._coco_api and not self._coco_api.anns:
            raise InputError(
                f'CocoMetric: the annotation file has {len(self._coco_api.imgs)} '
                'images and no annotation, so nothing can be scored; give ann_file a '
                'file with annotations, or set format_only=True with outfile_prefix to '
                'write the predictions only.'
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return mmdet's results, from the matches of the chosen backend."""
        name = DISTRIBUTIONS[self.backend]
        logger = MMLogger.get_current_instance()
        logger.info(f'COCO evaluation by {name} {version(name)}')
        if self._coco_api is not None:
            # The evaluation sorts them, and results per class are read in this order.
            self.cat_ids = sorted(self.label_ids())
            number_annotations(self._coco_api)
        compute = MMDetCocoMetric.compute_metrics
        if self.backend == 'faster':
            compute = evaluating_by(compute, faster_coco_eval())
        return compute(self, results)

    def label_ids(self) -> list[int]:
        """Return the category id of each label."""
        return self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes'])

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict:
        """Write predictions, with labels mapped to category ids by name."""
        evaluated, self.cat_ids = self.cat_ids, self.label_ids()
        try:
            return super().results2json(results, outfile_prefix)
        finally:
            self.cat_ids = evaluated


def evaluating_by(compute: Callable, evaluation: type) -> Callable:
    """Return mmdet's method with another class in place of ``COCOeval``.

    The method looks the class up only in the globals of its module. This copy has its
    own globals, so that mmdet's metric does not change.
    """
    names = dict(compute.__globals__, COCOeval=evaluation)
    return FunctionType(compute.__code__, names, closure=compute.__closure__)


def choose_backend(backend: str, use_mp_eval: bool = False) -> str:
    """Return 'faster' or 'pycocotools'.

    Raises:
        InputError: The backend is unknown, not installed, or does not support several
            processes.
    """
    if backend not in ('auto', *DISTRIBUTIONS):
        raise InputError(
            f"CocoMetric: backend={backend!r} is not known; choose 'auto', 'faster' "
            "or 'pycocotools'."
        )
    installed = find_spec('faster_coco_eval') is not None
    if backend == 'faster' and use_mp_eval:
        raise InputError(
            "CocoMetric: backend='faster' does not support several processes, but "
            'use_mp_eval=True; remove one of the two.'
        )
    if backend == 'faster' and not installed:
        raise InputError(
            "CocoMetric: backend='faster' needs faster-coco-eval, which is not "
            "installed; pip install faster-coco-eval, or set backend='auto', which "
            'falls back on pycocotools with the same numbers.'
        )
    if backend == 'auto':
        return 'faster' if installed and not use_mp_eval else 'pycocotools'
    return backend


def faster_coco_eval() -> type:
    """Return faster-coco-eval's class, with results by the rules of pycocotools.

    For mAP its own summary uses the largest value of ``maxDets``, 1000 in mmdet, where
    pycocotools always uses 100 detections.
    """
    from faster_coco_eval import COCOeval_faster

    class FasterCOCOeval(COCOeval_faster):
        summarize = COCOeval.summarize
        cocoGt: COCO  # noqa: N815
        cocoDt: COCO  # noqa: N815

        def evaluate(self) -> None:
            # The C++ code accepts only natural numbers as ids.
            images, kinds = number(self.cocoGt.imgs), number(self.cocoGt.cats)
            if not all(old is new for old, new in (*images.items(), *kinds.items())):
                self.params.imgIds = [images[old] for old in self.params.imgIds]
                self.params.catIds = [kinds[old] for old in self.params.catIds]
                self.cocoGt = renumber(self.cocoGt, images, kinds)
                self.cocoDt = renumber(self.cocoDt, images, kinds)
            super().evaluate()

    return FasterCOCOeval


def number(ids: Iterable) -> dict[Any, int]:
    """Return a natural number for each id, in their order: the ids if they are such."""
    ordered = sorted(ids)
    if all(isinstance(one, int) and one >= 0 for one in ordered):
        return {one: one for one in ordered}
    return {one: place for place, one in enumerate(ordered)}


def renumber(coco: COCO, images: dict[Any, int], kinds: dict[Any, int]) -> COCO:
    """Return a copy of annotations with new ids, without those of unlisted images.

    Args:
        coco: Annotations or predictions.
        images: New id of each id of an image.
        kinds: New id of each id of a category.
    """
    content = dict(coco.dataset)
    for key, numbers in dict(images=images, categories=kinds).items():
        content[key] = [dict(one, id=numbers[one['id']]) for one in content[key]]
    content['annotations'] = [
        one
        | dict(image_id=images[one['image_id']], category_id=kinds[one['category_id']])
        for one in content['annotations']
        if one['image_id'] in images
    ]
    numbered = copy.copy(coco)
    numbered.dataset = content
    numbered.createIndex()
    return numbered
