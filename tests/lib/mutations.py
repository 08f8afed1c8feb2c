"""Configs made wrong at random: keys, types, networks and files."""

import copy
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

# Where a mistake is made; what tools and hosts read only to log or to draw is not here.
PARTS = (
    *('model', 'train_dataloader', 'val_dataloader', 'optim_wrapper', 'train_cfg'),
    *('param_scheduler', 'val_evaluator', 'default_hooks', 'custom_hooks'),
    *('data_preprocessor', 'env_cfg', 'randomness', 'auto_scale_lr'),
)
TYPES = {
    'backbone': (
        'ResNet',
        'mmtlalign.LVViT',
        'mmpretrain.TIMMBackbone',
        'SwinTransfomer',
    ),
    'head': ('UPerHead', 'mmtlalign.TokenLabelClsHead', 'LinearHead'),
    'decode_head': ('LinearClsHead', 'FCNHed', 'SegmenterMaskTransformerHead'),
    'neck': ('FPN', 'GlobalAveragePooling', 'mmtlalign.SimpleFeaturePyramd'),
    'roi_head': ('HybridRoIHead', 'PointRendRoIHead'),
    'optimizer': ('AdamWW', 'Adam2'),
    'dataset': ('ImageFolder', 'CocoDatset'),
    'val_evaluator': ('Acuracy', 'IoUMetrik'),
}
KINDS = ('misspelt key', 'wrong type', 'other network', 'missing file')


class Mutation(NamedTuple):
    """A wrong config.

    Attributes:
        kind: One of ``KINDS``.
        path: Keys down to the change.
        words: Any of these names the place in a message.
        settings: The whole config.
    """

    kind: str
    path: tuple
    words: tuple[str, ...]
    settings: dict


def places(node: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """Every key of every dict with its value."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key), value
            yield from places(value, (*path, key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from places(value, (*path, index))


def parent_of(settings: dict, path: tuple) -> Any:
    for key in path[:-1]:
        settings = settings[key]
    return settings


def misspell(key: str, draw: random.Random) -> str:
    place = draw.randrange(len(key))
    return draw.choice(
        [key[:place] + key[place + 1 :], key + 's', key[:place] + 'q' + key[place:]]
    )


def wrong_value(value: Any, draw: random.Random) -> Any:
    if isinstance(value, bool):
        return 'maybe'
    if isinstance(value, (int, float)):
        return draw.choice(['many', [value, value, value], dict(a=1)])
    if isinstance(value, str):
        return draw.choice([3, ['a', 'b'], dict(a=1)])
    if isinstance(value, dict):
        return draw.choice(['text', 7, [1, 2]])
    return draw.choice(['text', 7.5, dict(a=1)])


def mutate(settings: dict, kind: str, draw: random.Random) -> Mutation | None:
    """Make one mistake of a kind, or None if there is no place for it."""
    settings = copy.deepcopy(settings)
    found = [
        (path, value)
        for part in PARTS
        if part in settings
        for path, value in places({part: settings[part]})
        if all(not isinstance(key, str) or not key.startswith('_') for key in path)
        # What is in a list of names, or keyed by names, is not checked by anyone.
        and not {'custom_keys', 'metainfo', 'test_dataloader'} & set(path)
    ]
    if kind == 'misspelt key':
        path, value = draw.choice([f for f in found if isinstance(f[0][-1], str)])
        wrong = misspell(path[-1], draw)
        parent = parent_of(settings, path)
        parent[wrong] = parent.pop(path[-1])
        return Mutation(kind, (*path[:-1], wrong), (wrong, path[-1]), settings)
    if kind == 'wrong type':
        path, value = draw.choice([f for f in found if f[1] is not None])
        wrong = wrong_value(value, draw)
        parent_of(settings, path)[path[-1]] = wrong
        words = tuple(str(key) for key in path[-3:] if isinstance(key, str))
        return Mutation(kind, path, (*words, str(wrong)), settings)
    if kind == 'other network':
        fits = [
            (p, v)
            for p, v in found
            if p[-1] in TYPES and isinstance(v, dict) and 'type' in v
        ]
        path, value = draw.choice(fits)
        wrong = draw.choice([t for t in TYPES[path[-1]] if t != value['type']])
        value['type'] = wrong
        return Mutation(
            kind,
            (*path, 'type'),
            (wrong.rpartition('.')[2], *path[-2:], *value),
            settings,
        )
    names = ('data_root', 'ann_file', 'data_prefix', 'img', 'img_path', 'seg_map_path')
    fits = [f for f in found if f[0][-1] in names and isinstance(f[1], str) and f[1]]
    path, value = draw.choice([*fits, (('load_from',), ''), (('pretrained',), '')])
    wrong = value.rstrip('/') + '/nowhere_here'
    if path == ('pretrained',) and 'pretrained' not in settings:
        path = ('load_from',)
    parent_of(settings, path)[path[-1]] = wrong
    return Mutation(kind, path, ('nowhere_here', str(path[-1])), settings)
