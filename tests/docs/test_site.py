"""The documentation's site builds with every link checked, and needs no network."""

import html
import os
import re
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
from chromium import Chromium, find_chromium
from microscope_page import READY
from repository import ROOT, tool

hooks = tool('docs/hooks')
LOCAL = {'file', 'data', 'about', 'blob'}
ENVIRONMENT = Path(os.environ.get('MMTLALIGN_DOCS_VENV', ROOT / '.venv-docs'))


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """Folder of the built site."""
    if not (ENVIRONMENT / 'mmtlalign-docs.txt').exists():
        pytest.skip('no environment for the site: bash tools/docs/build.sh makes it')
    out = tmp_path_factory.mktemp('site')
    command = ['bash', 'tools/docs/build.sh', 'build', '--site-dir', str(out)]
    environment = os.environ | dict(MMTLALIGN_DOCS_VENV=str(ENVIRONMENT))
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    return out


@pytest.fixture(scope='module')
def pages(site):
    """Text of each page by its path."""
    found = site.rglob('*.html')
    return {p.relative_to(site).as_posix(): p.read_text('utf-8') for p in found}


def test_every_page_of_the_docs_and_every_package_has_a_page(pages):
    docs = ROOT / 'docs'
    expected = {
        p.relative_to(docs).with_suffix('').as_posix() for p in docs.rglob('*.md')
    }
    expected = {'index' if name == 'README' else name for name in expected}
    expected |= {uri.removesuffix('.md') for uri in hooks.reference_pages()}
    expected |= {'tutorial.ipynb', 'tutorial_mm.ipynb', 'repository/CHANGELOG'}
    assert {f'{name}.html' for name in expected} <= set(pages)


def test_nothing_is_loaded_from_elsewhere(site, pages):
    far = r'["\']?((?:https?:)?//[^"\')>\s]+)'
    sources = re.compile(rf'<(?:script|img|iframe|source)[^>]*\bsrc={far}')
    links = re.compile(rf'<link[^>]*\bhref={far}')
    found = set()
    for text in pages.values():
        found |= {*sources.findall(text), *links.findall(text)}
    for sheet in site.rglob('*.css'):
        found |= set(re.findall(rf'url\({far}', sheet.read_text(encoding='utf-8')))
    assert not found


def test_reference_has_docstrings_shapes_and_signatures(pages):
    page = pages['reference/mixing.html']
    text = ' '.join(html.unescape(re.sub(r'<[^>]+>', '', page)).split())
    assert 'id="mmtlalign.mixing.mix.Mix"' in page
    assert 'images: Tensor' in text and '(B, C, H, W)' in text and 'InputError' in text
    assert ':meth:' not in text


def test_microscope_is_small_and_made_of_digits(site, pages):
    page = site / 'images' / 'microscope.html'
    assert page.stat().st_size < 200_000
    assert 'digits' in page.read_text(encoding='utf-8')
    assert 'src="images/microscope.html"' in pages['gallery.html']


# --- what the hooks make, without mkdocs -------------------------------------------


@pytest.mark.parametrize(
    'path, page',
    [
        ('docs/concepts.md', 'concepts.md'),
        ('docs/zh/quickstart.md', 'zh/quickstart.md'),
        ('docs/tutorial.ipynb', 'tutorial.ipynb.md'),
        ('docs/images/shares.png', 'images/shares.png'),
        ('README.md', 'repository/README.md'),
        ('LICENSE', 'repository/LICENSE.md'),
        ('mmtlalign/mixing/mix.py', 'repository/mmtlalign/mixing/mix.py.md'),
        ('configs/plans', 'repository/configs/plans/README.md'),
    ],
)
def test_every_file_of_the_repository_has_a_page(path, page):
    assert hooks.site_uri(path) == page


@pytest.mark.parametrize(
    'file, link, there',
    [
        ('docs/concepts.md', 'tracing.md#kernels', 'tracing.md#kernels'),
        ('docs/a.md', '../LICENSE', 'repository/LICENSE.md'),
        ('docs/zh/a.md', '../tutorial.ipynb', '../tutorial.ipynb.md'),
        ('README.md', 'docs/concepts.md', '../concepts.md'),
        ('configs/README.md', 'tlalign/README.md', 'tlalign/README.md'),
        ('docs/a.md', 'https://arxiv.org/abs/1', 'https://arxiv.org/abs/1'),
        ('docs/a.md', '#here', '#here'),
    ],
)
def test_links_are_pointed_at_pages_of_the_site(file, link, there):
    assert hooks.relink(f'a [b]({link}) c', file) == f'a [b]({there}) c'


def test_pages_follow_links_of_pages():
    pages = hooks.repository_pages(['docs/concepts.md'])
    assert 'repository/mmtlalign/mixing/mix.py.md' in pages
    assert pages['repository/README.md'].startswith('# mmtlalign')
    folder = pages['repository/mmtlalign/tracing/adapters/README.md']
    assert '.py`' in folder and '__init__' not in folder


def test_a_notebook_becomes_a_page_with_its_outputs():
    cells = [
        dict(cell_type='markdown', source=['# Title\n', 'text']),
        dict(
            cell_type='code',
            source=['1 + 1'],
            outputs=[
                dict(output_type='stream', text=['said\n']),
                dict(output_type='execute_result', data={'text/plain': ['2']}),
                dict(output_type='display_data', data={'image/png': 'AAAA'}),
            ],
        ),
    ]
    page, pictures = hooks.notebook_page(dict(cells=cells), 'a.ipynb')
    assert page.startswith('# Title\n\n*[The notebook](a.ipynb), run by the tests.*')
    assert '```python\n1 + 1\n```\n\n```text\nsaid\n```\n\n```text\n2\n```' in page
    assert pictures == {'a_1.png': bytes(3)} and '](a_1.png)' in page


# --- in a browser -------------------------------------------------------------------


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    program = find_chromium()
    if program is None:
        pytest.skip('no chromium')
    browser = Chromium(program, tmp_path_factory.mktemp('profile'))
    yield browser
    browser.close()


def requests(browser):
    """Addresses that the page has asked for since it was opened."""
    sent = [p for name, p in browser.events if name == 'Network.requestWillBeSent']
    return [p['request']['url'] for p in sent]


@pytest.mark.browser
@pytest.mark.parametrize(
    'words, page',
    [('presence', 'evaluation_parts.html'), ('标签显微镜', 'zh/quickstart.html')],
)
def test_search_finds_words_in_pages_opened_from_disk(site, browser, words, page):
    browser.open((site / 'index.html').as_uri())
    browser.evaluate(
        '{const field = document.querySelector("[data-md-component=search-query]");'
        f'field.focus(); field.value = "{words}";'
        'field.dispatchEvent(new Event("keyup"))}'
    )
    browser.wait('document.querySelector(".md-search-result__link")')
    first = browser.evaluate('document.querySelector(".md-search-result__link").href')
    assert f'/{page}?' in first
    assert {address.partition(':')[0] for address in requests(browser)} <= LOCAL


@pytest.mark.browser
def test_microscope_works_inside_of_the_gallery(site, browser):
    browser.open((site / 'gallery.html').as_uri())
    browser.evaluate('document.querySelector("iframe[loading]").scrollIntoView()')
    frame = microscope_frame(browser)
    evaluate = partial(browser.call, 'Runtime.evaluate', returnByValue=True)
    world = browser.call('Page.createIsolatedWorld', frameId=frame)
    world = world['executionContextId']

    def value(expression):
        return evaluate(expression=expression, contextId=world)['result'].get('value')

    end = time.monotonic() + 30
    while not value(READY):
        assert time.monotonic() < end
        time.sleep(0.05)
    before = value('location.hash + document.body.innerText')
    value('document.body.focus(); document.body.dispatchEvent(new KeyboardEvent('
          '"keydown", {key: "j", bubbles: true}))')  # fmt: skip
    assert value('location.hash + document.body.innerText') != before
    assert {address.partition(':')[0] for address in requests(browser)} <= LOCAL


def microscope_frame(browser):
    """Identifier of the frame that shows the microscope, once it is there."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        tree = browser.call('Page.getFrameTree')['frameTree']
        for child in tree.get('childFrames', ()):
            if child['frame']['url'].endswith('images/microscope.html'):
                return child['frame']['id']
        time.sleep(0.05)
    raise TimeoutError('no frame of the microscope')
