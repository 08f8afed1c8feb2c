"""The set-up: what it finds before it fails, what it shows, when it does nothing."""

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUP = ROOT / 'tools' / 'setup_env.sh'


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_env = tool('check_env')
run_step = tool('run_step')


def setup_env(*arguments, **environment):
    """Run the set-up script; (exit code, what it said, seconds)."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith('MMTLALIGN_')}
    start = time.monotonic()
    result = subprocess.run(
        ['bash', str(SETUP), *arguments],
        env={**clean, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return result.returncode, result.stdout, time.monotonic() - start


@pytest.fixture
def apt(monkeypatch):
    """A Debian machine, as root, with no other program to be found."""
    found = {'apt-get': '/usr/bin/apt-get'}
    monkeypatch.setattr(check_env.shutil, 'which', found.get)
    monkeypatch.setattr(check_env.os, 'geteuid', lambda: 0)
    return found


@pytest.mark.parametrize(
    'script', ['tools/setup_env.sh', 'tools/run_tests.sh', '.ci/run']
)
def test_scripts_parse(script):
    subprocess.run(['bash', '-n', str(ROOT / script)], check=True)


# --- what would fail late -----------------------------------------------------


@pytest.mark.parametrize(
    'stack, version, fits',
    [
        ('onedl', (3, 10), False),
        ('onedl', (3, 11), True),
        ('onedl', (3, 12), True),
        ('onedl', (3, 14), False),
        ('classic', (3, 11), True),
        ('classic', (3, 12), False),
    ],
)
def test_python_version(apt, stack, version, fits):
    findings = check_env.check_python(stack, version)
    assert (findings == []) == fits
    for finding in findings:
        assert '{}.{}'.format(*version) in finding.problem and stack in finding.problem
        assert finding.remedy == (
            'apt-get install -y python3.11 python3.11-dev python3.11-venv'
        )


def test_compiler(apt, monkeypatch):
    monkeypatch.delenv('CXX', raising=False)
    (finding,) = check_env.check_compiler()
    assert finding.remedy == 'apt-get install -y g++'
    apt['g++'] = '/usr/bin/g++'
    assert check_env.check_compiler() == []


def test_headers(apt, tmp_path):
    (finding,) = check_env.check_headers(tmp_path)
    assert str(tmp_path) in finding.problem
    version = '{}.{}'.format(*sys.version_info[:2])
    assert finding.remedy == f'apt-get install -y python{version}-dev'
    (tmp_path / 'Python.h').touch()
    assert check_env.check_headers(tmp_path) == []


def test_venv_module(apt, monkeypatch):
    assert check_env.check_venv() == []
    monkeypatch.setattr(check_env.importlib.util, 'find_spec', lambda name: None)
    (finding,) = check_env.check_venv()
    assert finding.remedy.endswith('-venv')


def test_libraries_of_opencv(apt):
    libraries = {
        'libc.so.6': {'apt-get': 'libc6', 'dnf': 'glibc'},
        'libnone.so.1': {'apt-get': 'libnone1', 'dnf': 'none'},
        'libnil.so.2': {'apt-get': 'libnil2', 'dnf': 'nil'},
    }
    (finding,) = check_env.check_opencv_libraries(libraries)
    assert 'libnone.so.1 and libnil.so.2' in finding.problem
    assert finding.remedy == 'apt-get install -y libnone1 libnil2'
    assert check_env.check_opencv_libraries({'libc.so.6': {}}) == []


def test_remedies_know_sudo_and_the_package_manager(apt, monkeypatch):
    monkeypatch.setattr(check_env.os, 'geteuid', lambda: 1000)
    line = check_env.install_line(apt_get='g++', dnf='gcc-c++')
    assert line == 'sudo apt-get install -y g++'
    del apt['apt-get']
    apt['dnf'] = '/usr/bin/dnf'
    line = check_env.install_line(apt_get='g++', dnf='gcc-c++')
    assert line == 'sudo dnf install -y gcc-c++'
    apt.clear()
    assert 'g++' in check_env.install_line(apt_get='g++', dnf='gcc-c++')


def test_disk(tmp_path):
    target = tmp_path / 'not' / 'yet' / 'there'
    assert check_env.check_disk(target, free=lambda path: 100e9) == []
    findings = check_env.check_disk(target, free=lambda path: 2e9)
    assert '2.0 GB free' in findings[0].problem
    assert 'MMTLALIGN_VENV=' in findings[0].remedy


def test_disk_asks_little_of_an_environment_that_has_torch(tmp_path):
    lib = tmp_path / 'lib' / 'python3.11' / 'site-packages' / 'torch' / 'lib'
    lib.mkdir(parents=True)
    (lib / 'libtorch_cpu.so').touch()
    assert check_env.check_disk(tmp_path, free=lambda path: 2e9) == []


def test_mixed_stacks(tmp_path):
    for name, version in (('mmcv', '2.1.0'), ('onedl_mmcv', '2.3.6')):
        folder = tmp_path / f'{name}-{version}.dist-info'
        folder.mkdir()
        name = name.replace('_', '-')
        text = f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
        (folder / 'METADATA').write_text(text)
    result = subprocess.run(
        [sys.executable, '-S', str(ROOT / 'tools' / 'check_env.py'), 'hosts'],
        env={**os.environ, 'PYTHONPATH': str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert result.returncode == 1
    assert 'problem: mmtlalign' in result.stderr
    assert 'mmcv, onedl-mmcv are installed together' in result.stderr
    assert 'mend it: ' in result.stderr


def test_missing_imports_name_their_pins(monkeypatch):
    there = importlib.util.find_spec
    gone = ('mmcv', 'mmdet', 'mmseg')
    monkeypatch.setattr(
        check_env.importlib.util, 'find_spec', lambda n: None if n in gone else there(n)
    )
    (finding,) = check_env.check_imports('onedl')
    assert 'lacks mmcv, mmdet, mmsegmentation' in finding.problem
    packages, mmcv = finding.remedy.split(' && ')
    assert packages.endswith('onedl-mmdetection==3.5.1 onedl-mmsegmentation==1.4.2')
    assert mmcv.endswith('--no-build-isolation onedl-mmcv==2.3.6')


@pytest.mark.parametrize('stack', ['onedl', 'classic'])
def test_every_import_has_a_pin(stack):
    for distribution in {**check_env.IMPORTS, **check_env.TEST_IMPORTS}.values():
        assert '==' in check_env.pin(distribution, stack)


def test_half_installed_distributions_are_forgotten(tmp_path):
    for name, written in (('whole', ['INSTALLER', 'RECORD']), ('half', ['RECORD'])):
        (tmp_path / f'{name}-1.0.dist-info').mkdir()
        for file in written:
            (tmp_path / f'{name}-1.0.dist-info' / file).touch()
    (tmp_path / '~alf').mkdir()
    removed = check_env.remove_half_installed(tmp_path)
    assert sorted(removed) == ['half-1.0.dist-info', '~alf']
    assert [p.name for p in tmp_path.iterdir()] == ['whole-1.0.dist-info']


# --- what it shows ------------------------------------------------------------


@pytest.mark.parametrize(
    'line, text',
    [
        (
            '  [12/78] c++ -MMD -I/a -c -c /b/csrc/pytorch/nms.cpp -o /b/nms.o\n',
            'file 12 of 78, nms.cpp',
        ),
        ('[3/9] /usr/bin/nvcc -c /b/nms_cuda.cu -o x', 'file 3 of 9, nms_cuda.cu'),
        ('Collecting torch==2.11.0 (from -r pins.txt)\n', 'collecting torch==2.11.0'),
        ('  Downloading a/torch-2.11.0.whl (530 MB)\n', 'downloading torch-2.11.0.whl'),
        ('Installing collected packages: a, b, c\n', 'installing 3 packages'),
        ('  Building wheel for onedl-mmcv (pyproject.toml): started\n',
         'building wheel for onedl-mmcv'),
        ('  running build_ext\n', None),
        ('/a/nms.cpp:12:3: warning: unused [-Wunused]\n', None),
    ],
)  # fmt: skip
def test_progress_is_read_from_the_output(line, text):
    assert run_step.progress(line) == text


def test_times_are_shown_as_minutes_and_seconds():
    assert [run_step.clock(s) for s in (0, 9.9, 61, 754)] == [
        '0:00',
        '0:09',
        '1:01',
        '12:34',
    ]


def test_without_a_terminal_lines_come_seldom(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run_step, 'SECONDS_BETWEEN_LINES', 1)
    code = (
        'import time\n'
        'for i in range(1, 4):\n'
        '    print(f"[{i}/3] c++ -c {i}.cpp", flush=True)\n'
        '    time.sleep(0.8)'
    )
    log = tmp_path / 'log'
    assert run_step.run('compiling', [sys.executable, '-c', code], str(log)) == 0
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1] == '  compiling: done, 0:02'
    assert 1 <= len(shown) - 1 <= 3 and all(' of 3, ' in line for line in shown[:-1])
    assert '[3/3] c++ -c 3.cpp' in log.read_text()


def test_a_failure_shows_every_error(tmp_path, capsys):
    code = (
        'print("a.cpp:1: error: no such type")\n'
        'print("c++ -Werror=format -c b.cpp")\n'
        'print("\\n".join(f"note {i}" for i in range(60)))\n'
        'raise SystemExit(3)'
    )
    log = str(tmp_path / 'log')
    assert run_step.run('compiling', [sys.executable, '-c', code], log) == 3
    shown = capsys.readouterr().err
    assert 'compiling: failed with exit code 3' in shown
    assert 'a.cpp:1: error: no such type' in shown and '-Werror' not in shown
    assert 'note 59' in shown and log in shown


def test_ctrl_c_stops_the_command_too(tmp_path):
    code = 'import time; print("[1/2] c++ -c a.cpp", flush=True); time.sleep(60)'
    command = [sys.executable, str(ROOT / 'tools' / 'run_step.py')]
    command += [
        '--log',
        str(tmp_path / 'log'),
        'a step',
        '--',
        sys.executable,
        '-c',
        code,
    ]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log = tmp_path / 'log'
    while not (log.exists() and '[1/2]' in log.read_text()):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=20)
    assert process.returncode == 130 and 'stopped' in shown


# --- when it does nothing -----------------------------------------------------


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
    assert 'to be made or brought up to date' in said or 'mend it' in said


def test_one_folder_never_holds_both_stacks(made):
    code, said, _ = setup_env('classic', MMTLALIGN_VENV=str(made))
    assert code == 1
    assert 'holds the onedl stack' in said and 'MMTLALIGN_VENV=' in said


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').touch()
    code, said, _ = setup_env(MMTLALIGN_VENV=str(tmp_path))
    assert code == 1 and 'another folder' in said
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.tex']


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
    assert 'lacks torch' in said and 'torch==' in said


def test_foreign_python_must_exist():
    code, said, _ = setup_env(MMTLALIGN_PYTHON='/no/such/python')
    assert code == 1 and '/no/such/python cannot be run' in said


@pytest.mark.slow
def test_foreign_python_is_used_as_it_is():
    pytest.importorskip('mmdet')
    code, said, _ = setup_env(MMTLALIGN_PYTHON=sys.executable)
    assert code == 0 and 'as it is' in said, said
