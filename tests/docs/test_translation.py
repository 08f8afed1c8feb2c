"""The Chinese pages have the commands, numbers and links of the English ones."""

import os
import re

import pytest
from repository import ROOT

PAGES = {
    'README.md': 'README_zh-CN.md',
    'docs/quickstart.md': 'docs/zh/quickstart.md',
}
FENCE = re.compile(r'```(\w+)\n(.*?)```', re.DOTALL)


def code(text):
    """The blocks of code without what a translator translates: comments."""
    blocks = FENCE.findall(text)
    return [(language, re.sub(r' *#.*', '', block)) for language, block in blocks]


def prose(text):
    return FENCE.sub('', text)


def spans(text):
    return sorted(' '.join(s.split()) for s in re.findall(r'`([^`]+)`', prose(text)))


def numbers(text):
    plain = re.sub(r'`[^`]+`|\]\([^)]+\)', '', prose(text))
    return sorted(re.findall(r'(?<![A-Za-z\d.])\d+(?:\.\d+)*', plain))


def links(text, file):
    """Targets from the root, those of a translated page as its English original."""
    originals = {translation: page for page, translation in PAGES.items()}
    found = []
    for target in re.findall(r'\]\(([^)\s]+)\)', prose(text)):
        path = os.path.normpath(os.path.join(os.path.dirname(file), target))
        found.append(originals.get(path, path))
    return sorted(set(found) - set(PAGES))


def headings(text):
    return [len(marks) for marks in re.findall(r'^(#+) ', prose(text), re.MULTILINE)]


def rows(text):
    """Cells of every row of the tables."""
    return [line.count('|') for line in prose(text).splitlines() if line[:1] == '|']


def texts(page):
    both = page, PAGES[page]
    return [(ROOT / file).read_text(encoding='utf-8') for file in both]


@pytest.mark.parametrize('page', PAGES)
@pytest.mark.parametrize('what', [code, spans, numbers, headings, rows])
def test_translation_is_in_step(page, what):
    english, chinese = texts(page)
    assert what(chinese) == what(english)


@pytest.mark.parametrize('page', PAGES)
def test_translation_links_to_the_same_places(page):
    english, chinese = texts(page)
    assert links(chinese, PAGES[page]) == links(english, page)


@pytest.mark.parametrize('page', PAGES)
def test_translation_is_linked_to(page):
    english, _ = texts(page)
    name = os.path.relpath(PAGES[page], os.path.dirname(page))
    index = (ROOT / 'docs' / 'README.md').read_text(encoding='utf-8')
    assert f']({name})' in english or f'({name})' in index


def test_a_number_or_a_flag_that_is_changed_is_seen():
    english, _ = texts('docs/quickstart.md')
    minutes = re.search(r'\d+ min \d+ s', english)[0]
    assert numbers(english.replace(minutes, '99 min 1 s')) != numbers(english)
    assert code(english.replace('8 --amp', '8')) != code(english)
    assert spans(english.replace('`--resume`', '`--restart`')) != spans(english)
