"""What a wheel carries and demands, and what imports with little installed."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
import yaml
from repository import ROOT
from tiny_run import write_images

import mmtlalign
from mmtlalign.compat import hosts

HOST_NAMES = {
    distribution
    for names in hosts.DISTRIBUTIONS.values()
    for owners in names.values()
    for distribution in owners
}
SOURCES = (
    'CITATION.cff',
    'LICENSE',
    'MANIFEST.in',
    'README.md',
    'configs',
    'mmtlalign',
    'model-index.yml',
    'pyproject.toml',
    'requirements',
    'setup.py',
    'tools',
)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the sources: a build leaves folders behind."""
    folder = tmp_path_factory.mktemp('source')
    skip = shutil.ignore_patterns('__pycache__')
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=skip)
        else:
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    out = tmp_path_factory.mktemp('wheel')
    options = ['--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir', str(out)]
    command = [sys.executable, '-m', 'pip', 'wheel', *options, str(source)]
    subprocess.run(command, check=True)
    (file,) = out.glob('*.whl')
    with zipfile.ZipFile(file) as archive:
        archive.extractall(out / 'site')
    return out / 'site'


def files(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


@pytest.mark.parametrize('name', ['configs', 'tools'])
def test_wheel_carries_what_mim_looks_for(wheel, source, name):
    assert files(wheel / 'mmtlalign' / '.mim' / name) == files(source / name)


def test_wheel_carries_the_model_index_and_the_licence(wheel):
    index = wheel / 'mmtlalign' / '.mim' / 'model-index.yml'
    assert index.read_text() == (ROOT / 'model-index.yml').read_text()
    assert list(wheel.glob('*.dist-info/**/LICENSE'))


def test_wheel_carries_every_module_and_what_it_reads(wheel, source):
    here = {f for f in files(source / 'mmtlalign') if not f.endswith('.pth')}
    assert here <= files(wheel / 'mmtlalign')
    assert 'evaluation/microscope/page.js' in here
    assert {p.name for p in wheel.iterdir()} == {
        'mmtlalign',
        'mmtlalign.pth',
        f'mmtlalign-{mmtlalign.__version__}.dist-info',
    }


def test_wheel_carries_every_table(wheel, source):
    tables = {f for f in files(source / 'mmtlalign') if f.endswith(('.json', '.txt'))}
    assert 'datasets/imagenet_o_indices.txt' in tables
    assert tables <= files(wheel / 'mmtlalign')


def test_wheel_says_that_it_is_typed(wheel):
    assert (wheel / 'mmtlalign' / 'py.typed').exists()


def test_build_leaves_nothing_in_the_package(wheel, source):
    assert not (source / 'mmtlalign' / '.mim').exists()


def requirements(wheel):
    (file,) = wheel.glob('*.dist-info/METADATA')
    lines = re.findall(r'^Requires-Dist: (.+)$', file.read_text(), re.MULTILINE)
    plain = [line for line in lines if 'extra ==' not in line]
    return [re.match(r'[\w.-]+', line)[0].lower() for line in plain], lines


def test_neither_stack_is_demanded(wheel):
    demanded, _ = requirements(wheel)
    assert not set(demanded) & HOST_NAMES
    assert set(demanded) == {'numpy', 'setuptools', 'torch'}


@pytest.mark.parametrize(
    'extra, pin',
    [
        ('onedl', 'onedl-mmcv==2.3.6'),
        ('onedl', 'timm==1.0.31'),
        ('classic', 'mmcv-lite==2.1.0'),
        ('classic', 'timm==1.0.31'),
        ('test', 'pytest=='),
    ],
)
def test_extras_hold_the_pins(wheel, extra, pin):
    _, lines = requirements(wheel)
    mine = [line for line in lines if re.search(rf'extra == ["\']{extra}["\']', line)]
    assert any(line.startswith(pin) for line in mine)


def test_sdist_carries_what_the_wheel_is_built_from(source):
    command = [sys.executable, 'setup.py', '--quiet', 'sdist']
    subprocess.run(command, cwd=source, check=True, stderr=subprocess.DEVNULL)
    (file,) = (source / 'dist').glob('*.tar.gz')
    with tarfile.open(file) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    for folder in ('configs', 'tools', 'requirements', 'mmtlalign'):
        assert {f'{folder}/{name}' for name in files(source / folder)} <= names
    assert {'LICENSE', 'README.md', 'model-index.yml', 'setup.py'} <= names


@pytest.mark.parametrize('room', ['mixing', 'tracing'])
def test_rooms_of_ideas_need_torch_alone(wheel, room):
    host_names = sorted({*hosts.HOSTS, 'timm', 'cv2'} - {'torch'})
    code = (
        f'import sys; sys.modules.update(dict.fromkeys({host_names}))\n'
        f'import mmtlalign.{room}\n'
        f'assert mmtlalign.__file__.startswith({str(wheel)!r}), mmtlalign.__file__'
    )
    environment = {**os.environ, 'PYTHONPATH': str(wheel)}
    subprocess.run([sys.executable, '-c', code], check=True, env=environment, cwd=wheel)


def test_citation_names_the_papers():
    cited = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    numbers = {r['identifiers'][0]['value'] for r in cited['references']}
    assert numbers == {
        'arXiv:2210.06455',
        'arXiv:2111.09833',
        'arXiv:2104.10858',
        'arXiv:2106.09785',
        'arXiv:2210.05958',
        # Of the mixers.
        'arXiv:2003.13048',
        'arXiv:2006.01791',
        'arXiv:2009.06962',
        'arXiv:2207.08409',
        'arXiv:2212.12977',
        'arXiv:2304.12043',
    }


def test_model_index_imports_metafiles_that_the_wheel_has(wheel):
    mim = wheel / 'mmtlalign' / '.mim'
    index = yaml.safe_load((mim / 'model-index.yml').read_text())
    assert index['Import'] and all((mim / file).is_file() for file in index['Import'])


# A shipped recipe, on a tiny network and on pictures of one's own.
OWN = """
_base_ = 'mmtlalign::tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=16,
            num_layers=2,
            num_heads=2,
            feedforward_channels=32,
        ),
        img_size=32,
        patch_size=8,
    ),
    head=dict(num_classes=2, in_channels=16),
    train_cfg=dict(augments=[dict(type='mmtlalign.TokenCutMix', patch_size=8)]),
)
data_preprocessor = dict(num_classes=2)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
own = dict(_delete_=True, type='CustomDataset', data_root={data!r}, pipeline=pipeline)
train_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False,
    dataset=dict(own, data_prefix='train'),
)
val_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False,
    dataset=dict(own, data_prefix='val'),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
param_scheduler = []
train_cfg = dict(max_epochs=1)
"""


@pytest.mark.slow  # installs, and trains in a process
def test_a_config_builds_on_one_of_the_installed_wheel(wheel, tmp_path):
    (file,) = wheel.parent.glob('*.whl')
    site = tmp_path / 'site'
    options = ['--quiet', '--no-deps', '--no-index', '--target', str(site)]
    command = [sys.executable, '-m', 'pip', 'install', *options, str(file)]
    subprocess.run(command, check=True)
    config, work = tmp_path / 'own.py', tmp_path / 'work'
    config.write_text(OWN.format(data=str(write_images(tmp_path / 'data'))))
    tool = site / 'mmtlalign/.mim/tools/train.py'
    ended = subprocess.run(
        [sys.executable, str(tool), str(config), '--work-dir', str(work)],
        env=os.environ | dict(PYTHONPATH=str(site)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert (work / 'epoch_1.pth').exists()
