"""The one check of the hosts: what is refused, what is warned of, what passes."""

import re
import subprocess
import sys
import warnings

import pytest
from repository import ROOT

from mmtlalign.compat import hosts


@pytest.fixture
def machine(monkeypatch):
    """Pretend that hosts and distributions are installed; none by default."""
    versions, distributions = {}, {}
    monkeypatch.setattr(hosts, 'host_version', versions.get)
    monkeypatch.setattr(hosts, 'installed', distributions.get)
    monkeypatch.setattr(hosts, 'requires', lambda name: None)
    return versions, distributions


def test_nothing_is_demanded(machine):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        hosts.check_hosts()


@pytest.mark.parametrize('stack', ['onedl', 'classic'])
def test_the_pins_pass(machine, stack):
    versions, distributions = machine
    text = (ROOT / 'requirements' / f'{stack}.txt').read_text()
    pins = dict(re.findall(r'^([\w-]+)==(\S+)$', text, re.MULTILINE))
    versions['torch'] = pins['torch']
    for name, (owner, *_) in hosts.DISTRIBUTIONS[stack].items():
        versions[name] = distributions[owner] = pins[owner]
    assert set(versions) == set(hosts.HOSTS)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        hosts.check_hosts()


def test_mmcv_lite_is_enough(machine):
    versions, distributions = machine
    versions['mmcv'] = distributions['mmcv-lite'] = '2.1.0'
    hosts.check_hosts()


def test_old_hosts_are_refused_in_one_message(machine):
    machine[0].update(mmengine='0.7.4', mmcv='1.7.1', mmpretrain='1.2.0')
    with pytest.raises(ImportError) as error:
        hosts.check_hosts()
    message = str(error.value)
    assert 'mmengine 0.7.4 is installed, 0.10.7 or newer is needed' in message
    assert 'mmcv 1.7.1 is installed, 2.1.0 or newer is needed' in message
    assert 'mmpretrain' not in message and 'requirements/' in message


def test_new_hosts_are_warned_of(machine):
    machine[0].update(torch='2.99.0+cu130', mmdet='3.3.0')
    with pytest.warns(UserWarning, match='torch 2.99.0.* tested up to') as caught:
        hosts.check_hosts()
    assert len(caught) == 1 and 'mmdet' not in str(caught[0].message)


@pytest.mark.parametrize(
    'distributions',
    [
        ('mmcv', 'onedl-mmcv'),
        ('mmengine', 'onedl-mmcv'),
        ('mmcv', 'mmcv-lite'),
    ],
)
def test_distributions_that_overwrite_each_other(machine, distributions):
    machine[1].update(dict.fromkeys(distributions, '2.1.0'))
    with pytest.raises(ImportError, match='installed together') as error:
        hosts.check_hosts()
    assert all(name in str(error.value) for name in distributions)
    assert 'tools/setup_env.sh' in str(error.value)


@pytest.mark.parametrize(
    'torch, line, fits',
    [
        ('2.11.0+cu130', 'torch (==2.11.0)', True),
        ('2.11.0', 'torch==2.11.0', True),
        ('2.12.1', 'torch==2.11.0', False),
        ('2.12.1', 'torch (==2.11.0+cpu)', False),
        ('2.12.1', 'torch>=2.14', False),
        ('2.15.0', 'torch>=2.14', True),
        ('2.12.1', 'torch', True),  # built by hand
        ('2.12.1', 'torchgeometry==1.0', True),
    ],
)
def test_torchvision_of_another_torch(machine, monkeypatch, torch, line, fits):
    machine[0]['torch'] = torch
    machine[1]['torchvision'] = '0.26.0'
    monkeypatch.setattr(hosts, 'requires', lambda name: ['numpy', line])
    if fits:
        return hosts.check_hosts()
    with pytest.raises(ImportError) as error:
        hosts.check_hosts()
    assert 'torchvision 0.26.0 was built for torch 2.1' in str(error.value)
    assert 'pip install --upgrade torchvision torch==2.12.1' in str(error.value)


@pytest.mark.parametrize(
    'mmcv, version, host, remedy',
    [
        ('mmcv-lite', '2.2.0', 'mmdet', 'pip install mmcv-lite==2.1.0'),
        ('onedl-mmcv', '2.4.1', 'onedl-mmsegmentation', 'pip install onedl-mmcv=='),
        ('mmcv-lite', '2.2.0', 'mmpretrain', None),
        ('onedl-mmcv', '2.3.6', 'onedl-mmdetection', None),
    ],
)
def test_an_mmcv_that_mmdet_and_mmseg_refuse(machine, mmcv, version, host, remedy):
    machine[0]['mmcv'] = version
    machine[1].update({mmcv: version, host: '1.0'})
    if remedy is None:
        return hosts.check_hosts()
    with pytest.raises(ImportError) as error:
        hosts.check_hosts()
    assert f'mmcv {version} is installed, but {host} cannot use' in str(error.value)
    assert remedy in str(error.value)


@pytest.mark.parametrize(
    'text, expected',
    [
        ("__version__ = '2.1.0'\n", '2.1.0'),
        ('x = 1\n__version__: str = "2.1.0rc1"\n', '2.1.0rc1'),
        ("__version__ = '2.11.0+cpu'\n", '2.11.0+cpu'),
        ("__version__ = version('nobody-has-this')\n", None),
    ],
)
def test_version_is_read_without_an_import(tmp_path, monkeypatch, text, expected):
    package = tmp_path / 'a_host'
    package.mkdir()
    (package / '__init__.py').write_text("raise RuntimeError('imported')\n")
    (package / 'version.py').write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert hosts.host_version('a_host') == expected
    assert 'a_host' not in sys.modules


@pytest.mark.parametrize('name', hosts.HOSTS)
def test_read_version_is_the_hosts_own(name):
    host = pytest.importorskip(name)
    assert hosts.host_version(name) == host.__version__


WITHOUT_OPERATORS = """
import subprocess
import sys

# What mmcv-lite lacks.
sys.modules['mmcv._ext'] = sys.modules['mmcv.ops'] = None

import torch
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample

init_default_scope('mmpretrain')
model = MODELS.build(dict(
    type='mmtlalign.MixClassifier',
    data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', num_classes=3),
    backbone=dict(
        type='mmpretrain.SwinTransformer', img_size=32, patch_size=2, window_size=4,
        arch=dict(embed_dims=16, depths=[2, 2], num_heads=[1, 2]), out_indices=[1]),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(type='mmtlalign.TLAlignLinearClsHead', num_classes=3, in_channels=32),
    train_cfg=dict(augments=[dict(type='mmtlalign.TokenCutMix', patch_size=2)])))
samples = [DataSample().set_gt_label(i % 3) for i in range(4)]
images = [torch.zeros(3, 32, 32, dtype=torch.uint8) for _ in samples]
batch = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
loss = model(**batch, mode='loss')['loss']
assert torch.isfinite(loss), loss
"""


@pytest.mark.slow
def test_classification_needs_no_compiled_operators():
    pytest.importorskip('mmpretrain')
    subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', WITHOUT_OPERATORS], check=True
    )


def test_import_brings_in_nothing():
    code = (
        'import sys, mmtlalign; dir(mmtlalign); '
        "print([m for m in ('torch', 'numpy', 'mmengine', 'mmpretrain', 'timm') "
        'if m in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr
