"""The set-up script: when it does nothing, and what it refuses."""

import hashlib
import os
import subprocess
import sys

import pytest
from repository import ROOT

SETUP = ROOT / 'tools' / 'setup_env.sh'


def setup_env(*arguments, **environment):
    """Run the set-up script; (exit code, what it said, seconds of computing)."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith('MMTLALIGN_')}
    start = computed_by_children()
    result = subprocess.run(
        ['bash', str(SETUP), *arguments],
        env={**clean, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return result.returncode, result.stdout, computed_by_children() - start


def computed_by_children():
    """Seconds that do not depend on what else the machine does."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize(
    'script', ['tools/setup_env.sh', 'tools/run_tests.sh', '.ci/run']
)
def test_scripts_parse(script):
    subprocess.run(['bash', '-n', str(ROOT / script)], check=True)


@pytest.fixture
def made(tmp_path):
    """An environment with a stamp, as a finished set-up leaves it."""
    folder = tmp_path / 'env'
    command = [sys.executable, '-m', 'venv', '--without-pip', str(folder)]
    subprocess.run(command, check=True)
    (python,) = folder.glob('lib/python*/site-packages')
    (python / 'pip').mkdir()
    (python / 'pip' / '__init__.py').touch()
    texts = [ROOT / 'requirements' / f'{n}.txt' for n in ('common', 'onedl', 'test')]
    digest = hashlib.sha256(b''.join(t.read_bytes() for t in texts)).hexdigest()
    (folder / 'mmtlalign-stamp').write_text(f'onedl {digest}\n{ROOT}\n')
    return folder


def test_second_call_does_nothing_and_is_fast(made):
    code, said, seconds = setup_env(MMTLALIGN_VENV=str(made))
    assert code == 0 and 'is up to date' in said, said
    assert seconds < 5


@pytest.mark.parametrize('part', ['stamp', 'pins'])
def test_a_stale_environment_is_not_up_to_date(made, part):
    stamp = made / 'mmtlalign-stamp'
    if part == 'stamp':
        stamp.unlink()
    else:
        stamp.write_text(f'onedl {"0" * 64}\n{ROOT}\n')
    code, said, _ = setup_env('--check', MMTLALIGN_VENV=str(made))
    assert 'is up to date' not in said
    assert 'to be made or brought up to date' in said or 'remedy: ' in said


def test_one_folder_never_holds_both_stacks(made):
    code, said, _ = setup_env('classic', MMTLALIGN_VENV=str(made))
    assert code == 1
    assert 'holds the onedl stack' in said and 'MMTLALIGN_VENV=' in said


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').touch()
    code, said, _ = setup_env(MMTLALIGN_VENV=str(tmp_path))
    assert code == 1 and 'another folder' in said
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.tex']


def test_a_set_up_stopped_at_its_very_start_goes_on(tmp_path):
    (tmp_path / 'mmtlalign-lock').touch()
    _, said, _ = setup_env('--check', MMTLALIGN_VENV=str(tmp_path))
    assert 'another folder' not in said
    assert 'no problem was found' in said or 'remedy: ' in said


def test_unknown_argument():
    code, said, _ = setup_env('onedll')
    assert code == 2 and "'onedll'" in said and 'classic' in said


def test_print_python(made):
    code, said, _ = setup_env('--print-python', MMTLALIGN_VENV=str(made))
    assert (code, said.strip()) == (0, str(made / 'bin' / 'python'))
    code, said, _ = setup_env('--print-python', MMTLALIGN_PYTHON=sys.executable)
    assert (code, said.strip()) == (0, sys.executable)


def test_foreign_python_must_have_the_hosts(made):
    code, said, _ = setup_env(MMTLALIGN_PYTHON=str(made / 'bin' / 'python'))
    assert code == 1
    assert 'lacks torch' in said and 'pytest==' not in said and 'torch==' in said


def test_foreign_python_must_exist():
    code, said, _ = setup_env(MMTLALIGN_PYTHON='/no/such/python')
    assert code == 1 and '/no/such/python cannot be run' in said


@pytest.mark.slow
def test_foreign_python_is_used_as_it_is():
    pytest.importorskip('mmdet')
    code, said, _ = setup_env('--tests', MMTLALIGN_PYTHON=sys.executable)
    assert code == 0 and 'as it is' in said, said
