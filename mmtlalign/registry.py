"""Registries of this package: children of mmengine's roots.

Types are written ``mmtlalign.X`` in a config; mmengine imports this module by
itself when it meets the prefix, so no ``custom_imports`` are needed and the
``default_scope`` of a config stays its host's.

The roots are mmengine's, not mmpretrain's, because mmseg and mmdet search
their parents but never their siblings. Batch augments have no root in
mmengine; theirs is mmpretrain's.
"""

from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import FUNCTIONS as ROOT_FUNCTIONS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as ROOT_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIM_WRAPPERS as ROOT_OPTIM_WRAPPERS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import Registry
from mmpretrain.registry import BATCH_AUGMENTS as MMPRETRAIN_BATCH_AUGMENTS

__all__ = [
    'BATCH_AUGMENTS',
    'DATASETS',
    'FUNCTIONS',
    'HOOKS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'TRANSFORMS',
]

MODELS = Registry(
    'model',
    parent=ROOT_MODELS,
    scope='mmtlalign',
    locations=[
        'mmtlalign.backbones',
        'mmtlalign.classifiers',
        'mmtlalign.heads',
        'mmtlalign.selfsup',
    ],
)
BATCH_AUGMENTS = Registry(
    'batch augment',
    parent=MMPRETRAIN_BATCH_AUGMENTS,
    scope='mmtlalign',
    locations=['mmtlalign.classifiers'],
)
HOOKS = Registry(
    'hook',
    parent=ROOT_HOOKS,
    scope='mmtlalign',
    locations=['mmtlalign.engine'],
)
DATASETS = Registry(
    'dataset',
    parent=ROOT_DATASETS,
    scope='mmtlalign',
    locations=['mmtlalign.datasets'],
)
FUNCTIONS = Registry(
    'function',
    parent=ROOT_FUNCTIONS,
    scope='mmtlalign',
    locations=['mmtlalign.heads'],
)
TRANSFORMS = Registry(
    'transform',
    parent=ROOT_TRANSFORMS,
    scope='mmtlalign',
    locations=['mmtlalign.datasets'],
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=ROOT_OPTIM_WRAPPERS,
    scope='mmtlalign',
    locations=['mmtlalign.engine'],
)
METRICS = Registry(
    'metric',
    parent=ROOT_METRICS,
    scope='mmtlalign',
    locations=['mmtlalign.evaluation'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=ROOT_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmtlalign',
    locations=['mmtlalign.engine'],
)
