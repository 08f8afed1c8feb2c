"""mmpretrain's hub finds our recipes, from a checkout and from a wheel."""

import os
import shutil
import subprocess
import sys

import mmpretrain
import pytest
from repository import ROOT
from small_runs import meta_device

import mmtlalign
from mmtlalign import model_hub
from mmtlalign.compat import own_configs
from mmtlalign.errors import InputError

# One of every folder.
MODELS = {
    'tlalign': 'tlalign_deit-tiny-p4_1xb128-coslr-200e_cifar10-32px',
    'transmix': 'transmix_pvt-tiny_8xb128-coslr-300e_in1k',
    'cutmix': 'cutmix_swin-tiny-p4-w7_16xb64-coslr-300e_in1k',
    'ablations': 'tlalign-last-layer_deit-small-p16_8xb128-coslr-300e_in1k',
    'mixers': 'mixpro_deit-tiny-p16_8xb128-coslr-300e_in1k',
    'token_labeling': 'token-label_lvvit-tiny-p16_8xb128-coslr-310e_in1k',
    'relabel': 'relabel_resnet50_8xb128-coslr-300e_in1k',
    'esvit': 'esvit_swin-mini-p4-w4_digits-32px',
    'dhvt': 'dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px',
    'pvt': 'pvt-tiny_8xb128-coslr-300e_in1k',
    'caswin': 'caswin-tiny-p4-w7_16xb64-coslr-300e_in1k',
    'transfer': 'deit-tiny-p16_tlalign-in1k-pre_sgd-1000e_cifar10-224px',
}


def test_every_folder_is_listed_or_left_out():
    folders = {p.parent.name for p in (ROOT / 'configs').glob('*/metafile.yml')}
    assert folders == MODELS.keys() | model_hub.NOT_IN_THE_HUB


@pytest.mark.parametrize('folder', MODELS)
def test_get_model_builds_one_of_each_folder(folder):
    mmtlalign.register_models()
    name = MODELS[folder]
    assert name in mmpretrain.list_models(name.partition('_')[0] + '*')
    with meta_device():
        model = mmpretrain.get_model(name, pretrained=False)
    assert model._config.filename == str(ROOT / f'configs/{folder}/{name}.py')
    assert model.data_preprocessor is not None and not model.training


def test_registered_twice_is_registered_once():
    mmtlalign.register_models()
    before = mmpretrain.list_models()
    mmtlalign.register_models()
    assert mmpretrain.list_models() == before
    assert 'deit-tiny_4xb256_in1k' in before  # mmpretrain's own
    assert len([n for n in before if n.startswith('cutmix')]) == 38


def test_a_wheel_brings_its_own_index(tmp_path):
    package = tmp_path / 'mmtlalign'
    skip = shutil.ignore_patterns('__pycache__')
    shutil.copytree(ROOT / 'mmtlalign', package, ignore=skip)
    shutil.copytree(ROOT / 'configs', package / '.mim/configs', ignore=skip)
    shutil.copy2(ROOT / 'model-index.yml', package / '.mim')
    code = (
        'import sys, mmtlalign\n'
        "assert 'mmpretrain' not in sys.modules\n"
        'mmtlalign.register_models()\n'
        'import mmpretrain\n'
        f'model = mmpretrain.get_model({MODELS["tlalign"]!r})\n'
        f'assert model._config.filename.startswith({str(package / ".mim")!r})\n'
        "assert len(mmpretrain.list_models('tlalign*')) == 38\n"
    )
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    command = [sys.executable, '-c', code]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)


def test_without_an_index_the_remedy_is_named(tmp_path, monkeypatch):
    file = str(tmp_path / 'a/compat/own_configs.py')
    monkeypatch.setattr(own_configs, '__file__', file)
    with pytest.raises(InputError, match='install the wheel, or use a checkout'):
        model_hub.register_models()
