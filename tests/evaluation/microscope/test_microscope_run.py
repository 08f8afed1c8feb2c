"""The tool and the hook that write a label microscope."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from microscope_parts import NAMES, Pictures, classifier, collate
from repository import tool
from tiny_run import train_to_end, write_config, write_images

from mmtlalign.checkpoint.io import hash_tensors
from mmtlalign.engine.runner import build_runner
from mmtlalign.errors import InputError
from mmtlalign.evaluation.classifier import load_classifier
from mmtlalign.evaluation.microscope import MicroscopeHook, hook
from mmtlalign.evaluation.microscope.source import (
    class_names,
    config_data,
    known_classes,
)
from mmtlalign.validation.config import load_config

HOOK = "custom_hooks = [dict(type='mmtlalign.MicroscopeHook', pairs=4{})]"
DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('images'))


def read(path):
    return json.loads(DATA.search(path.read_text())[1])


def about(path):
    return dict(read(path)['about'])


# ---------------------------------------------------------------------------- the tool


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, images):
    def call(*args, config=None):
        config = config or write_config(tmp_path, images)
        out = tmp_path / 'out' / 'page.html'
        argv = ['label_microscope.py', config, *args, '--out', out]
        monkeypatch.setattr('sys.argv', list(map(str, argv)))
        capsys.readouterr()
        tool('analysis_tools/label_microscope').main()
        assert capsys.readouterr().out.splitlines() == [str(out)]
        return out

    return call


def test_tool_without_checkpoint(run):
    page = run('--pairs', '3')
    data = read(page)
    assert len(data['pairs']) == 3 and data['size'] == [32, 32]
    assert about(page)['weights'] == 'random weights (seed 0), not trained'
    assert {pair['own'] for pair in data['pairs']} <= {'class0', 'class1'}
    first = page.read_bytes()
    assert run('--pairs', '3', '--seed', '1').read_bytes() != first


def test_tool_with_a_checkpoint(run, monkeypatch, tmp_path, images):
    assert train_to_end(monkeypatch, tmp_path, images) is None
    (config,) = (tmp_path / 'work').glob('*.py')
    page = run(tmp_path / 'work' / 'epoch_2.pth', '--pairs', '2', config=config)
    said = about(page)
    assert said['weights'] == 'epoch_2.pth' and len(said['hash']) == 64
    # The same network by the hook's way to the model.
    assert read(page)['pairs'][0]['best'][0]['p'] > 0.5


@pytest.mark.parametrize('labelled', [True, False])
def test_tool_with_other_images(run, tmp_path, labelled):
    folder = tmp_path / 'others'
    write_images(tmp_path / 'more')
    if labelled:
        (tmp_path / 'more' / 'val').rename(folder)
    else:
        (tmp_path / 'more' / 'val' / 'class0').rename(folder)
    page = run('--pairs', '2', '--images', folder)
    assert ('as the model predicts' in about(page)['data']) != labelled
    assert str(tmp_path) not in page.read_text()


@pytest.mark.parametrize(
    'args, message',
    [
        (['--images', 'nowhere'], 'is not a folder'),
        (['nowhere.pth'], "checkpoint 'nowhere.pth' does not exist"),
        (['--cfg-options', 'val_dataloader=None'], 'has no val_dataloader'),
    ],
)
def test_tool_refuses(run, args, message):
    with pytest.raises(SystemExit) as stop:
        run(*args)
    assert message in str(stop.value)


def test_checkpoint_of_another_network(run, tmp_path):
    torch.save(dict(state_dict={'backbone.x': torch.zeros(1)}), tmp_path / 'x.pth')
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / 'x.pth')
    assert 'is of another architecture' in str(stop.value)


def test_names_of_classes(tmp_path, images):
    cfg = load_config(str(write_config(tmp_path, images)))
    model, _ = load_classifier(cfg)
    dataset, _ = config_data(cfg, 2)
    assert known_classes(cfg, model, dataset) == ['class0', 'class1']
    unnamed = SimpleNamespace(metainfo={})
    assert known_classes(cfg, model, unnamed) == ['class 0', 'class 1']
    model._dataset_meta = dict(classes=('of the', 'checkpoint'))
    assert known_classes(cfg, model, unnamed) == ['of the', 'checkpoint']
    cfg.val_dataloader.dataset.type = 'ImageNet'
    model.head.num_classes = 1000
    assert known_classes(cfg, model, unnamed)[0] == 'tench, Tinca tinca'
    assert class_names(7, Pictures().metainfo) == NAMES


# ---------------------------------------------------------------------------- the hook


def weights(folder):
    return torch.load(folder / 'work' / 'epoch_2.pth', weights_only=False)


@pytest.fixture
def folders(tmp_path):
    for name in 'ab':
        (tmp_path / name).mkdir()
    return tmp_path / 'a', tmp_path / 'b'


def test_hook_leaves_the_run_as_it_is(monkeypatch, folders, images):
    assert train_to_end(monkeypatch, folders[0], images) is None
    text = HOOK.format(', interval=1')
    assert train_to_end(monkeypatch, folders[1], images, text=text) is None
    one, two = (weights(folder)['state_dict'] for folder in folders)
    assert all(torch.equal(one[name], two[name]) for name in one)
    pages = sorted((folders[1] / 'work' / 'microscope').iterdir())
    assert [page.name for page in pages] == ['epoch_1.html', 'epoch_2.html']
    assert about(pages[1])['weights'] == 'epoch 2'
    assert about(pages[1])['hash'] == hash_tensors(two)
    first, last = (read(page) for page in pages)
    assert [p['files'] for p in first['pairs']] == [p['files'] for p in last['pairs']]
    assert [p['area'] for p in first['pairs']] == [p['area'] for p in last['pairs']]


def test_hook_writes_at_the_end_the_averaged_weights(monkeypatch, tmp_path, images):
    text = HOOK.format('').replace(']', ", dict(type='EMAHook', momentum=0.1)]")
    assert train_to_end(monkeypatch, tmp_path, images, text=text) is None
    (page,) = (tmp_path / 'work' / 'microscope').iterdir()
    saved = weights(tmp_path)
    assert about(page)['hash'] == hash_tensors(saved['state_dict'])
    raw = {n.removeprefix('module.'): t for n, t in saved['ema_state_dict'].items()}
    raw.pop('steps')
    assert about(page)['hash'] != hash_tensors(raw)


def test_validation_of_its_own_writes_no_page(monkeypatch, tmp_path, images):
    cfg = load_config(str(write_config(tmp_path, images, HOOK.format(', interval=1'))))
    cfg.work_dir, cfg.log_level = str(tmp_path / 'work'), 'WARNING'
    cfg.default_hooks.checkpoint = None
    build_runner(cfg).val()
    assert not (tmp_path / 'work' / 'microscope').exists()


def test_hook_on_another_process_writes_nothing(monkeypatch, tmp_path, images):
    monkeypatch.setattr(hook, 'is_main_process', lambda: False)
    assert train_to_end(monkeypatch, tmp_path, images, text=HOOK.format('')) is None
    assert not (tmp_path / 'work' / 'microscope').exists()


def test_hook_without_validation(monkeypatch, tmp_path, images):
    text = HOOK.format('') + '\nval_dataloader = val_cfg = val_evaluator = None'
    message = train_to_end(monkeypatch, tmp_path, images, text=text)
    assert 'MicroscopeHook shows images of the validation' in message


@pytest.mark.parametrize('options', [dict(pairs=0), dict(interval=-1)])
def test_hook_refuses(options):
    with pytest.raises(InputError, match='give 1 pair or more'):
        MicroscopeHook(**options)


def test_modules_keep_their_modes():
    from mmtlalign.evaluation.microscope import make_pairs

    model = classifier()
    model.backbone.layers[0].eval()
    before = [module.training for module in model.modules()]
    make_pairs(model, Pictures(), collate, 2)
    assert [module.training for module in model.modules()] == before
    assert any(before) and not all(before)
