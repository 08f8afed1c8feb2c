"""The code of docs/own_data.md and docs/inference.md does what they say."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from every_config import quick, run
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from repository import ROOT
from small_runs import without_memory
from tiny_configs import one_step, small_pictures, thin

from mmtlalign.validation.config import load_config
from tools.dataset_converters.check_data import main as check_data
from tools.experiments.plan import read_plan

PAGE = (ROOT / 'docs/own_data.md').read_text()
BLOCKS = dict(re.findall(r'```python\n# (\w+)\.py.*?\n(.*?)```', PAGE, re.DOTALL))
COMMANDS = [
    words.replace('\\\n', ' ').split()
    for words in re.findall(r'^python (tools/.*?(?<!\\))$', PAGE, re.M | re.DOTALL)
]
_quick = pytest.fixture(autouse=True)(quick)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The configs of the page beside the data that it speaks of."""
    folder = tmp_path_factory.mktemp('outside')
    for name, block in BLOCKS.items():
        (folder / f'{name}.py').write_text(block)
    draw = np.random.default_rng(0)

    def picture(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), draw.integers(0, 255, (64, 80, 3), np.uint8))

    for split in ('train', 'val', 'test'):
        for kind in ('ant', 'bee'):
            for number in range(2):
                picture(folder / f'data/insects/{split}/{kind}/{number}.jpg')
        images, objects = [], []
        for number in range(2):
            picture(folder / f'data/rooms/pictures/{split}/{number}.png')
            mask = np.repeat([0, 1, 2, 255], 16)[:, None].repeat(80, 1)
            file = folder / f'data/rooms/labels/{split}/{number}_ids.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), mask.astype(np.uint8))
            name = f'{split}_{number}.jpg'
            picture(folder / 'data/pets/pictures' / name)
            images.append(dict(id=number, file_name=name, width=80, height=64))
            corners = [8, 8, 40, 8, 40, 40, 8, 40]
            objects.append(
                dict(id=number + 1, image_id=number, category_id=number + 7, iscrowd=0)
                | dict(bbox=[8, 8, 32, 32], area=1024, segmentation=[corners])
            )
        kinds = [dict(id=7, name='cat'), dict(id=8, name='dog')]
        content = dict(images=images, annotations=objects, categories=kinds)
        (folder / f'data/pets/{split}.json').write_text(json.dumps(content))
    return folder


CONFIGS = [name for name in BLOCKS if name not in ('own_plan', 'own_timm')]


def test_the_page_has_a_config_of_every_kind():
    assert len(CONFIGS) == 6


@pytest.mark.parametrize('name', CONFIGS)
def test_config_builds_in_its_own_size(name, folder):
    cfg = load_config(str(folder / f'{name}.py'))
    init_default_scope(cfg.default_scope)
    model = without_memory(
        dict(cfg.model, data_preprocessor=cfg.get('data_preprocessor'))
        if cfg.default_scope == 'mmpretrain'
        else cfg.model
    )
    heads = [
        m for m in model.modules() if isinstance(getattr(m, 'num_classes', 0), int)
    ]
    counts = {m.num_classes for m in heads if getattr(m, 'num_classes', 0)}
    counts -= {1}  # objects or none, in the RPN
    assert counts == {3 if name == 'own_masks' else 2}


@pytest.mark.slow  # builds, trains, saves and tests six models
@pytest.mark.parametrize('name', CONFIGS)
def test_config_trains_and_tests(name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    cfg = load_config(f'{name}.py')
    dense = cfg.default_scope != 'mmpretrain'
    small_pictures(cfg, 8 if dense else 4, 16)
    if not dense:
        cfg.model.backbone.img_size = 64
    thin(cfg.model)
    one_step(cfg)
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    run(monkeypatch, 'train', cfg, f'{name}.py', '--work-dir', tmp_path)
    (file,) = [*tmp_path.glob('epoch_1.pth'), *tmp_path.glob('iter_1.pth')]
    run(monkeypatch, 'test', cfg, f'{name}.py', file, '--work-dir', tmp_path)
    meta = torch.load(file, weights_only=False)['meta']['dataset_meta']
    assert tuple(meta['classes']) == tuple(
        cfg.train_dataloader.dataset.metainfo.classes
    )


def test_test_split(folder):
    cfg = load_config(str(folder / 'own_test_split.py'))
    prefixes = [cfg[f'{s}_dataloader'].dataset.data_prefix for s in ('val', 'test')]
    assert prefixes == ['val', 'test']


@pytest.mark.parametrize('words', [w for w in COMMANDS if 'train.py' in w[0]])
def test_shorter_runs(words, folder):
    """The warm-up ends in time, and every scheduler with the run."""
    if '--cfg-options' not in words:
        return
    options = dict(w.split('=') for w in words[words.index('--cfg-options') + 1 :])
    cfg = load_config(str(folder / words[1]), {k: int(v) for k, v in options.items()})
    length = cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters'))
    first, second = cfg.param_scheduler
    assert first.end == second.begin < length
    assert second.get('end', length) == length


@pytest.mark.parametrize('words', [w for w in COMMANDS if 'check_data' in w[0]])
def test_checks_of_data(words, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as end:
        check_data(words[1:])
    assert end.value.code == 0, capsys.readouterr().out


def test_plan(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ('tlalign.pth', 'cutmix.pth'):
        (folder / name).touch()
    plan = read_plan('own_plan.py')
    assert list(plan.tasks) == ['insects', 'rooms'] and len(plan.seeds) == 3


def test_timm_arguments(folder, tmp_path):
    import timm

    options = dict(num_classes=0, pretrained=False)
    net = timm.create_model('swin_tiny_patch4_window7_224', **options)
    torch.save(net.state_dict(), tmp_path / 'OUT.pth')
    names = {}
    exec(BLOCKS['own_timm'].replace('OUT.pth', str(tmp_path / 'OUT.pth')), names)
    for name, value in names['model'].state_dict().items():
        assert value.equal(net.state_dict()[name]), name


# ----------------------------------------------------------------------- inference.md

INFERENCE = dict(
    re.findall(
        r'```python\n# ([\w ]+)\n(.*?)```',
        (ROOT / 'docs/inference.md').read_text(),
        re.DOTALL,
    )
)


@pytest.mark.slow  # builds five models
@pytest.mark.parametrize('kind', INFERENCE)
def test_inference_page(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = INFERENCE[kind].replace('configs/', f'{ROOT}/configs/')
    (config,) = re.findall(r"'([^']+\.py)'", code)
    (file,) = re.findall(r"'(work_dirs/[^']+)'", code)
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    model = dict(cfg.model)
    if cfg.default_scope == 'mmpretrain':
        model['data_preprocessor'] = cfg.data_preprocessor
    names = [str(n) for n in range(11 if kind == 'segmentation' else 10)]
    meta = dict(dataset_meta=dict(classes=names))
    if kind == 'segmentation':
        meta['dataset_meta']['palette'] = [[n, n, n] for n in range(11)]
    (tmp_path / file).parent.mkdir(parents=True)
    state = MODELS.build(model).state_dict()
    torch.save(dict(state_dict=state, meta=meta), tmp_path / file)
    draw = np.random.default_rng(0)
    cv2.imwrite('picture.jpg', draw.integers(0, 255, (64, 80, 3), np.uint8))
    found = {}
    exec(code, found)
    if kind == 'classification':
        assert found['result']['pred_class'] in names
    elif kind == 'features':
        assert found['features'].shape == (128,)
    elif kind == 'segmentation':
        assert found['result']['predictions'].shape == (64, 80)
        assert (tmp_path / 'shown/vis/picture.jpg').is_file()
    elif kind == 'detection':
        assert {'labels', 'scores', 'bboxes', 'masks'} <= found['boxes'].keys()
        assert (tmp_path / 'shown/vis/picture.jpg').is_file()
    shutil.rmtree(tmp_path / 'work_dirs')
