"""Read a config, and refuse keys that have no effect.

Errors, which name the nearest known key, are:

* a name at the top level of a config file that is neither a setting nor used as a
  variable: misspelt, or a variable of a base that the base has used already;
* a ``--cfg-options`` key that nobody reads, or that comes too late;
* a key that mmengine does not know in dicts that are not passed to a constructor.

A misspelt argument of a dict with a ``type`` is caught by the constructor; mmengine
silently ignores all other unknown keys. It evaluates a config file by file and keeps
only the values. Whether a name such as ``crop_size`` is a variable or a setting shows
only in the source, so the files are parsed here once more.
"""

import difflib
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.runner import Runner

from mmtlalign.compat.own_configs import SCOPE, own_config
from mmtlalign.compat.wrappers import walk_datasets
from mmtlalign.errors import InputError
from mmtlalign.validation.config_reading import read_config, read_sources
from mmtlalign.validation.config_shapes import SPLITS, check_shapes

# Folders that --cfg-options moves, with every path below them.
ROOTS = ('data_root', 'label_map_root')
# Keys that `Runner.from_cfg` reads, and that mmengine reads from `runner.cfg` later.
RUNNER_KEYS = {
    *(set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}),
    *('activation_checkpointing', 'compile', 'efficient_conv_bn_eval'),
    *('find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'strategy'),
    'sync_bn',
}
# Keys read by mmengine, by this package's tools and hooks, and by the hosts' inference.
SETTINGS = {
    *ROOTS,
    *('custom_imports', 'pretrained', 'test_pipeline', 'tta_model', 'tta_pipeline'),
}
# Dicts without a type that mmengine reads key by key, and their keys.
UNTYPED = {
    'auto_scale_lr': {'base_batch_size', 'enable'},
    'env_cfg': {'cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'optim_wrapper.clip_grad': {
        *('type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'clip_value'),
        'foreach',
    },
}
# Dicts without a type whose keys become arguments of a call.
CALLED = {
    *('env_cfg.dist_cfg', 'log_processor', 'optim_wrapper', 'randomness'),
    *('test_cfg', 'train_cfg', 'val_cfg'),
}
PARAMWISE_KEYS = {
    *('bias_decay_mult', 'bias_lr_mult', 'bypass_duplicate', 'custom_keys'),
    *('dcn_offset_lr_mult', 'dwconv_decay_mult', 'flat_decay_mult', 'norm_decay_mult'),
}
LAYER_DECAY_KEYS = PARAMWISE_KEYS | {'decay_rate'}
# The constructors that take a `paramwise_cfg` whose keys are known here.
CONSTRUCTORS = {
    DefaultOptimWrapperConstructor.__name__: PARAMWISE_KEYS,
    'mmtlalign.FastOptimWrapperConstructor': PARAMWISE_KEYS,
    'mmtlalign.LayerDecayOptimWrapperConstructor': LAYER_DECAY_KEYS,
}
# Similarity from which on a name counts as a misspelt known key, or as one of the dict.
MISSPELT = 0.88
ALIKE = 0.8
USED_ALREADY = 'has used its value already'


class UnreadKeyError(InputError):
    """A config sets a key that nobody reads."""


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config, apply ``--cfg-options``, and check every key.

    Args:
        path: The config file.
        options: Dotted key to value. ``data_root`` moves every path below the
            ``data_root`` of the file, ``label_map_root`` likewise.

    Raises:
        InputError: There is no such file.
        UnreadKeyError: A key is set that nobody reads.
    """
    if path.startswith(SCOPE):
        path = own_config(path.removeprefix(SCOPE))
    cfg = read_config(path)
    check_top_level(cfg, path)
    options = dict(options or {})
    check_options(cfg, options)
    for root in ROOTS:
        if root not in options:
            continue
        # check_options has made sure that there is one.
        old, new = find_root(cfg, root) or '', options.pop(root)
        new = '' if new is None else str(new)  # a folder named 2012 is no number
        if new and not new.endswith('/') and old.endswith('/'):
            new += '/'
        moved = {key: move(value, old, new) for key, value in cfg.items()}
        cfg.merge_from_dict({k: v for k, v in moved.items() if v != cfg[k]})
    cfg.merge_from_dict(options)
    check_shapes(cfg)
    check_untyped(cfg)
    return cfg


def find_root(cfg: Config, root: str) -> str | None:
    """Return the folder that ``--cfg-options data_root=DIR`` replaces.

    It is the top-level setting, or, in configs of the hosts that do not have it, the
    one that all data sets of the config share.
    """
    if cfg.get(root):
        return cfg[root]
    loaders = [cfg.get(f'{split}_dataloader') or {} for split in SPLITS]
    shared = {
        inner.get(root)
        for loader in loaders
        for inner in walk_datasets(loader.get('dataset') or {})
        if inner.get(root)
    }
    return shared.pop() if len(shared) == 1 else None


def check_top_level(cfg: Config, path: str) -> None:
    """Check the names that the files of a config set at their top level.

    A name counts as read if the runner or a tool reads it, if its own file uses it as a
    variable, if a file that builds on it takes it as ``_base_.name``, or if its value
    occurs elsewhere in the config. A file of values alone, such as the copy that
    mmengine writes to a work directory, keeps former variables: there an unread name is
    an error only if it resembles a known key. Files of the hosts are not checked,
    because the user cannot change them.

    Raises:
        UnreadKeyError: For the first name that is not read.
    """
    sources, known = read_sources(path), known_keys(cfg)
    for number, source in enumerate(sources):
        if '/.mim/configs/' in source.path:
            continue
        taken = set().union(*(later.base_reads for later in sources[number + 1 :]))
        overrides = set().union(*(base.sets for base in sources[:number]))
        # Setting a root again in a file that builds on another comes too late, because
        # the base has used it. A data_root without a path below it moves nothing.
        settings = known - {'data_root'} - (set(ROOTS) & overrides)
        for name in sorted(source.sets - settings - source.reads - taken):
            if name.startswith('_') or stands_elsewhere(cfg, name):
                continue
            if not source.is_data or difflib.get_close_matches(
                name, known, 1, MISSPELT
            ):
                reason = f'its base {USED_ALREADY}' if name in overrides else ''
                raise_unread(name, known, source.path, reason)


def check_options(cfg: Config, options: dict[str, Any]) -> None:
    """Check that every key of ``--cfg-options`` is read.

    A new key is allowed where it is checked later, as in a dict with a ``type``, and
    where a host reads it, unless it resembles a key that is there.

    Raises:
        UnreadKeyError: A key is not read.
        InputError: A key names an item of a list or a value that it cannot set.
    """
    where, known = '--cfg-options', known_keys(cfg)
    for key in options:
        first, *rest = key.split('.')
        if first not in known:
            reason = f'the file {USED_ALREADY}' if first in cfg else ''
            if first == 'pretrained':
                reason = 'mmtlalign.PretrainedBackboneHook, which reads it, is not used'
            raise_unread(first, known, where, reason)
        if key in ROOTS and not find_root(cfg, key):
            raise UnreadKeyError(
                f'{where} {key}: this config has no {key} to change'
                + (
                    ', nor data sets that share one. Set '
                    'train_dataloader.dataset.data_root, and likewise for val and test.'
                    if key == 'data_root'
                    else '. Leave it out.'
                )
            )
        node, path = cfg.get(first), first
        for depth, part in enumerate(rest, 1):
            if isinstance(node, (list, tuple)):
                node = item_of(node, part, path, f"'{key}' in {where}")
                if depth == len(rest):
                    raise InputError(
                        f"'{key}' in {where}: an item of a list cannot be set alone. "
                        f'Give the whole list, {path}="[…]", or a key of the item.'
                    )
            elif isinstance(node, dict) and part in node:
                node = node[part]
            else:
                if isinstance(node, dict) and not may_be_read(part, node, path):
                    raise_unread(key, [f'{path}.{name}' for name in node], where)
                if node is not None and not isinstance(node, dict):
                    raise InputError(
                        f"'{key}' in {where}: {path} is {node!r}, which has no "
                        f"'{part}'. Set {path} itself."
                    )
                break
            path = f'{path}.{part}'


def item_of(node: Sequence, part: str, path: str, where: str) -> Any:
    """Return the item of a list that an option names by its number.

    Raises:
        InputError: It is not a number, or there is no such item.
    """
    if part.isdecimal() and int(part) < len(node):
        return node[int(part)]
    raise InputError(
        f'{where}: {path} is a list of {len(node)}; '
        + (
            f'name an item by its number, {path}.0 to {path}.{len(node) - 1}.'
            if node
            else f'replace it as a whole: {path}="[…]".'
        )
    )


def check_untyped(cfg: Config) -> None:
    """Check the dicts that mmengine reads key by key.

    Raises:
        UnreadKeyError: For the first key that is not read.
    """
    tables = dict(UNTYPED)
    default = DefaultOptimWrapperConstructor.__name__
    constructor = (cfg.get('optim_wrapper') or {}).get('constructor', default)
    if constructor in CONSTRUCTORS:
        tables['optim_wrapper.paramwise_cfg'] = CONSTRUCTORS[constructor]
    for path, known in tables.items():
        node = cfg
        for part in path.split('.'):
            node = (node or {}).get(part)
        for name in sorted(set(node or {}) - known):
            # Markers such as `_delete_` begin with an underscore.
            if not name.startswith('_'):
                options = [f'{path}.{other}' for other in known]
                raise_unread(f'{path}.{name}', options, cfg.filename)


def known_keys(cfg: Config) -> set[str]:
    """Return the top-level keys that are read for this config."""
    # By its text, because the form of custom_hooks is checked later.
    if "'mmtlalign.PretrainedBackboneHook'" in repr(cfg.get('custom_hooks')):
        return RUNNER_KEYS | SETTINGS
    return RUNNER_KEYS | SETTINGS - {'pretrained'}


def may_be_read(key: str, node: dict, path: str) -> bool:
    """Return whether a new key of a dict may have a reader.

    Which keys the hosts read in dicts without a type, such as ``test_cfg``, is not
    known; a network's ``arch`` has all of its keys.
    """
    if is_checked_later(node, path):
        return True
    near = difflib.get_close_matches(key, node, 1, ALIKE)
    return not near and path != 'default_hooks' and not path.endswith('.arch')


def is_checked_later(node: dict, path: str) -> bool:
    """Return whether a call or check_untyped will catch an unknown key of this dict."""
    known_path = path in CALLED or path in UNTYPED
    return (
        'type' in node
        or 'augments' in node  # arguments of a BatchMixer
        or known_path
        or path.endswith(('_dataloader', '.paramwise_cfg', '.custom_keys'))
    )


def stands_elsewhere(cfg: Config, name: str) -> bool:
    """Return whether the value of a top-level name occurs elsewhere in the config."""
    value = cfg.get(name)
    if value is None:
        return True
    if isinstance(value, (bool, int)) and value in (0, 1):
        return False

    def holds(node: Any) -> bool:
        if node == value and type(node) is type(value):
            return True
        if isinstance(value, str) and isinstance(node, str):
            return len(value) > 1 and node.startswith(value)
        if isinstance(node, dict):
            return any(holds(child) for child in node.values())
        return isinstance(node, (list, tuple)) and any(map(holds, node))

    return any(holds(other) for key, other in cfg.items() if key != name)


def move(node: Any, old: str, new: str) -> Any:
    """Replace the folder ``old`` by ``new`` at the beginning of every path."""
    if isinstance(node, dict):
        return {key: move(child, old, new) for key, child in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(move(child, old, new) for child in node)
    # Whole folder names only: data/imagenet must not match data/imagenet_maps.
    if isinstance(node, str) and f'{node}/'.startswith(f'{old.rstrip("/")}/'):
        return new + node[len(old) :]
    return node


def raise_unread(name: str, known: Iterable[str], where: str, reason: str = '') -> None:
    """Raise UnreadKeyError with the place, the nearest known key and the remedy."""
    near = difflib.get_close_matches(name, list(known), n=1)
    remedy = f"Did you mean '{near[0]}'? Else remove it." if near else 'Remove it.'
    if USED_ALREADY in reason or name in ROOTS:
        remedy = (
            'Change the value where it is used; --cfg-options data_root=… changes the '
            'data folder.'
        )
    reason = reason or 'nothing reads it'
    raise UnreadKeyError(f"key '{name}' in {where} has no effect: {reason}. {remedy}")
