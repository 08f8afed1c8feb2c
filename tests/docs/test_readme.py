"""The README stays short, and its figures are those of the pages that it names."""

import re

import pytest
from repository import ROOT

README = (ROOT / 'README.md').read_text(encoding='utf-8')


def section(title):
    rest = README.partition(f'\n## {title}\n')[2]
    return rest.partition('\n## ')[0]


def test_it_is_one_screen():
    assert len(README.splitlines()) <= 80


def test_every_figure_of_gain_and_pay_stands_in_the_page_beside_it():
    rows = [
        line for line in section('What you gain and pay').splitlines() if '](' in line
    ]
    assert len(rows) == 4
    for row in rows:
        what, measured = row.strip('|').split('|')
        (file,) = re.findall(r'\]\((docs/\w+\.md)', what)
        page = (ROOT / file).read_text(encoding='utf-8')
        figures = re.findall(r'\d+\.\d+(?: ± \d+\.\d+)?', measured)
        assert figures and not [figure for figure in figures if figure not in page]


# Where readers of timm's and of mmpretrain's README look.
@pytest.mark.parametrize(
    'heading, link',
    [
        ('Install', 'docs/install.md'),
        ('Model zoo', 'docs/model_zoo.md'),
        ('Contributing, citation, licence', 'CITATION.cff'),
        ('Contributing, citation, licence', 'LICENSE'),
        ('Contributing, citation, licence', 'CONTRIBUTING.md'),
    ],
)
def test_it_has_what_readers_look_for(heading, link):
    assert f']({link})' in section(heading)
