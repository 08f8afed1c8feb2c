"""Check the form of a config: which values are dicts, lists, numbers or type names."""

import difflib
from collections.abc import Callable
from typing import Any

from mmengine.config import Config

from mmtlalign.errors import InputError

SPLITS = ('train', 'val', 'test')
LOADER_DICTS = ('dataset', 'sampler', 'batch_sampler', 'collate_fn')
NMS = dict(type=object, iou_threshold=float)
PROPOSALS = dict(nms_pre=int, max_per_img=int, nms=dict, min_bbox_size=float)
TARGETS = dict(assigner=dict, sampler=dict, pos_weight=float, debug=int)
# Dicts without a type: their keys, and the types of their values. Their readers ignore
# other keys, and fail late on wrong values.
FORMS: dict[str, dict[str, Any]] = {
    '': dict.fromkeys(
        (
            *(f'{split}_{part}' for split in SPLITS for part in ('dataloader', 'cfg')),
            *('val_evaluator', 'test_evaluator', 'model', 'data_preprocessor'),
            *('optim_wrapper', 'default_hooks', 'env_cfg', 'randomness'),
            *('auto_scale_lr', 'visualizer', 'log_processor'),
        ),
        dict,
    ),
    **{
        f'{split}_dataloader': dict(batch_size=int, num_workers=int)
        | dict.fromkeys(LOADER_DICTS, dict)
        for split in SPLITS
    },
    **{
        f'{split}_dataloader.dataset.data_prefix': dict.fromkeys(
            ('img_path', 'seg_map_path', 'img', 'seg'), str
        )
        for split in SPLITS
    },
    **{
        f'{split}_dataloader.dataset.filter_cfg': dict.fromkeys(
            ('filter_empty_gt', 'min_size', 'bbox_min_size'), object
        )
        for split in SPLITS
    },
    'train_cfg': dict.fromkeys(
        ('max_epochs', 'max_iters', 'val_interval', 'val_begin'), int
    ),
    'auto_scale_lr': dict(base_batch_size=int, enable=int),
    'env_cfg': dict(mp_cfg=dict, dist_cfg=dict, cudnn_benchmark=int),
    'env_cfg.mp_cfg': dict(opencv_num_threads=int, mp_start_method=str),
    'env_cfg.dist_cfg': dict(backend=str, timeout=int),
    'randomness': dict.fromkeys(('seed', 'deterministic', 'diff_rank_seed'), int),
    'optim_wrapper': dict(optimizer=dict, clip_grad=dict, paramwise_cfg=dict),
    'model': dict(backbone=dict),
    'model.train_cfg': dict(rpn=dict, rpn_proposal=dict),
    'model.test_cfg': dict(rpn=dict, rcnn=dict)
    | dict(mode=str, crop_size=object, stride=object),
    'model.train_cfg.rpn': TARGETS | dict(allowed_border=int),
    'model.train_cfg.rcnn': TARGETS | dict(mask_size=object),
    'model.train_cfg.rpn_proposal': PROPOSALS,
    'model.train_cfg.rpn_proposal.nms': NMS,
    'model.test_cfg.rpn': PROPOSALS,
    'model.test_cfg.rpn.nms': NMS,
    'model.test_cfg.rcnn': dict(score_thr=float, mask_thr_binary=float)
    | dict(max_per_img=int, nms=dict),
    'model.test_cfg.rcnn.nms': NMS,
}
# Dicts whose misspelt keys are not found by any other check.
LATE = ('model.train_cfg.', 'model.test_cfg', 'env_cfg.dist_cfg')
WORDS = {dict: 'a dict', int: 'an integer', float: 'a number', str: 'a string'}
# The names that mmengine and the hosts give to the hooks of every run.
HOOK_NAMES = (
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler'),
    *('checkpoint', 'visualization'),
)


def check_shapes(cfg: Config) -> None:
    """Check that every part of a config has the form that the runner expects.

    Raises:
        InputError: A part has another form.
    """

    def refuse(path: str, value: Any, wanted: str) -> None:
        raise InputError(
            f'{path}={value!r} in {cfg.filename} must be {wanted}. Correct it.'
        )

    for path, form in FORMS.items():
        found = value_at(cfg, path)
        for node in found if isinstance(found, (list, tuple)) else [found]:
            if hasattr(node, 'items'):
                check_form(node, path, form, refuse)
    for name in ('custom_hooks', 'param_scheduler'):
        value = cfg.get(name)
        for index, one in enumerate(value if isinstance(value, (list, tuple)) else ()):
            if isinstance(one, (str, int, float, list)):
                refuse(f'{name}.{index}', one, 'a dict')
        single = name == 'custom_hooks' and hasattr(value, 'items')
        if single or isinstance(value, (str, int, float)):
            refuse(name, value, 'a list of dicts')
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if isinstance(hook, (str, int, float, list)):
            refuse(f'default_hooks.{name}', hook, 'a dict')
        near = difflib.get_close_matches(name, HOOK_NAMES, n=1, cutoff=0.75)
        if name not in HOOK_NAMES and near:
            raise InputError(
                f'default_hooks.{name} in {cfg.filename} is not a default hook. Did '
                f"you mean '{near[0]}'? Other hooks belong in custom_hooks."
            )
    check_types(cfg.to_dict(), '', refuse)


def check_form(
    node: Any, path: str, form: dict[str, type], refuse: Callable[[str, Any, str], None]
) -> None:
    """Check the keys and values of a dict without a type.

    Raises:
        InputError: A key is misspelt, or a value is of another kind.
    """
    for key, value in node.items():
        place = f'{path}.{key}'.lstrip('.')
        kind = form.get(key)
        near = difflib.get_close_matches(key, form, n=1, cutoff=0.8)
        late = path.startswith(LATE) or path.endswith(('.data_prefix', '.filter_cfg'))
        if kind is None and near and near[0] not in node and late:
            raise InputError(f"key '{place}' has no effect. Did you mean '{near[0]}'?")
        # Several metrics, and stages of a detector (such as those of Cascade RPN).
        listed = key.endswith('_evaluator') or path.startswith('model.t')
        several = kind is dict and listed and isinstance(value, (list, tuple))
        whole = isinstance(value, float) and value.is_integer()
        if kind is None or value is None or several or (kind is int and whole):
            continue
        if kind is dict:
            # In the lazy style it may be a class or an object.
            if isinstance(value, (str, int, float, list, tuple)):
                refuse(place, value, WORDS[kind])
            near = difflib.get_close_matches('type', value, n=1, cutoff=0.8)
            if key == 'collate_fn' and 'type' not in value and near:
                # It has a default type, and takes any other key.
                raise InputError(
                    f"key '{place}.{near[0]}' is not known. Did you mean 'type'?"
                )
        elif not isinstance(value, kind if kind is str else (int, kind)):
            refuse(place, value, WORDS[kind])


def value_at(cfg: Config, path: str) -> Any:
    """Return the value at a dotted path of a config, or None."""
    value: Any = cfg
    for key in filter(None, path.split('.')):
        if isinstance(value, (list, tuple)):  # such as stages, which are alike
            value = value[0] if value else None
        value = value.get(key) if hasattr(value, 'get') else None
    return value


def check_types(node: Any, path: str, refuse: Callable[[str, Any, str], None]) -> None:
    """Check that every ``type`` is a name or class, and parts of loaders are dicts."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    is_loader = isinstance(node, dict) and 'dataset' in node and 'batch_size' in node
    for key, value in items:
        place = f'{path}.{key}'.lstrip('.')
        if is_loader and key in LOADER_DICTS and isinstance(value, (str, int, float)):
            refuse(place, value, 'a dict')
        if key == 'type' and isinstance(value, (int, float, dict, list)):
            refuse(place, value, 'the name of a type')
        if isinstance(value, (dict, list, tuple)):
            check_types(value, place, refuse)
