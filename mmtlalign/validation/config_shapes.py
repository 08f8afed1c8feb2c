"""Check the form of a config: what is a dict, a list, a number, the name of a type."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from mmtlalign.errors import InputError

SPLITS = ('train', 'val', 'test')
LOADER_DICTS = ('dataset', 'sampler', 'batch_sampler', 'collate_fn')
# Keys that hosts look up, and ignore where they are misspelt.
SAMPLER = ('type', 'num', 'pos_fraction', 'neg_pos_ub', 'add_gt_as_proposals')
NEAR = {
    'model.test_cfg.rpn': ('nms_pre', 'max_per_img', 'nms', 'min_bbox_size'),
    'model.test_cfg.rcnn': ('score_thr', 'nms', 'max_per_img', 'mask_thr_binary'),
    'model.train_cfg.rpn.sampler': SAMPLER,
    'model.train_cfg.rcnn.sampler': SAMPLER,
    'default_hooks.checkpoint': tuple(inspect.signature(CheckpointHook).parameters),
}
# Parts of a config that are a dict, or are left out.
DICTS = (
    *(f'{split}_{part}' for split in SPLITS for part in ('dataloader', 'cfg')),
    *('val_evaluator', 'test_evaluator', 'model', 'data_preprocessor'),
    *('optim_wrapper', 'default_hooks', 'env_cfg', 'randomness', 'auto_scale_lr'),
    *('visualizer', 'log_processor', 'optim_wrapper.paramwise_cfg'),
    *('optim_wrapper.optimizer', 'optim_wrapper.clip_grad', 'model.backbone'),
    *(f'{split}_dataloader.{key}' for split in SPLITS for key in LOADER_DICTS),
    *(f'model.{cfg}.{part}' for cfg in ('train_cfg', 'test_cfg') for part in ('rpn',)),
    'model.test_cfg.rcnn',
)
WHOLE_NUMBERS = (
    *(f'{s}_dataloader.{k}' for s in SPLITS for k in ('batch_size', 'num_workers')),
    *('train_cfg.max_epochs', 'train_cfg.max_iters', 'train_cfg.val_interval'),
    *('train_cfg.val_begin', 'env_cfg.mp_cfg.opencv_num_threads'),
    *('default_hooks.checkpoint.interval', 'default_hooks.checkpoint.max_keep_ckpts'),
    *('default_hooks.logger.interval', 'randomness.seed'),
)
SCHEDULE_NUMBERS = (
    *('begin', 'end', 'T_max', 'eta_min', 'power', 'gamma', 'factor', 'start_factor'),
    'end_factor',
)
# The names that mmengine and the hosts give to the hooks of every run.
HOOK_NAMES = (
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler'),
    *('checkpoint', 'visualization'),
)


def check_shapes(cfg: Config) -> None:
    """Check that every part of a config has the form that the runner expects.

    Raises:
        InputError: For the first that has not.
    """

    def refuse(path: str, value: Any, wanted: str) -> None:
        raise InputError(
            f'{path}={value!r} in {cfg.filename} is no {wanted}. Correct it.'
        )

    for name in DICTS:
        value = value_at(cfg, name)
        several = name.endswith('_evaluator') and isinstance(value, (list, tuple))
        if isinstance(value, type) or callable(value):
            continue
        if value is not None and not isinstance(value, dict) and not several:
            refuse(name, value, 'dict')
    for name in ('custom_hooks', 'param_scheduler'):
        value = cfg.get(name)
        for index, one in enumerate(value if isinstance(value, (list, tuple)) else ()):
            if isinstance(one, (str, int, float, list)):
                refuse(f'{name}.{index}', one, 'dict')
        if isinstance(value, (str, int, float)):
            refuse(name, value, 'list of dicts')
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if isinstance(hook, (str, int, float, list)):
            refuse(f'default_hooks.{name}', hook, 'dict')
        near = difflib.get_close_matches(name, HOOK_NAMES, n=1, cutoff=0.75)
        if name not in HOOK_NAMES and near:
            raise InputError(
                f'default_hooks.{name} in {cfg.filename} is no hook of every run. Did '
                f"you mean '{near[0]}'? Another hook belongs to custom_hooks."
            )
    for path in WHOLE_NUMBERS:
        value = value_at(cfg, path)
        if value is not None and not isinstance(value, int):
            refuse(path, value, 'whole number')
    schedulers = cfg.get('param_scheduler') or []
    for index, one in enumerate([schedulers] if 'type' in schedulers else schedulers):
        for key in SCHEDULE_NUMBERS:
            if isinstance(one, dict) and isinstance(one.get(key), (str, dict, list)):
                refuse(f'param_scheduler.{index}.{key}', one[key], 'number')
    for path, known in NEAR.items():
        found = value_at(cfg, path)
        for one in found if isinstance(found, (list, tuple)) else [found]:
            for name in set(one) - set(known) if isinstance(one, dict) else ():
                if near := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
                    raise InputError(
                        f"key '{path}.{name}' in {cfg.filename} has no effect. Did "
                        f"you mean '{near[0]}'?"
                    )
    check_types(cfg.to_dict(), '', refuse)


def value_at(cfg: Config, path: str) -> Any:
    """Return what stands at a dotted path of a config, or None."""
    value: Any = cfg
    for key in path.split('.'):
        if isinstance(value, (list, tuple)):  # of stages, which are alike
            value = value[0] if value else None
        value = value.get(key) if hasattr(value, 'get') else None
    return value


def check_types(node: Any, path: str, refuse: Callable[[str, Any, str], None]) -> None:
    """Check that every ``type`` is a name or a class, and loaders of hooks as well."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    is_loader = isinstance(node, dict) and 'dataset' in node and 'batch_size' in node
    for key, value in items:
        place = f'{path}.{key}'.lstrip('.')
        if is_loader and key in LOADER_DICTS and isinstance(value, (str, int, float)):
            refuse(place, value, 'dict')
        if key == 'type' and isinstance(value, (int, float, dict, list)):
            refuse(place, value, 'name of a type')
        if isinstance(value, (dict, list, tuple)):
            check_types(value, place, refuse)
