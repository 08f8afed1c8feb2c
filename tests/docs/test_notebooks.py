"""The notebooks of the documentation run, and say what is committed of them."""

import json
import subprocess
import sys

import pytest
from repository import ROOT, tool

NOTEBOOKS = sorted((ROOT / 'docs').glob('*.ipynb'))
notebooks = tool('docs/notebooks')


@pytest.mark.slow  # each trains for some seconds
@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_says_what_it_did(notebook):
    command = [sys.executable, 'tools/docs/notebooks.py', str(notebook), '--check']
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_there_is_one_for_each_way():
    assert {path.stem for path in NOTEBOOKS} == {'tutorial', 'tutorial_mm'}


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_small_and_was_run_from_top_to_bottom(notebook):
    assert notebook.stat().st_size < 200_000
    read = json.loads(notebook.read_text(encoding='utf-8'))
    assert (read['nbformat'], read['nbformat_minor']) == (4, 5)
    code = [cell for cell in read['cells'] if cell['cell_type'] == 'code']
    counts = [cell['execution_count'] for cell in code]
    assert counts == list(range(1, len(code) + 1))
    assert any(cell['outputs'] for cell in code)
    assert '/tmp' not in notebook.read_text(encoding='utf-8')


def notebook_of(*codes):
    """A notebook of some cells, as it is before its first run."""
    cells = [dict(cell_type='code', source=[code], outputs=[]) for code in codes]
    return dict(cells=cells)


def run(*codes, folder):
    return notebooks.run(notebook_of(*codes), folder)


def test_outputs_are_those_of_a_kernel(tmp_path):
    figure = 'import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()'
    ran = run('a = 1\nprint("said")\na + 1', 'a = None\na', figure, folder=tmp_path)
    said, nothing, picture = (cell['outputs'] for cell in ran['cells'])
    assert [o['output_type'] for o in said] == ['stream', 'execute_result']
    assert said[1]['data'] == {'text/plain': ['2']}
    assert nothing == []
    assert [list(o['data']) for o in picture] == [['image/png']]


@pytest.mark.parametrize(
    'now, alike',
    [
        ('print("loss 2.31")', True),
        ('print("loss 2.33")', True),
        ('print("loss 2.61")', False),
        ('print("lost 2.31")', False),
        ('print("loss 2.31 2.31")', False),
        ('"loss 2.31"', False),
        ('1', False),
    ],
)
def test_what_a_comparison_sees(tmp_path, now, alike):
    old = run('print("loss 2.31")', folder=tmp_path)
    new = run(now, folder=tmp_path)
    assert (notebooks.differences(old, new) == []) == alike


def test_an_error_of_a_cell_ends_the_run(tmp_path):
    with pytest.raises(ZeroDivisionError):
        run('1 / 0', folder=tmp_path)
