"""The label microscope in a browser: it loads nothing; every key; every number."""

import re

import microscope_browser
import pytest
from microscope_page import (
    clean,
    complaints,
    percent,
    place_of,
    slider,
    text,
)
from microscope_parts import NAMES

pages, process = microscope_browser.pages, microscope_browser.process
show = microscope_browser.show
pytestmark = pytest.mark.browser
PAGES = ['vit', 'distilled', 'swin', 'dhvt', 'masks']


# ------------------------------------------------------------ 1: nothing is loaded


@pytest.mark.parametrize('name', [*PAGES, 'hostile'])
def test_no_request_and_no_complaint(show, pages, name):
    browser = show(name)
    for key in 'jktop?':
        browser.press(key)
    browser.wait('document.getElementById("status").textContent')
    asked = [
        params['request']['url'].partition('#')[0]
        for method, params in browser.events
        if method == 'Network.requestWillBeSent'
    ]
    assert {url for url in asked if not url.startswith('data:')} == {
        pages[name][0].as_uri()
    }
    assert browser.evaluate('document.title') != 'bad'
    assert browser.evaluate('document.querySelectorAll("img[src=x]").length') == 0


def test_page_cannot_load_anything(show):
    browser = show('vit')
    refused = browser.evaluate(
        "fetch('https://example.org/').then(() => 'loaded', () => 'refused')"
    )
    assert refused == 'refused'
    messages = [params['entry']['text'] for _, params in complaints(browser)]
    assert messages and all('Content Security Policy' in m for m in messages)
    browser.events.clear()


# ------------------------------------------------------------------ 2: every key


def test_keys_of_layers(show, pages):
    browser = show('swin')
    last = len(pages['swin'][1].geometry.names) - 1
    assert slider(browser) == last
    for key, layer in (
        ('ArrowLeft', last - 1),
        ('Home', 0),
        ('ArrowLeft', 0),
        ('ArrowRight', 1),
        ('End', last),
        ('ArrowRight', last),
    ):
        browser.press(key)
        assert slider(browser) == layer, key
    # A slider with the focus moves by itself, once.
    browser.evaluate('document.getElementById("layer").focus()')
    browser.press('Home')
    browser.press('ArrowRight')
    browser.press('ArrowUp')
    assert slider(browser) == 2
    # Of the opacity, too.
    browser.evaluate('document.getElementById("opacity").focus()')
    browser.press('ArrowLeft')
    assert slider(browser) == 2 and clean(text(browser, '#percent')) == '55 %'


def test_keys_of_pairs_and_pictures(show):
    browser = show('vit')
    for key, place in (('j', '2 of 4'), ('j', '3 of 4'), ('k', '2 of 4')):
        browser.press(key)
        assert text(browser, '#place') == place
    browser.press('k')
    browser.press('k')
    assert text(browser, '#place') == '1 of 4'
    pressed = 'document.getElementById("overlay").getAttribute("aria-pressed")'
    browser.press('o')
    assert browser.evaluate(pressed) == 'false' and text(browser, '#percent') == 'off'
    browser.press('o')
    assert browser.evaluate(pressed) == 'true'
    browser.press('?')
    assert browser.evaluate('document.getElementById("help").open')
    browser.press('Escape')
    assert not browser.evaluate('document.getElementById("help").open')


def test_play(show):
    browser = show('vit')
    browser.press('p')
    assert slider(browser) == 0 and text(browser, '#play') == 'Stop'
    browser.wait('document.getElementById("layer").value === "3"')
    browser.wait('document.getElementById("play").textContent === "Play"')
    assert 'Layer 3 of 3' in text(browser, '#status')
    browser.press('p')
    browser.press('Escape')
    assert text(browser, '#play') == 'Play' and slider(browser) < 3


def test_tokens_by_keyboard(show):
    browser = show('vit', '#pair=1&layer=1')
    browser.press('t')
    assert 'row 3, column 3' in text(browser, '#token')
    for key in ('ArrowUp', 'ArrowUp', 'ArrowUp', 'ArrowLeft'):
        browser.press(key)
    assert 'row 1, column 2' in text(browser, '#token') and slider(browser) == 1
    assert 'row 1, column 2' in text(browser, '#status')
    browser.wait('location.hash === "#pair=1&layer=1&token=1,2"')
    browser.press('Escape')
    browser.press('ArrowRight')
    assert slider(browser) == 2 and 'row 1, column 2' in text(browser, '#token')
    browser.press('Escape')
    assert 'Point at a token' in text(browser, '#token')


def test_letters_are_left_alone_where_they_mean_something_else(show):
    browser = show('vit')
    browser.evaluate('document.getElementById("sort").focus()')
    for key in ('j', 'o', 'ArrowLeft'):
        browser.press(key)
    assert text(browser, '#place') == '1 of 4' and slider(browser) == 3
    browser.evaluate('document.activeElement.blur()')
    for modifier in (1, 2, 4):  # Alt, Control, Meta
        browser.press('j', modifiers=modifier)
    assert text(browser, '#place') == '1 of 4'


def test_address_restores_the_view(show):
    browser = show('distilled', '#pair=3&layer=2&token=2,5&sort=area')
    assert slider(browser) == 2 and 'row 2, column 5' in text(browser, '#token')
    assert browser.evaluate('document.getElementById("sort").value') == 'area'
    assert browser.evaluate('document.getElementById("pair").value') == '2'
    browser.evaluate('location.hash = "#pair=2&layer=1&token=special2"')
    browser.wait('document.getElementById("layer").value === "1"')
    assert 'Distillation token' in text(browser, '#token')
    for wrong in ('#pair=99&layer=-4&token=9,9', '#pair=x&layer=&token=a', '#%%%'):
        browser.evaluate(f'location.hash = "{wrong}"')
        browser.evaluate('new Promise(done => setTimeout(done, 30))')
        assert 'Point at a token' in text(browser, '#token')
    assert slider(browser) == 3


def test_sorting(show, pages):
    browser = show('distilled')
    pairs = pages['distilled'][1].pairs
    values = dict(
        order=[0] * len(pairs),
        area=[pair.area for pair in pairs],
        change=[round(abs(pair.read[-1] - pair.area), 4) for pair in pairs],
        loss=[next(r.loss for r in pair.rules if r.trained) for pair in pairs],
    )
    for kind, value in values.items():
        browser.evaluate(
            f'(s => {{ s.value = "{kind}"; s.dispatchEvent(new Event("change")) }})'
            '(document.getElementById("sort"))'
        )
        found = browser.evaluate(
            '[...document.getElementById("pair").options].map(o => Number(o.value))'
        )
        assert found == sorted(range(len(pairs)), key=lambda i: (-value[i], i)), kind


def test_pointer(show):
    browser = show('vit', '#pair=1&layer=2')
    browser.click(*place_of(browser, 2, 4, (4, 4)))
    assert 'row 2, column 4' in text(browser, '#token')
    assert 'row 2, column 4' in text(browser, '#status')
    x, y = place_of(browser, 4, 1, (4, 4))
    browser.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)
    assert 'row 4, column 1' in text(browser, '#token')  # shown, not said
    assert 'row 2, column 4' in text(browser, '#status')
    browser.call('Input.dispatchMouseEvent', type='mouseMoved', x=5, y=5)
    assert 'row 2, column 4' in text(browser, '#token')
    box = browser.evaluate(
        '(b => [b.x, b.y, b.width, b.height])'
        '(document.querySelector("#chart svg").getBoundingClientRect())'
    )
    browser.click(box[0] + 45, box[1] + box[3] / 2)
    assert slider(browser) == 0


# ---------------------------------------------------------------------- 3: numbers


@pytest.mark.parametrize('name', PAGES)
def test_numbers_are_the_tracer_s(show, pages, name):
    """Slider, table and live region agree, and have the numbers that were traced."""
    shown = pages[name][1]
    geometry, pair = shown.geometry, shown.pairs[1]
    browser = show(name, '#pair=2&layer=0')
    place = 'at the class token' if geometry.output == 'class token' else 'in the mean'
    for layer, (grid, special) in enumerate(zip(geometry.grids, geometry.special)):
        assert slider(browser) == layer
        read = percent(pair.read[layer])
        assert clean(text(browser, '#now td')) == read
        assert f'{read} of the partner {place}' in clean(text(browser, '#status'))
        row = f'#layers tbody tr:nth-child({layer + 1})'
        cells = browser.evaluate(
            f'[...document.querySelectorAll("{row} > *")].map(c => c.textContent)'
        )
        expected = [geometry.names[layer], f'{grid[0]}×{grid[1]}', read]
        attention = pair.transmix[layer]
        expected.append('–' if attention is None else percent(attention))
        assert list(map(clean, cells[:4])) == expected
        said = browser.evaluate(
            'document.getElementById("layer").getAttribute("aria-valuetext")'
        )
        whole = int(100 * round(pair.read[layer], 4) + 0.5)
        assert f'layer {layer} of {len(geometry.names) - 1}, {whole} %' in clean(said)
        for number in {0, grid[0] * grid[1] // 3, grid[0] * grid[1] - 1}:
            at = divmod(number, grid[1])
            view = f'#pair=2&layer={layer}&token={at[0] + 1},{at[1] + 1}'
            browser.evaluate(f'location.hash = "{view}"')
            words = f'row {at[0] + 1}, column {at[1] + 1}: '
            said = 'document.getElementById("token").textContent'
            browser.wait(f'{said}.includes("{words}")')
            value = int(re.search(r': (\d+) %', clean(text(browser, '#token')))[1])
            byte = int(pair.shares[layer][special + number])
            assert value == int(byte / 2.55 + 0.5)
        squares = browser.evaluate(
            '[...document.querySelectorAll("#special button")].map(b => b.textContent)'
        )
        assert list(map(clean, squares)) == [
            f'{word} {int(pair.shares[layer][i] / 2.55 + 0.5)} %'
            for i, word in enumerate(geometry.special_names[:special])
        ]
        browser.press('ArrowRight')


@pytest.mark.parametrize('name', ['distilled', 'swin'])
def test_rules_and_predictions(show, pages, name):
    pair = pages[name][1].pairs[2]
    browser = show(name, '#pair=3')
    rows = browser.evaluate(
        '[...document.querySelectorAll("#rules tbody tr")]'
        '.map(r => [...r.cells].map(c => c.textContent))'
    )
    for cells, rule in zip(rows, pair.rules):
        assert clean(cells[0]) == rule.name + (' *' if rule.trained else '')
        shares = [percent(v) for v in (rule.share, rule.own, rule.partner)]
        assert list(map(clean, cells[1:])) == [*shares, f'{rule.loss:.3f}']
    assert len(rows) == len(pair.rules) + 1
    lines = browser.evaluate(
        '[...document.querySelectorAll("#best li")].map(l => l.textContent)'
    )
    for line, (number, chance) in zip(lines, pair.best):
        tag = 'own' * (number == pair.own_class)
        tag += 'partner' * (number == pair.partner_class)
        assert clean(line) == f'{NAMES[number]}{tag}{percent(chance)}'
