"""What a set-up finds before it fails late, and the line that mends it."""

import ast
import importlib.util
import os
import subprocess
import sys

import pytest
from repository import ROOT, tool

check_env = tool('check_env')


@pytest.fixture
def apt(monkeypatch):
    """A Debian machine, as root, with no other program to be found."""
    found = {'apt-get': '/usr/bin/apt-get'}
    monkeypatch.setattr(
        check_env.shutil, 'which', lambda name, path=None: found.get(name)
    )
    monkeypatch.setattr(check_env.os, 'geteuid', lambda: 0)
    return found


@pytest.mark.parametrize(
    'stack, version, fits',
    [
        ('onedl', (3, 9), False),
        ('onedl', (3, 10), True),
        ('onedl', (3, 13), True),
        ('onedl', (3, 14), False),
        ('classic', (3, 10), False),
        ('classic', (3, 11), True),
        ('classic', (3, 12), False),
    ],
)
def test_python_version(apt, stack, version, fits):
    findings = check_env.check_python(stack, version)
    assert (findings == []) == fits
    for finding in findings:
        assert '{}.{}'.format(*version) in finding.problem and stack in finding.problem
        assert finding.remedy == ('apt-get install -y python3.11 python3.11-venv')


def test_an_old_python_can_read_it_and_is_refused(monkeypatch):
    ast.parse((ROOT / 'tools/check_env.py').read_text(), feature_version=(3, 5))
    monkeypatch.setattr(check_env.sys, 'version_info', (3, 7, 1))
    (finding,) = check_env.check_hosts()
    assert 'is Python 3.7, but 3.10 or newer is needed' in finding.problem


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
        'libc.so.6': {'apt_get': 'libc6', 'dnf': 'glibc'},
        'libnone.so.1': {'apt_get': 'libnone1', 'dnf': 'none'},
        'libnil.so.2': {'apt_get': 'libnil2', 'dnf': 'nil'},
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
    assert 'remedy: ' in result.stderr


@pytest.mark.parametrize(
    'release, fits', [('13.0', True), ('12.4', False), ('', True), (None, False)]
)
def test_cuda_compiler(apt, monkeypatch, tmp_path, release, fits):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if release is not None:
        nvcc = tmp_path / 'nvcc'
        nvcc.write_text(f'#!/bin/sh\necho "Cuda tools, release {release}"\n')
        nvcc.chmod(0o755)
        apt['nvcc'] = str(nvcc)
    findings = check_env.check_cuda_compiler('onedl', gpu=True)
    assert (findings == []) == fits
    for finding in findings:
        assert 'CUDA 13' in finding.problem
        assert finding.remedy.startswith('bash tools/setup_env.sh onedl')
    assert check_env.check_cuda_compiler('onedl', gpu=False) == []
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert check_env.check_cuda_compiler('onedl', gpu=True) == []


def test_missing_imports_name_their_pins(monkeypatch):
    there = importlib.util.find_spec
    gone = ('mmcv', 'mmdet', 'mmseg')
    monkeypatch.setattr(
        check_env.importlib.util, 'find_spec', lambda n: None if n in gone else there(n)
    )
    (finding,) = check_env.check_imports('onedl')
    assert 'lacks mmcv, mmdet, mmseg' in finding.problem
    assert finding.remedy.endswith(
        ' -m pip install onedl-mmcv==2.3.6 onedl-mmdetection==3.5.1 '
        'onedl-mmsegmentation==1.4.2'
    )


def test_only_compiling_needs_a_compiler(apt, monkeypatch, capsys):
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setattr(check_env, 'check_headers', lambda: [])
    monkeypatch.setattr(check_env, 'check_opencv_libraries', lambda: [])
    for options, code in (([], 0), (['--compile-mmcv'], 1)):
        monkeypatch.setattr(check_env.sys, 'argv', ['check_env', 'machine', *options])
        assert check_env.main() == code
    assert 'no C++ compiler' in capsys.readouterr().err


@pytest.mark.parametrize('stack', ['onedl', 'classic'])
def test_every_import_has_a_pin(stack):
    imports = check_env.imports_of(stack, tests=True)
    assert {'torch', 'mmseg', 'pytest'} <= set(imports)
    for distribution in imports.values():
        assert check_env.pin(distribution, stack).startswith(distribution + '==')


def test_half_installed_distributions_are_forgotten(tmp_path):
    for name, written in (('whole', ['INSTALLER', 'RECORD']), ('half', ['RECORD'])):
        (tmp_path / f'{name}-1.0.dist-info').mkdir()
        for file in written:
            (tmp_path / f'{name}-1.0.dist-info' / file).touch()
    (tmp_path / '~alf').mkdir()
    removed = check_env.remove_half_installed(tmp_path)
    assert sorted(removed) == ['half-1.0.dist-info', '~alf']
    assert [p.name for p in tmp_path.iterdir()] == ['whole-1.0.dist-info']
