"""The page's table of models is what is registered, and each has its contract."""

import pytest
from contract_rows import EVERY
from contract_steps import stock
from repository import ROOT, tool

from mmtlalign.tracing.support import supported_backbones
from mmtlalign.tracing.unsupported import UNSUPPORTED
from tools.output import insert_between

MODELS = tool('analysis_tools/list_models')


def test_page_is_up_to_date():
    text = (ROOT / 'docs' / 'backbones.md').read_text(encoding='utf-8')
    assert insert_between(text, MODELS.table(), MODELS.BEGIN, MODELS.END) == text, (
        'run: python tools/analysis_tools/list_models.py --write docs/backbones.md'
    )


def test_every_registered_backbone_has_a_row_of_the_contract():
    known, met = supported_backbones(), set()
    for row in EVERY:
        for module in stock(row).modules():
            met.add(next((c for c in type(module).__mro__ if c in known), None))
    assert not known.keys() - met


def test_table_names_every_registered_backbone_and_no_refused_one():
    table = MODELS.table()
    lines = table.splitlines()[2:]
    assert len(lines) == len(supported_backbones())
    for cls in supported_backbones():
        assert f'`{cls.__name__}`' in table
    assert '`SVT`' in table and '`DeiT3`' in table
    # timm's ConvNeXt is refused by its name, which mmpretrain's has, too.
    refused = UNSUPPORTED.keys() - {cls.__name__ for cls in supported_backbones()}
    assert len(refused) > 30
    assert not [name for name in refused if f'`{name}`' in table]


def test_command_writes_the_page(tmp_path, capsys):
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{MODELS.BEGIN}\nold\n{MODELS.END}\nafter\n')
    MODELS.main(['--write', str(page)])
    text = page.read_text()
    assert text.startswith('before\n') and text.endswith('\nafter\n')
    assert 'old' not in text and MODELS.table() in text
    MODELS.main(['--write', str(page)])
    assert page.read_text() == text
    MODELS.main([])
    assert capsys.readouterr().out.strip() == MODELS.table()


def test_page_without_markers_is_refused(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('nothing')
    with pytest.raises(SystemExit, match='add them first'):
        MODELS.main(['--write', str(page)])
    assert page.read_text() == 'nothing'
