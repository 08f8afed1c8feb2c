"""COCO's average precision, by a faster library where there is one."""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from types import FunctionType
from typing import Any

from mmdet.evaluation.metrics import CocoMetric as MMDetCocoMetric
from mmengine.logging import MMLogger
from pycocotools.cocoeval import COCOeval

from mmtlalign.errors import InputError
from mmtlalign.registry import METRICS

DISTRIBUTIONS = {'faster': 'faster-coco-eval', 'pycocotools': 'pycocotools'}


@METRICS.register_module()
class CocoMetric(MMDetCocoMetric):
    """mmdet's ``CocoMetric``, which may match boxes and masks in C++.

    faster-coco-eval computes precision and recall, which differ from pycocotools' by
    3e-16 at most (pycocotools adds 2.2e-16 to a divisor); the figures are then read
    from them by pycocotools' own rules. So both backends report the same three
    decimals. The log tells which one ran.

    Args:
        *args: As of mmdet's ``CocoMetric``.
        backend (str): ``'faster'`` (faster-coco-eval), ``'pycocotools'``, or
            ``'auto'``: the first if it is installed, else the second. Defaults to
            'auto'.
        **kwargs: As of mmdet's ``CocoMetric``. ``use_mp_eval=True`` is pycocotools in
            several processes.

    Raises:
        InputError: ``backend`` is not known or not installed, or the annotation file
            has no annotations.
    """

    def __init__(self, *args: Any, backend: str = 'auto', **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.backend = choose_backend(backend, self.use_mp_eval)
        if not self.format_only and self._coco_api and not self._coco_api.anns:
            raise InputError(
                f'CocoMetric: the annotation file has {len(self._coco_api.imgs)} '
                'pictures and no annotation, so that nothing can be scored; give '
                'ann_file a file with annotations, or set format_only=True with '
                'outfile_prefix to write the predictions only.'
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return mmdet's figures, from the matches of the chosen backend."""
        name = DISTRIBUTIONS[self.backend]
        logger = MMLogger.get_current_instance()
        logger.info(f'COCO evaluation by {name} {version(name)}')
        compute = MMDetCocoMetric.compute_metrics
        if self.backend == 'faster':
            compute = evaluating_by(compute, faster_coco_eval())
        return compute(self, results)


def evaluating_by(compute: Callable, evaluation: type) -> Callable:
    """Return mmdet's method with another class in place of ``COCOeval``.

    The method takes the class from the globals of its file and nowhere else. This copy
    has globals of its own, so that mmdet's metric stays as it is.
    """
    names = dict(compute.__globals__, COCOeval=evaluation)
    return FunctionType(compute.__code__, names, closure=compute.__closure__)


def choose_backend(backend: str, use_mp_eval: bool = False) -> str:
    """Return 'faster' or 'pycocotools'.

    Raises:
        InputError: The backend is not known, not installed, or cannot use processes.
    """
    if backend not in ('auto', *DISTRIBUTIONS):
        raise InputError(
            f"CocoMetric: backend={backend!r} is not known; choose 'auto', 'faster' "
            "or 'pycocotools'."
        )
    installed = find_spec('faster_coco_eval') is not None
    if backend == 'faster' and use_mp_eval:
        raise InputError(
            "CocoMetric: backend='faster' has no processes to share, but "
            'use_mp_eval=True; drop one of the two.'
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
    """Return faster-coco-eval's class, with figures by the rules of pycocotools.

    Its own summary takes the most detections of ``maxDets`` for mAP, mmdet's 1000,
    where pycocotools always takes 100.
    """
    from faster_coco_eval import COCOeval_faster

    class FasterCOCOeval(COCOeval_faster):
        summarize = COCOeval.summarize

    return FasterCOCOeval
