"""The items of all suites, the choice among them, and the plan that is printed."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from mmtlalign.errors import InputError
from tools.evaluation import (
    adversarial,
    attention,
    cost,
    empty_box,
    labels,
    occlusion,
    pages,
    robustness,
    test_sets,
)
from tools.evaluation.context import Context
from tools.evaluation.items import Item
from tools.evaluation.objects import find_objects
from tools.evaluation.run import forward_seconds
from tools.output import format_table

ITEMS: tuple[Item, ...] = (
    *robustness.ITEMS,
    *test_sets.ITEMS,
    *adversarial.ITEMS,
    *occlusion.ITEMS,
    *attention.ITEMS,
    *labels.ITEMS,
    *empty_box.ITEMS,
    *pages.ITEMS,
    *cost.ITEMS,
)


@dataclass(frozen=True)
class Line:
    """One line of the plan.

    Attributes:
        item: The item.
        missing: Why it cannot be measured; None if it can.
        images: Number of images, or pairs.
        seconds: Estimated time for all networks.
    """

    item: Item
    missing: str | None
    images: int = 0
    seconds: float = 0.0


def choose(suites: Sequence[str], names: Sequence[str] | None) -> list[Item]:
    """Return the items of some suites, or some of them by name.

    Raises:
        InputError: A name is not an item of the suites.
    """
    found = [item for item in ITEMS if 'all' in suites or item.suite in suites]
    known = [item.name for item in found]
    for name in names or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'Did you mean {near[0]!r}? ' if near else ''
            raise InputError(
                f'--items {name}: --suite {" ".join(suites)} has no such item. '
                f'{hint}Its items: {", ".join(known)}.'
            )
    return [item for item in found if not names or item.name in names]


def check(context: Context) -> None:
    """Check the data and files of the command line, before anything is measured.

    Raises:
        InputError: The test set has other classes, or a file is wrong.
    """
    classes = len(context.dataset.metainfo.get('classes') or ())
    if classes and classes != context.num_classes:
        raise InputError(
            f'The test set has {classes} classes, the network {context.num_classes}: '
            'its labels would refer to other classes. Correct data_root, or give the '
            'config that the network was trained with.'
        )
    context.check_classes()
    if context.options.saliency != 'self':
        occlusion.check_maps(context.options.saliency, len(context.dataset))
    find_objects(context)


def plan(context: Context, items: Sequence[Item]) -> list[Line]:
    """Return what will be measured, and about how long it takes."""
    lines = []
    forward = None
    for item in items:
        missing = item.missing(context)
        if missing is not None:
            lines.append(Line(item, missing))
            continue
        if forward is None:
            forward = forward_seconds(context)
        seconds = item.seconds(context, forward) * len(context.checkpoints)
        lines.append(
            Line(item, None, item.images(context), seconds / context.processes)
        )
    return lines


def describe(context: Context, lines: Sequence[Line]) -> str:
    """Return the plan as text, with its time."""
    cells = [['item', 'images', 'about', 'what']]
    for line in lines:
        what = line.item.about
        if line.missing:
            cells.append(
                [line.item.name, '–', '–', f'{what}; not measured: {line.missing}']
            )
        else:
            cells.append(
                [line.item.name, str(line.images), duration(line.seconds), what]
            )
    total = duration(sum(line.seconds for line in lines))
    weights = [f'{name}: {text}' for name, text in context.descriptions.items()]
    return '\n'.join(
        [*weights, format_table(cells, left=(0, 3)), f'all: about {total}']
    )


def duration(seconds: float) -> str:
    """Return a duration as text: ``'40 s'``, ``'12 min'``, ``'3.5 h'``."""
    if seconds < 90:
        return f'{max(1, seconds):.0f} s'
    if seconds < 5400:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.1f} h'
