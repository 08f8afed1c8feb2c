"""Writing of the label microscope as one HTML file that loads nothing else.

Equal pairs give equal bytes. Names of classes and files are written as escaped text and
JSON, never as markup or code.
"""

import base64
import html
import io
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import mmtlalign
from mmtlalign.compat.files import atomic_write
from mmtlalign.evaluation.microscope.records import Geometry, Pair, Rule

HERE = Path(__file__).parent
# Quality of WebP images; images of at most SMALL pixels a side are lossless.
QUALITY = 75
SMALL = 96


@dataclass(frozen=True)
class Page:
    """Content of a label microscope.

    Attributes:
        geometry: Positions of the tokens.
        pairs: The mixed images.
        classes: Names of the classes.
        about: Texts of the page's header by name: ``config``, ``weights``, ``hash``,
            ``network``, ``mixer``, ``data`` and ``note``, as far as they are known.
    """

    geometry: Geometry
    pairs: Sequence[Pair]
    classes: Sequence[str]
    about: Mapping[str, str] = field(default_factory=dict)


def write_page(page: Page, path: str | Path) -> Path:
    """Write a page atomically, and return its path.

    Args:
        page: Content of the page.
        path: HTML file; its folder is created, and an existing file is replaced.
    """
    path = Path(path).expanduser()
    text = render(page)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_bytes(text.encode())
    return path


def render(page: Page) -> str:
    """Return the HTML of a page."""
    data = page_data(page)
    pictures: dict[bytes, str] = {}
    parts = dict(
        title=html.escape(f'Label microscope: {page.about.get("config", "pairs")}'),
        style=(HERE / 'page.css').read_text(encoding='utf-8'),
        script=(HERE / 'page.js').read_text(encoding='utf-8'),
        about=''.join(_about_line(x) for x in data['about'] if x[0] in FIRST),
        more=''.join(_about_line(x) for x in data['about'] if x[0] not in FIRST),
        pairs=''.join(
            _article(page, data, number, pictures) for number in range(len(page.pairs))
        ),
        data=escape_json(data),
        version=html.escape(mmtlalign.__version__),
    )
    template = (HERE / 'page.html').read_text(encoding='utf-8')
    # In one pass, so that inserted text is not substituted again.
    return re.sub(r'<!--(\w+)-->', lambda found: parts[found[1]], template)


def page_data(page: Page) -> dict[str, Any]:
    """Return the data of a page's script, plain values without images."""
    geometry = page.geometry
    return dict(
        schema=1,
        version=mmtlalign.__version__,
        about=[[key, str(page.about[key])] for key in ABOUT if page.about.get(key)],
        size=list(geometry.size),
        patch=list(geometry.patch),
        output=geometry.output,
        special=list(geometry.special_names),
        layers=[
            dict(name=name, grid=list(grid), special=special)
            for name, grid, special in zip(
                geometry.names, geometry.grids, geometry.special
            )
        ],
        pairs=[_pair_data(pair, page.classes) for pair in page.pairs],
    )


def escape_json(data: Any) -> str:
    """Return JSON that is safe inside a script element."""
    text = json.dumps(data, separators=(',', ':'), sort_keys=True, allow_nan=False)
    for sign in '<>&':
        text = text.replace(sign, f'\\u{ord(sign):04x}')
    return text


def encode_picture(pixels: np.ndarray) -> str:
    """Return an image (H, W, 3), uint8, as a data URL of a WebP in base64."""
    stream = io.BytesIO()
    lossless = max(pixels.shape[:2]) <= SMALL
    Image.fromarray(pixels).save(
        stream, 'WEBP', quality=QUALITY, lossless=lossless, method=6
    )
    return 'data:image/webp;base64,' + _base64(stream.getvalue())


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Return a mask (H, W) as a box, as bits or as bytes.

    Returns:
        ``box``: top, bottom, left, right, ends exclusive; or ``bits`` or ``bytes``:
        zlib and base64, one bit or byte per pixel, row by row.
    """
    level = np.round(255 * mask).astype(np.uint8)
    if not set(np.unique(level)) <= {0, 255}:
        return dict(bytes=_base64(zlib.compress(level.tobytes(), 9)))
    rows, columns = (np.flatnonzero(level.any(axis)) for axis in (1, 0))
    if not len(rows):
        return dict(box=[0, 0, 0, 0])
    box = [int(i) for i in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)]
    if level[box[0] : box[1], box[2] : box[3]].all():
        return dict(box=box)
    return dict(bits=_base64(zlib.compress(np.packbits(level > 0).tobytes(), 9)))


def _pair_data(pair: Pair, classes: Sequence[str]) -> dict[str, Any]:
    return dict(
        own=classes[pair.own_class],
        partner=classes[pair.partner_class],
        same=pair.own_class == pair.partner_class,
        files=list(pair.files),
        mask=encode_mask(pair.mask),
        mixed=None if pair.mixed is None else encode_picture(pair.mixed),
        area=round(pair.area, 4),
        shares=_base64(np.concatenate(pair.shares).tobytes()),
        read=[round(share, 4) for share in pair.read],
        transmix=[s if s is None else round(s, 4) for s in pair.transmix],
        rules=[_rule_data(rule) for rule in pair.rules],
        best=[
            dict(
                name=classes[number],
                p=round(chance, 4),
                own=number == pair.own_class,
                partner=number == pair.partner_class,
            )
            for number, chance in pair.best
        ],
    )


def _rule_data(rule: Rule) -> dict[str, Any]:
    return dict(
        name=rule.name,
        share=round(rule.share, 4),
        own=round(rule.own, 4),
        partner=round(rule.partner, 4),
        loss=round(rule.loss, 3),
        trained=rule.trained,
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode('ascii')


# ------------------------------------------------- what is there without JavaScript

ABOUT = dict(
    config='Config',
    weights='Weights',
    mixer='Mixed by',
    note='Note',
    network='Network',
    hash='SHA-256 of the weights',
    data='Images',
)
FIRST = ('config', 'weights', 'mixer', 'note')


def _about_line(item: Sequence[str]) -> str:
    key, value = item
    return (
        f'<div class="{key}"><dt>{ABOUT[key]}</dt><dd>{html.escape(value)}</dd></div>'
    )


def _article(page: Page, data: dict, number: int, pictures: dict[bytes, str]) -> str:
    """Return the HTML of one pair, for printing and without JavaScript."""
    pair, shown = page.pairs[number], data['pairs'][number]
    own, partner = html.escape(shown['own']), html.escape(shown['partner'])
    lines = [
        f'<article class="pair"><h2>Pair {number + 1}: {own} with {partner}</h2>',
        '<div class="shots">',
    ]
    for kind, name, pixels, share in (
        ('own', own, pair.own, 1 - shown['area']),
        ('partner', partner, pair.partner, shown['area']),
    ):
        # An image may be own and partner in different pairs: encode it once.
        address = pictures.get(pixels.tobytes()) or encode_picture(pixels)
        pictures[pixels.tobytes()] = address
        height, width = pixels.shape[:2]
        lines.append(
            f'<figure><img class="{kind}" src="{address}" width="{width}" '
            f'height="{height}" alt="{kind} image: {name}, {percent(share)} of the '
            f'mixed image">'
            f'<figcaption>{kind}: {name}</figcaption></figure>'
        )
    lines.append('<figure class="last"></figure></div><table><caption>')
    lines.append(
        f'Labels after the last layer ({html.escape(page.geometry.names[-1])}); area '
        f'{percent(shown["area"])}</caption><thead><tr><th scope="col">rule</th>'
        '<th scope="col">partner’s share</th><th scope="col">on own class</th>'
        '<th scope="col">on partner’s class</th><th scope="col">loss</th></tr></thead>'
        '<tbody>'
    )
    for rule in shown['rules']:
        cells = [percent(rule[key]) for key in ('share', 'own', 'partner')]
        cells.append(f'{rule["loss"]:.3f}')
        lines.append(
            f'<tr><th scope="row">{html.escape(rule["name"])}</th>'
            + ''.join(f'<td>{cell}</td>' for cell in cells)
            + '</tr>'
        )
    lines.append('</tbody></table><p>The model says: ')
    lines.append(
        ', '.join(f'{html.escape(b["name"])} {percent(b["p"])}' for b in shown['best'])
    )
    lines.append('.</p></article>\n')
    return ''.join(lines)


def percent(value: float) -> str:
    """Return a share as a percentage of two decimals, as the page shows it."""
    return f'{100 * value:.2f}\N{NO-BREAK SPACE}%'
