"""The label microscope in a browser: access, pixels and room, time, paper."""

import base64
import io
import re

import microscope_browser
import numpy as np
import pytest
from microscope_page import (
    LARGE,
    READY,
    SMALL,
    TINY,
    clean,
    percent,
    place_of,
    resize,
    slider,
)
from microscope_parts import NAMES, VIT, Pictures, classifier, collate, page
from PIL import Image

from mmtlalign.evaluation.microscope import make_pairs
from mmtlalign.evaluation.microscope.write import HERE, write_page

pages, process = microscope_browser.pages, microscope_browser.process
show = microscope_browser.show
pytestmark = pytest.mark.browser


# ----------------------------------------------------------------------- 4: access

CONTROLS = {'button', 'slider', 'combobox', 'DisclosureTriangle', 'region', 'image'}


def tree(browser):
    nodes = browser.call('Accessibility.getFullAXTree')['nodes']
    return [
        (node['role']['value'], node.get('name', {}).get('value', ''), node)
        for node in nodes
        if not node.get('ignored')
    ]


def test_every_control_has_name_and_role(show):
    browser = show('distilled', '#pair=1&layer=2&token=1,1')
    nodes = tree(browser)
    found = {}
    for role, name, _ in nodes:
        if role in CONTROLS:
            assert name.strip(), role
            found.setdefault(role, []).append(clean(name))
    assert found['slider'] == ['Layer', 'Opacity of the overlay']
    assert found['combobox'] == ['Go to', 'Sort by']
    for name in ('Previous pair', 'Next pair', 'One layer back', 'Play', 'Overlay'):
        assert name in found['button']
    assert any(name.startswith('class token') for name in found['button'])
    images = ' '.join(found['image'])
    assert 'own image: kind' in images and 'Mixed image: kind' in images
    assert 'Share by layer: from' in images
    assert len([1 for role, _, _ in nodes if role == 'status']) == 1
    live = browser.evaluate('document.querySelectorAll("[aria-live], output").length')
    assert live == 1
    for role, name, node in nodes:
        marks = {p['name']: p['value'].get('value') for p in node.get('properties', ())}
        assert name or not marks.get('focusable'), role
    positive = '[...document.querySelectorAll("[tabindex]")].some(e => e.tabIndex > 0)'
    assert not browser.evaluate(positive)


def test_tab_goes_once_through_the_page(show):
    browser = show('distilled', '#pair=2&layer=1')
    met = []
    for _ in range(30):
        browser.press('Tab')
        met.append(
            browser.evaluate(
                '(e => e === document.body ? "" : e.id || e.getAttribute("aria-label")'
                ' || e.textContent)(document.activeElement)'
            )
        )
        if met[-1] == '':
            break
    order = ['back', 'next', 'pair', 'sort', 'prev', 'play', 'step', 'layer', 'opacity']
    assert [name for name in met if name in order] == order
    assert met.index('opacity') < met.index('overlay') < met.index('walk')
    assert met[-1] == '' and 'Targets' in met and 'Keys' in met


CONTRAST = """(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length && c[3] !== 0) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.closest(':disabled, script, style, noscript')) continue;
    const style = getComputedStyle(e), colour = parse(e.namespaceURI.includes('svg') ? style.fill : style.color);
    const found = ratio(colour, behind(e));
    if (found < 4.5) bad.push([e.tagName, e.textContent.slice(0, 30), found]);
  }
  const root = document.createElement('i'), value = name => { root.style.color = `var(${name})`; document.body.append(root); const c = parse(getComputedStyle(root).color); root.remove(); return c; };
  for (const [a, b] of [['--fill', '--track'], ['--edge', '--card'], ['--traced', '--card'], ['--transmix', '--card'], ['--area', '--card'], ['--area', '--track'], ['--token', '--card'], ['--mark', '--card'], ['--mark', '--paper']]) {
    const found = ratio(value(a), value(b));
    if (found < 3) bad.push([a, b, found]);
  }
  return bad;
})()"""  # noqa: E501


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_contrast(show, process, scheme):
    feature = [dict(name='prefers-color-scheme', value=scheme)]
    process.call('Emulation.setEmulatedMedia', features=feature)
    browser = show('distilled', '#pair=1&layer=1&token=2,2')
    browser.press('?')
    browser.evaluate('document.querySelectorAll("details").forEach(d => d.open = true)')
    assert browser.evaluate(CONTRAST) == []


# -------------------------------------------------------------- 5: pixels and room


@pytest.mark.parametrize('size', [LARGE, SMALL, TINY], ids=str)
@pytest.mark.parametrize('name', ['swin', 'hostile'])
def test_nothing_overflows(show, name, size):
    browser = show(name, '#pair=1&layer=1&token=1,1', size)
    browser.evaluate('document.querySelectorAll("details").forEach(d => d.open = true)')
    wide, room = browser.evaluate(
        '[document.documentElement.scrollWidth, document.documentElement.clientWidth]'
    )
    assert wide <= room
    out = browser.evaluate(
        '[...document.querySelectorAll("#view *, header *")].filter(e => '
        'e.getClientRects().length && !e.closest(".scroll, .shot, svg") && '
        'e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)'
    )
    assert out == []


def ramp(byte):
    """The colour of a share, from the stops of the script."""
    source = (HERE / 'page.js').read_text()
    stops = re.findall(r"'([0-9a-f]{6})'", source[source.index('const STOPS') :])[:17]
    table = np.array([[int(s[i : i + 2], 16) for i in (0, 2, 4)] for s in stops])
    at = byte / 255 * 16
    return [np.interp(at, range(17), table[:, channel]) for channel in range(3)]


def screenshot(browser):
    data = browser.call('Page.captureScreenshot', format='png')['data']
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert('RGB'))


@pytest.mark.parametrize('name, layer', [('distilled', 2), ('swin', 2), ('dhvt', 1)])
@pytest.mark.parametrize('size', [LARGE, SMALL], ids=str)
def test_overlay_has_the_colours_of_the_ramp(show, pages, name, layer, size):
    browser = show(name, f'#pair=1&layer={layer}', size)
    browser.evaluate(
        '(o => { o.value = 100; o.dispatchEvent(new Event("input")) })'
        '(document.getElementById("opacity"))'
    )
    browser.evaluate(
        'document.querySelector("#mixed .shot svg").style.display = "none";'
        'document.querySelector("#mixed").scrollIntoView()'
    )
    shown, pixels = pages[name][1], screenshot(browser)
    pair, (h, w) = shown.pairs[0], shown.geometry.grids[layer]
    (ph, pw), (height, width) = shown.geometry.patch, shown.geometry.size
    step = -(-shown.geometry.grids[0][0] // h)
    for row, column in [(1, 1), (1, 2), (2, 1), (2, w), (h, 1)]:
        # Tokens that stick out of the image end with it.
        y = (row - 0.5) * step * ph
        x = min((column - 0.5) * step * pw, width - 1)
        at = place_of(browser, y + 0.5, x + 0.5, (height, width))
        if y >= height or at[1] >= size[1]:
            continue
        number = shown.geometry.special[layer] + (row - 1) * w + column - 1
        found = pixels[int(at[1]), int(at[0])].astype(float)
        expected = ramp(int(pair.shares[layer][number]))
        assert np.abs(found - expected).max() <= 2, (row, column)


def test_ramp_is_cividis():
    matplotlib = pytest.importorskip('matplotlib')
    colours = matplotlib.colormaps['cividis'](np.arange(256))[:, :3] * 255
    found = np.array([ramp(byte) for byte in range(256)])
    assert np.abs(found - colours).max() < 12


@pytest.mark.parametrize('number', range(4))
def test_mixed_picture_is_composed(show, pages, number):
    """Masks of bits and of bytes, unpacked by the page; here without overlay."""
    browser = show('masks', f'#pair={number + 1}')
    browser.press('o')
    browser.evaluate('document.querySelector("#mixed .shot svg").remove()')
    pair, pixels = pages['masks'][1].pairs[number], screenshot(browser)
    share = pair.mask[..., None]
    expected = pair.own + share * (pair.partner.astype(float) - pair.own)
    for row, column in [(4, 4), (16, 20), (30, 9), (12, 28)]:
        x, y = place_of(browser, row, column, (32, 32))
        found = pixels[int(y), int(x)]
        assert np.abs(found - expected[row - 1, column - 1]).max() <= 3


# --------------------------------------------------------- 6: time, paper, no script


def work_done(browser):
    metrics = browser.call('Performance.getMetrics')['metrics']
    return next(m['value'] for m in metrics if m['name'] == 'TaskDuration')


def test_time(process, tmp_path, pages):
    """64 pairs of a DeiT-S's geometry open in a second, a step takes a frame."""
    arch = dict(embed_dims=24, num_layers=12, num_heads=3, feedforward_channels=24)
    model = classifier(dict(VIT, arch=arch, img_size=224, patch_size=16), width=24)
    geometry, pairs = make_pairs(model, Pictures((224, 224), 4), collate, 4)
    path = write_page(page(geometry, pairs * 16), tmp_path / 'many.html')
    resize(process, LARGE)
    # Seconds of the page's own thread: a machine that tests may be busy.
    process.call('Performance.enable', timeDomain='threadTicks')
    process.open(path.as_uri(), READY)
    opened = work_done(process)
    process.evaluate("""[...Array(39)].forEach((_, i) => {
      const slider = document.getElementById('layer');
      slider.value = i % 13;
      slider.dispatchEvent(new Event('input'));
      document.body.getBoundingClientRect();
    })""")
    stepped = (work_done(process) - opened) / 39
    process.call('Performance.disable')
    assert slider(process) == 12
    print(f'opening {opened:.3f} s, a step {1000 * stepped:.1f} ms')
    assert opened < 1 and stepped < 0.016


def test_without_javascript(process, pages):
    process.call('Emulation.setScriptExecutionDisabled', value=True)
    try:
        path, shown = pages['distilled']
        resize(process, SMALL)
        process.open(path.as_uri())
        nodes = tree(process)
    finally:
        process.call('Emulation.setScriptExecutionDisabled', value=False)
    words = clean(' '.join(name for _, name, _ in nodes))
    assert 'Without JavaScript' in words
    images = [name for role, name, _ in nodes if role == 'image']
    assert len(images) == 2 * len(shown.pairs)
    assert images[0].startswith(f'own image: {NAMES[shown.pairs[0].own_class]}, ')
    for pair in shown.pairs:
        assert all(percent(rule.share) in words for rule in pair.rules)
    assert not [name for role, name, _ in nodes if role == 'slider']
    assert process.evaluate('document.documentElement.scrollWidth') <= SMALL[0]


def test_paper(show, pages):
    browser = show('swin')
    data = browser.call('Page.printToPDF', printBackground=True)['data']
    pdf = base64.b64decode(data)
    assert pdf.startswith(b'%PDF') and len(re.findall(rb'/Type /Page\b', pdf)) >= 1
    browser.call('Emulation.setEmulatedMedia', media='print')
    browser.evaluate('dispatchEvent(new Event("beforeprint"))')
    shown = browser.evaluate(
        '[...document.querySelectorAll(".pair")].map(p => '
        '[p.getClientRects().length, p.querySelectorAll("canvas").length])'
    )
    assert shown == [[1, 1]] * len(pages['swin'][1].pairs)
    view = 'document.getElementById("view").getClientRects().length'
    assert browser.evaluate(view) == 0
    browser.evaluate('dispatchEvent(new Event("afterprint"))')
    assert browser.evaluate('document.querySelectorAll(".pair canvas").length') == 0


def test_less_motion_and_two_times_the_size(show, process):
    """Nothing moves by itself, and at 200 % of 1280 pixels nothing overflows."""
    feature = [dict(name='prefers-reduced-motion', value='reduce')]
    process.call('Emulation.setEmulatedMedia', features=feature)
    browser = show('swin', '#pair=1&layer=1', (640, 400))
    browser.evaluate('new Promise(done => setTimeout(done, 200))')
    assert slider(browser) == 1
    assert browser.evaluate('document.documentElement.scrollWidth <= innerWidth')
    assert browser.evaluate('document.getAnimations().length') == 0
