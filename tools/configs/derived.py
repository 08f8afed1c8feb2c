"""Recipes that are derived from another recipe by a change of the method.

A row of `ROWS` names recipes (a pattern below configs/) and a method. So a new backbone
needs one recipe of its own; its TL-Align, its TransMix and their controls are written
by `python tools/configs/generate.py`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from tools.configs.headers import MARK, Header, read_header

UNPUBLISHED = 'no published number.'
UNKNOWN = 'no published number is known to us.'
BASE = 'the base config.'
EVERY_VALUE = 'every value of the recipe.'
CONTROL = 'the matched control.'
MIXES_ALL = 'CutMix mixes every batch and Mixup is off, as in its recipe for DeiT.'
MIXES_HALF = 'unchanged, with Mixup and CutMix in half of the batches each'


@dataclass(frozen=True)
class Row:
    """A method for all recipes that match a pattern, and the texts of their headers."""

    method: str
    bases: str
    expected: str
    source: str
    ours: str


# In this order, because the controls build on the others.
ROWS = (
    Row(
        'tlalign',
        'dhvt/*',
        UNPUBLISHED,
        'the official recipe of DHVT, the base config.',
        'the use of this recipe for TL-Align, and its rule for head tokens '
        f'(Tracer.append_tokens). {MIXES_ALL}',
    ),
    Row(
        'tlalign',
        'pvt/*',
        "the paper's table contains PVT, but we could not confirm its numbers.",
        "PVT's own recipe, the base config.",
        'the use of this recipe for TL-Align; the paper states neither its PVT '
        'settings nor the grid of the box, which is here that of the patch embedding. '
        f'{MIXES_ALL}',
    ),
    Row(
        'tlalign',
        'caswin/*',
        UNPUBLISHED,
        BASE,
        'the use of this recipe for TL-Align, which reads the target at the class '
        f'token. {MIXES_ALL} The box lies on the grid of the patch embedding.',
    ),
    Row(
        'transmix',
        'dhvt/*',
        UNPUBLISHED,
        'the official recipe of DHVT, the base config, which is the control.',
        'the use of this recipe for TransMix, and the rule that the attention of the '
        'class token to head tokens counts equally for all tokens '
        '(Tracer.append_tokens).',
    ),
    Row(
        'transmix',
        'pvt/*',
        'no number from the authors.',
        "PVT's own recipe, the base config, which is the control.",
        f'the use of this recipe for TransMix, {MIXES_HALF}; the paper does not state '
        'its PVT settings.',
    ),
    Row(
        'transmix',
        'caswin/*',
        'no number from the authors.',
        'the base config, which is the control.',
        f'the use of this recipe for TransMix, {MIXES_HALF}.',
    ),
    Row('transmix', 'tlalign/tlalign_deit-*_cifar*', UNKNOWN, BASE, EVERY_VALUE),
    Row(
        'cutmix',
        'tlalign/tlalign_deit-*_in1k',
        UNKNOWN,
        BASE,
        "the matched control; the paper compares with DeiT's own recipe, which also "
        'has Mixup.',
    ),
    Row('cutmix', 'tlalign/*', UNKNOWN, BASE, CONTROL),
    Row(
        'cutmix',
        'transmix/transmix_deit-*_8xb32-*',
        UNKNOWN,
        BASE,
        "the matched control; a question in TransMix's tracker about the result of "
        'plain mixing with this recipe was never answered.',
    ),
    Row('cutmix', 'transmix/transmix-official-switch_*', UNKNOWN, BASE, CONTROL),
    Row('cutmix', 'transmix/transmix_xcit-*', UNKNOWN, BASE, CONTROL),
    Row(
        'mixtoken',
        'token_labeling/token-label_lvvit-*-310e_*',
        UNKNOWN,
        BASE,
        f'{CONTROL} For training without label maps the authors advise Mixup of 0.8 '
        'or CutMix of 1.0 instead (issue 6 of their tracker).',
    ),
    Row('mixtoken', 'token_labeling/token-label_*', UNKNOWN, BASE, CONTROL),
)
# Known results of single recipes.
EXPECTED = {
    'transmix_caswin-tiny-p4-w7_16xb64-coslr-300e_in1k': 'top-1 81.8 (without TransMix '
    '81.6; CVPR 2022, §4.5).',
    'transmix_pvt-small_8xb128-coslr-300e_in1k': 'top-1 80.5 (plain PVT 79.8), read '
    "off the plot in the authors' repository.",
    'transmix_pvt-medium_8xb128-coslr-300e_in1k': 'top-1 82.1 (plain PVT 81.2), read '
    "off the plot in the authors' repository.",
}
TITLES = dict(
    tlalign='TL-Align with {}',
    transmix='TransMix with {}',
    cutmix='Control with plain mixing of: {}',
    mixtoken='Control without label maps (only the class token is trained) of: {}',
)
PREFIXES = dict(tlalign='mmtlalign.TLAlign', transmix='mmtlalign.TransMix', cutmix='')
WITH_BOX = """\
model = dict(
    {head},
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size={patch})],
        probs=None,
    ),
)
"""
PLAIN_MIX = """\
model = dict(
    {head},
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
"""
SAME_MIX = 'model = dict({head})\n'
WITHOUT_MAPS = """\
model = dict(head=dict(class_target='label', loss=dict(dense_weight=0.0)))
train_pipeline = _base_._plain_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
"""
FOLDERS = dict(mixtoken='token_labeling')
STEMS = dict(mixtoken='token-label', cutmix='(?:tlalign|transmix)', transmix='tlalign')


def derived_recipes(configs: Path, method: str) -> Iterator[tuple[Path, str]]:
    """Yield (path, text) of the recipes with a method, from their bases as they are."""
    written = set()
    for row in (row for row in ROWS if row.method == method):
        for base in sorted(configs.glob(f'{row.bases}.py')):
            path = configs / FOLDERS.get(method, method) / f'{rename(base, method)}.py'
            if path not in written:
                written.add(path)
                yield path, derive(base, path, row)


def rename(base: Path, method: str) -> str:
    """Return a recipe's name with another method: `tlalign_X` or `X` to `cutmix_X`."""
    name, count = re.subn(f'^{STEMS.get(method, method)}(?=[_-])', method, base.stem)
    return name if count else f'{method}_{base.stem}'


def derive(base: Path, path: Path, row: Row) -> str:
    """Return the text of a recipe that builds on another.

    Args:
        base: The recipe that it builds on.
        path: The path that it will have.
        row: Its method and its texts.
    """
    header, relative = read_header(base), f'../{base.parent.name}/{base.name}'
    if base.parent == path.parent:
        relative = f'./{base.name}'
    # With token labels, all lines but the command are about maps and weights.
    run = header.run[:1] if row.method == 'mixtoken' else header.run
    folder = f'configs/{path.parent.name}/'
    run = [
        line.replace(base.stem, path.stem).replace(
            f'configs/{base.parent.name}/', folder
        )
        for line in run
    ]
    one = '; one GPU' if header.cost.endswith('one GPU.') else ''
    opening = Header(
        title_of(header.title, row.method),
        run,
        EXPECTED.get(path.stem, row.expected),
        'not yet.',
        f'not measured by us{one}.',
        row.source,
        row.ours,
    ).render()
    line = f"_base_ = '{relative}'\n"
    if len(line) > 89:
        line = f"_base_ = (\n    '{relative}'\n)\n"
    return f'{MARK}\n{opening}{line}\n{body(base, row.method)}'


def title_of(title: str, method: str) -> str:
    """Return the title of a recipe, from the title of its base."""
    title = (
        title.partition('. ')[0].removesuffix('.').removesuffix(': the official recipe')
    )
    if method == 'transmix' and 'TL-Align' in title:
        return title.replace('TL-Align', 'TransMix') + '.'
    return TITLES[method].format(title) + '.'


def body(base: Path, method: str) -> str:
    """Return the settings: the head of the method and its mixing."""
    config = Config.fromfile(base)
    if method == 'mixtoken':
        start = config.get('pretrained') or ''
        start = start.replace('token-label_', 'mixtoken_')
        return (f"pretrained = '{start}'\n" if start else '') + WITHOUT_MAPS
    plain = re.sub(r'^mmtlalign\.(TLAlign|TransMix)', '', config.model.head.type)
    head = f"head=dict(type='{PREFIXES[method]}{plain}')"
    if method == 'tlalign':
        patch = re.search(r'-p(\d+)', base.stem)
        return WITH_BOX.format(head=head, patch=patch[1] if patch else 4)  # PVT's: 4
    mixed = [augment.type for augment in config.model.train_cfg.augments]
    settings = PLAIN_MIX if 'mmtlalign.TokenCutMix' in mixed else SAME_MIX
    return settings.format(head=head)
