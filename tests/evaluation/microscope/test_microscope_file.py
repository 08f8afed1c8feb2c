"""The file of a label microscope: its numbers, its safety, its size, its bytes."""

import base64
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from microscope_parts import CLASSES, NAMES, VIT, Pictures, classifier, collate, page
from PIL import Image

from mmtlalign.evaluation.microscope import make_pairs, render
from mmtlalign.evaluation.microscope.write import (
    HERE,
    encode_mask,
    page_data,
    write_page,
)

HOSTILE = '</script><img src=x onerror="document.title=1">\u2028&amp;\'"'


def pairs_of(size=(224, 224), count=16, backbone=None):
    model = classifier(backbone or dict(VIT, img_size=size, patch_size=16))
    return make_pairs(model, Pictures(size, count), collate, count)


@pytest.fixture(scope='module')
def small():
    return pairs_of((32, 32), 4, VIT)


def test_equal_pairs_give_equal_bytes(tmp_path, small):
    again = pairs_of((32, 32), 4, VIT)
    one = write_page(page(*small), tmp_path / 'new folder' / 'one.html')
    two = write_page(page(*again), tmp_path / 'two.html')
    assert one.read_bytes() == two.read_bytes()
    assert sorted(p.name for p in one.parent.iterdir()) == ['one.html']


def test_a_failure_leaves_the_old_file(tmp_path, small, monkeypatch):
    path = tmp_path / 'page.html'
    path.write_text('old')
    monkeypatch.setattr('os.replace', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_page(page(*small), path)
    assert path.read_text() == 'old' and len(list(tmp_path.iterdir())) == 1


def test_numbers_of_the_file(small):
    geometry, pairs = small
    data = page_data(page(geometry, pairs))
    cells = sum(h * w + p for (h, w), p in zip(geometry.grids, geometry.special))
    for pair, shown in zip(pairs, data['pairs']):
        shares = np.frombuffer(base64.b64decode(shown['shares']), np.uint8)
        assert len(shares) == cells
        np.testing.assert_array_equal(shares, np.concatenate(pair.shares))
        assert shown['read'] == [round(share, 4) for share in pair.read]
        assert shown['own'] == NAMES[pair.own_class]
        assert [r['loss'] for r in shown['rules']] == [
            round(rule.loss, 3) for rule in pair.rules
        ]


@pytest.mark.parametrize('kind', ['box', 'bits', 'bytes', 'empty'])
def test_masks(kind):
    mask = np.zeros((20, 30), np.float32)
    if kind == 'bits':
        mask[:10, ::2] = 1
    elif kind != 'empty':
        mask[3:9, 4:30] = 1.0 if kind == 'box' else 0.3
    form = encode_mask(mask)
    if kind in ('box', 'empty'):
        assert form == dict(box=[3, 9, 4, 30] if kind == 'box' else [0, 0, 0, 0])
        return
    raw = np.frombuffer(zlib.decompress(base64.b64decode(form[kind])), np.uint8)
    if kind == 'bits':
        raw = 255 * np.unpackbits(raw)[:600]
    np.testing.assert_array_equal(raw.reshape(20, 30), np.round(255 * mask))


class Tags(HTMLParser):
    """Tags, attributes of a page, and what its scripts hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == 'script'

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts.append(data)


def test_hostile_names_stay_text(small):
    names = [HOSTILE + str(number) for number in range(CLASSES)]
    text = render(page(*small, names, config=HOSTILE, weights=HOSTILE))
    parsed = Tags(text)
    assert len([1 for tag, _ in parsed.tags if tag == 'script']) == 2
    assert not any(name.startswith('on') for _, attrs in parsed.tags for name in attrs)
    pictures = [attrs for tag, attrs in parsed.tags if tag == 'img' and 'src' in attrs]
    assert all(a['src'].startswith('data:image/webp;') for a in pictures)
    data = json.loads(parsed.scripts[0])
    assert data['pairs'][0]['own'] in names and '\u2028' in data['pairs'][0]['own']
    assert '\u2028' not in parsed.scripts[0] and '<' not in parsed.scripts[0]


def test_the_page_may_load_nothing(small):
    text = render(page(*small))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    policy += "script-src 'unsafe-inline'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in text
    addresses = set(re.findall(r'https?://[^\'"<]+', text))
    assert addresses == {'http://www.w3.org/2000/svg'}  # a name, not an address
    assert '<!--' not in text


def natural(count, size=(224, 224)):
    """Pictures that compress about as well as photographs: smooth, with some noise."""
    data = Pictures(size, count)
    draw = np.random.default_rng(3)
    for number, pixels in enumerate(data.pixels):
        small = Image.fromarray(
            draw.integers(0, 255, (28, 28, 3), np.uint8).astype(np.uint8)
        ).resize(size[::-1], Image.BICUBIC)
        mixed = pixels.transpose(1, 2, 0) * 0.5 + np.asarray(small) * 0.5
        mixed += draw.normal(0, 3, mixed.shape)
        data.pixels[number] = mixed.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)
    return data


@pytest.mark.parametrize(
    'backbone, count, most',
    [
        (dict(arch='deit-small'), 16, 600e3),
        (dict(arch='tiny', type='SwinTransformer', patch_size=4), 16, 800e3),
        (dict(arch='deit-small'), 64, 2.5e6),
    ],
    ids=['DeiT-S', 'Swin-T', 'DeiT-S, 64 pairs'],
)
def test_size_of_the_file(backbone, count, most):
    """Geometry of the real networks, narrow: the file has no features."""
    narrow = dict(embed_dims=24, num_heads=3, feedforward_channels=24)
    if backbone['arch'] == 'tiny':
        arch = dict(embed_dims=8, depths=[2, 2, 6, 2], num_heads=[1, 1, 1, 1])
        model = classifier(dict(backbone, arch=arch, img_size=224), width=64)
    else:
        arch = dict(narrow, num_layers=12)
        model = classifier(dict(VIT, arch=arch, img_size=224, patch_size=16), width=24)
    geometry, pairs = make_pairs(model, natural(4), collate, 4)
    assert len(geometry.names) == 13
    many = [pairs[number % 4] for number in range(count)]
    size = len(render(page(geometry, many)).encode())
    assert size < most, size


def test_size_of_script_and_style():
    sizes = {f: (HERE / f'page.{f}').stat().st_size for f in ('css', 'js')}
    assert sum(sizes.values()) <= 40_000, sizes


@pytest.mark.real_data
def test_size_with_photographs(unpack):
    files = sorted(unpack('imagenette224').rglob('val/*/*.JPEG'))[::32][:16]
    data = Pictures((224, 224), len(files))
    data.pixels = [
        np.asarray(Image.open(f).convert('RGB'))[..., ::-1].transpose(2, 0, 1).copy()
        for f in files
    ]
    arch = dict(embed_dims=24, num_layers=12, num_heads=3, feedforward_channels=24)
    model = classifier(dict(VIT, arch=arch, img_size=224, patch_size=16), width=24)
    assert len(render(page(*make_pairs(model, data, collate, 16))).encode()) < 600e3
