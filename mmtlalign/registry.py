"""Registries of this package: children of mmengine's roots.

Types are written ``mmtlalign.X`` in a config; mmengine imports this module by
itself when it meets the prefix, so no ``custom_imports`` are needed and the
``default_scope`` of a config can stay that of its host library.

The parents are mmengine's registries, not mmpretrain's, because mmseg and mmdet search
their parents but never their siblings. mmengine has no registry of batch augments;
the parent of that one is mmpretrain's.
"""

from importlib.util import find_spec

import mmpretrain.registry
from mmengine import registry as roots
from mmengine.registry import Registry


def _child(root: Registry, *rooms: str) -> Registry:
    """Create a child of a root registry whose types are defined in ``rooms``."""
    locations = [f'mmtlalign.{room}' for room in rooms]
    return Registry(root.name, parent=root, scope='mmtlalign', locations=locations)


BATCH_AUGMENTS = _child(mmpretrain.registry.BATCH_AUGMENTS, 'methods')
# The segmentation data sets import mmseg, which is optional.
SEGMENTATION = ('datasets.seg_dataset',) if find_spec('mmseg') else ()
DATASETS = _child(roots.DATASETS, 'datasets', *SEGMENTATION)
FUNCTIONS = _child(roots.FUNCTIONS, 'methods')
HOOKS = _child(
    roots.HOOKS,
    'engine',
    'fast.hooks',
    'checkpoint',
    'methods',
    'evaluation.microscope',
)
LOOPS = _child(roots.LOOPS, 'evaluation.attack_loop', 'evaluation.localization_metrics')
METRICS = _child(
    roots.METRICS,
    'evaluation',
    'evaluation.metrics',
    'evaluation.localization_metrics',
    'methods',
)
MODELS = _child(roots.MODELS, 'backbones', 'methods')
OPTIM_WRAPPERS = _child(roots.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    roots.OPTIM_WRAPPER_CONSTRUCTORS, 'engine', 'methods'
)
TRANSFORMS = _child(roots.TRANSFORMS, 'datasets', 'evaluation.transforms', 'methods')
