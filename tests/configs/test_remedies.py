"""What a message tells a person to do can be done, and helps."""

import ast
import re

import pytest
from every_config import plain, quick, run
from mmengine.registry import init_default_scope
from repository import ROOT
from small_runs import without_memory
from tiny_configs import CONFIGS, tiny, write_all

from mmtlalign.checkpoint.io import read_checkpoint
from mmtlalign.errors import InputError
from mmtlalign.validation.config import load_config

BEIT = 'tlalign/tlalign_beit-base-p16_beit-pre_8xb128-coslr-100e_in1k.py'
DEIT = 'tlalign/tlalign_deit-tiny-p4_1xb128-coslr-200e_cifar10-32px.py'
# Flags of other programs, which messages name too.
FOREIGN = {'--upgrade', '--no-build-isolation', '--no-deps', '--no-cache-dir'}
FOREIGN |= {'--force-reinstall', '--no-cache-directory', '--shm-size'}
_quick = pytest.fixture(autouse=True)(quick)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp('data'))


def texts_of(file):
    """Every string of a module that is no docstring."""
    tree = ast.parse(file.read_text())
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if text and id(node) not in docs:
            yield node.value


def test_every_flag_that_a_message_names_is_one_of_a_tool():
    tools = [*(ROOT / 'tools').rglob('*.py'), *(ROOT / 'tools').rglob('*.sh')]
    known = {
        flag
        for file in tools
        for flag in re.findall(r"(?<=['\"\s])--[a-z][\w-]*", file.read_text())
    }
    for file in (ROOT / 'mmtlalign').rglob('*.py'):
        for text in texts_of(file):
            for flag in re.findall(r'(?<![\w-])--[a-z][\w-]*', text):
                assert flag in known | FOREIGN, f'{file}: {flag}'


def stop(monkeypatch, *given):
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, *given)
    return str(end.value.code)


def options_in(message):
    """What a message says after --cfg-options, as the command line reads it."""
    words = re.search(r'--cfg-options ((?:\S+=\S+ ?)+)', message)[1].split()
    return dict(word.strip('.,').split('=') for word in words)


def test_a_run_that_is_shorter_than_its_warm_up(data, tmp_path, monkeypatch):
    cfg = tiny(DEIT, data)
    shipped = load_config(str(CONFIGS[DEIT]))
    cfg.param_scheduler = shipped.param_scheduler
    cfg.work_dir = str(tmp_path)
    said = stop(monkeypatch, 'train', cfg, CONFIGS[DEIT], '--work-dir', tmp_path)
    options = {key: int(value) for key, value in options_in(said).items()}
    path = tmp_path / 'config.py'
    path.write_text('\n'.join(f'{k} = {v!r}' for k, v in plain(cfg)))
    cfg = load_config(str(path), dict(options, **{'train_cfg.max_epochs': 2}))
    run(monkeypatch, 'train', cfg, path, '--work-dir', tmp_path)
    assert (tmp_path / 'epoch_2.pth').is_file()


def test_weights_of_init_cfg_that_are_not_there(data, tmp_path, monkeypatch):
    cfg = tiny(BEIT, data)
    shipped = load_config(str(CONFIGS[BEIT])).model.backbone.init_cfg
    cfg.model.backbone.init_cfg = shipped
    said = stop(monkeypatch, 'train', cfg, CONFIGS[BEIT], '--work-dir', tmp_path)
    assert shipped.checkpoint in said
    for option in re.findall(r'--cfg-options (\S+)=', said):
        value = dict(checkpoint='/a/file.pth').get(option.rpartition('.')[2])
        cfg = load_config(str(CONFIGS[BEIT]), {option: value})
        node = cfg
        for key in option.split('.'):
            node = node[key]
        assert node == value


@pytest.mark.parametrize('name', [n for n in CONFIGS if 'pre' in n.rpartition('/')[2]])
def test_checkpoints_that_are_not_there_name_the_command_that_makes_them(name):
    cfg = load_config(str(CONFIGS[name]))
    file = cfg.get('pretrained') or cfg.get('load_from')
    if not file:
        return
    advice = 'Name another file with --cfg-options pretrained=FILE'
    with pytest.raises(InputError) as raised:
        read_checkpoint(file, 'pretrained', advice)
    (made_by,) = re.findall(r'python tools/train\.py (\S+\.py)', str(raised.value))
    assert (ROOT / made_by).is_file()
    if cfg.get('pretrained'):  # the way out is an option of this config
        assert load_config(str(CONFIGS[name]), dict(pretrained=None)).pretrained is None


def test_random_weights_build(data):
    cfg = load_config(str(CONFIGS[BEIT]), {'model.backbone.init_cfg': None})
    init_default_scope(cfg.default_scope)
    assert without_memory(cfg.model).backbone.init_cfg is None
