"""Every config parses, names only types that exist, and builds."""

import copy
import functools
import importlib
import logging
import re
import runpy
import shlex
from pathlib import Path

import cv2
import mmcv.ops
import mmengine.registry as roots
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, Registry, init_default_scope
from mmpretrain.registry import BATCH_AUGMENTS
from mmpretrain.structures import DataSample
from repository import ROOT
from small_runs import without_memory

from mmtlalign.tracing.support import backbone_spec
from mmtlalign.validation.config import load_config

FOLDER = ROOT / 'configs'
CONFIGS = {
    str(p.relative_to(FOLDER)): p
    for p in sorted(FOLDER.rglob('*.py'))
    if '_base_' not in p.parts and 'plans' not in p.parts  # see test_plan.py
}
REGISTRIES = [r for r in vars(roots).values() if isinstance(r, Registry)]
OTHER_TASKS = ('quickstart', 'small', 'segmentation', 'detection', 'transfer')
OTHER_TASKS += ('evaluation',)
RECIPES = [n for n in CONFIGS if n.split('/')[0] not in OTHER_TASKS]
# More of these in test_token_label_configs.py and test_token_label_starts.py …
WITH_MAPS = [
    n
    for n in RECIPES
    if n.startswith(('token_labeling/', 'relabel/', 'mixers/tokenmix_'))
]
# … and in test_esvit_recipe.py.
WITHOUT_LABELS = [n for n in RECIPES if n.startswith('esvit/')]
CLASSIFICATION = [n for n in RECIPES if n not in WITH_MAPS + WITHOUT_LABELS]
METHODS = [n for n in CLASSIFICATION if n.startswith(('tlalign/', 'transmix/'))]
MIXERS = [n for n in RECIPES if n.startswith('mixers/')]
# … and in test_ablations.py.
ABLATIONS = [n for n in CLASSIFICATION if n.startswith('ablations/')]
CONTROLS = [n for n in CLASSIFICATION if n not in METHODS + MIXERS + ABLATIONS]
DOMAINNET = [n for n in CONFIGS if n.endswith('_domainnet.py')]


@pytest.fixture(autouse=True)
def _without_a_line_for_every_parameter():
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@functools.cache
def parsed(name):
    return Config.fromfile(CONFIGS[name])


def load(name):
    cfg = copy.deepcopy(parsed(name))
    importlib.import_module(f'{cfg.default_scope}.registry')
    init_default_scope(cfg.default_scope)
    return cfg


def build(cfg):
    """The classifier of a config without memory behind its weights."""
    if cfg.model.backbone.type == 'mmtlalign.TIMMBackbone':
        cfg.model.backbone.pretrained = False  # nothing is downloaded
    return without_memory(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


def types(node, path=''):
    """Every ``type`` that is a name, with where it stands."""
    if isinstance(node, dict):
        if isinstance(node.get('type'), str):
            yield path, node['type']
        for key, value in node.items():
            yield from types(value, f'{path}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from types(value, f'{path}[{index}]')


@functools.cache
def exists(name, scope):
    if '.' not in name:
        # A bare name is looked up in the host, then in mmengine's roots.
        if any(r.get(f'{scope}.{name}') or r.get(name) for r in REGISTRIES):
            return True
    elif any(r.get(name) for r in REGISTRIES):
        return True
    # Batch augments have no root in mmengine; RoI layers are looked up in mmcv.
    return BATCH_AUGMENTS.get(name) is not None or hasattr(mmcv.ops, name)


@pytest.mark.parametrize('name', CONFIGS)
def test_parses_and_names_only_types_that_exist(name):
    cfg = load(name)
    load_config(str(CONFIGS[name]))  # every key is read
    found = list(types(cfg.to_dict()))
    assert found
    for path, kind in found:
        assert exists(kind, cfg.default_scope), f'{path}: {kind}'


@pytest.mark.parametrize('name', CLASSIFICATION)
def test_classification_config_builds(name):
    cfg = load(name)
    model = build(cfg)
    traced = name in METHODS + ABLATIONS
    if name in MIXERS:
        traced = cfg.model.head.type.startswith('mmtlalign.')
    assert model.traces is traced
    # A guide looks at the attention of the network as well.
    guide = cfg.model.train_cfg.get('guide', dict(type=''))
    if 'teacher' in cfg.model.head:  # whose attention is read in place of its own
        traced = cfg.model.head.teacher.type == 'mmtlalign.EMAAttention'
    looked_at = traced or guide['type'].endswith('Attention')
    assert hasattr(model.backbone, 'trace_context') is looked_at
    assert model.head.num_classes == cfg.data_preprocessor.num_classes
    for augment in cfg.model.train_cfg.augments:
        if augment.type == 'mmtlalign.TokenCutMix':  # boxes on the grid of tokens
            patch = backbone_spec(model.backbone).patch(model.backbone)
            assert tuple(patch) == (augment.patch_size,) * 2
    check_weight_decay(model, cfg)


@pytest.mark.parametrize('name', [n for n in WITH_MAPS if 'resnet' not in n])
def test_transformer_with_label_maps_builds(name):
    cfg = load(name)
    check_weight_decay(build(cfg), cfg)


def check_weight_decay(model, cfg):
    decay = weight_decays(model, cfg)
    assert set(decay) == {n for n, p in model.named_parameters() if p.requires_grad}
    named = cfg.optim_wrapper.paramwise_cfg.custom_keys
    full = cfg.optim_wrapper.optimizer.weight_decay
    for module_name, module in model.named_modules():
        for leaf, _ in module.named_parameters(recurse=False):
            path = f'{module_name}.{leaf}'
            is_norm = 'Norm' in type(module).__name__
            if is_norm or leaf in ('bias', 'cls_token'):
                assert decay[path] == 0, path
            elif leaf == 'weight' and not any(key in path for key in named):
                assert decay[path] == full, path
    assert set(decay.values()) == {0.0, full}
    # A key that matches nothing is a misspelt one.
    matched = {key for key in named if any(key in name for name in decay)}
    assert named.keys() - UNUSED <= matched


# The schedules serve networks with and without these.
UNUSED = {
    '.absolute_pos_embed',
    '.cls_token',
    '.dist_token',
    '.pos_embed',
    '.relative_position_bias_table',
}


def weight_decays(model, cfg):
    """The weight decay of every parameter, by name."""
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


@functools.cache
def without_method(name):
    """A config without what makes the method: head, its options, token grid."""
    cfg = parsed(name).to_dict()
    for option in ('type', 'ratio', 'looks', 'layers', 'residual', 'merge', 'teacher'):
        cfg['model']['head'].pop(option, None)
    hooks = cfg.get('custom_hooks', [])
    # It shows the teacher of a head the averaged copy, which all runs have.
    hooks[:] = [hook for hook in hooks if hook['type'] != 'mmtlalign.EMAGuideHook']
    for augment in cfg['model']['train_cfg']['augments']:
        if augment['type'] == 'mmtlalign.TokenCutMix':
            augment['type'] = 'mmtlalign.CutMix'
            del augment['patch_size']
    return cfg


@pytest.mark.parametrize('name', METHODS)
def test_method_has_one_control_that_differs_in_nothing_but_head_and_augment(name):
    ours = without_method(name)
    controls = [other for other in CONTROLS if without_method(other) == ours]
    assert len(controls) == 1
    stock = load(controls[0]).model.head.type
    method = load(name).model.head.type
    prefix = dict(tlalign='TLAlign', transmix='TransMix')[name.split('/')[0]]
    assert method == f'mmtlalign.{prefix}{stock}'


@pytest.mark.parametrize('name', CONTROLS)
def test_control_is_of_some_method(name):
    assert any(without_method(other) == without_method(name) for other in METHODS)


@pytest.mark.parametrize(
    'name', [n for n in MIXERS if not n.startswith('mixers/mixup-cutmix_')]
)
def test_mixer_has_a_control_with_the_same_network_data_and_schedule(name):
    rest = name.split('_', 1)[1]
    controls = f'mixers/mixup-cutmix_{rest}', f'cutmix/cutmix_{rest}'
    control = next(n for n in controls if n in CONFIGS)
    ours, other = (without_maps(parsed(n)) for n in (name, control))
    shared = ('data_preprocessor', 'train_dataloader', 'val_dataloader', 'train_cfg')
    for key in (*shared, 'optim_wrapper', 'param_scheduler'):
        assert ours[key] == other[key], key
    for key in ('type', 'arch', 'img_size', 'patch_size', 'drop_path_rate'):
        assert ours.model.backbone.get(key) == other.model.backbone.get(key), key


def without_maps(cfg):
    """A config whose pipeline neither loads label maps nor takes them along."""
    cfg = copy.deepcopy(cfg)

    def plain(steps):
        for step in steps:
            kind = step['type'].split('.')[-1]
            if kind in ('LoadLabelMap', 'PoolLabelMap'):
                continue
            if kind.endswith('WithMap'):
                kind = kind.removesuffix('WithMap').replace('Flip', 'RandomFlip')
                step['type'] = f'mmtlalign.{kind}'
            step.pop('algorithm_keys', None)
            if 'transforms' in step:
                step['transforms'] = [
                    list(plain(inner)) for inner in step['transforms']
                ]
            yield step

    dataset = cfg.train_dataloader.dataset
    dataset.pipeline = list(plain(dataset.pipeline))
    if cfg.train_dataloader.collate_fn['type'] == 'mmtlalign.collate_label_maps':
        cfg.train_dataloader.collate_fn = dict(type='default_collate')
    return cfg


@pytest.mark.parametrize('name', [n for n in CONFIGS if parsed(n).get('pretrained')])
def test_pretrained_is_what_a_recipe_writes(name):
    cfg = load(name)
    work_dir, run, file = cfg.pretrained.split('/')
    (recipe,) = [n for n in RECIPES if Path(n).stem == run]
    written = load(recipe)
    epochs = written.train_cfg.max_epochs
    # A published number may be of an earlier epoch, whose checkpoint is kept.
    if of := re.search(r'Expected: .*\(at epoch (\d+)\)', CONFIGS[name].read_text()):
        epochs = int(of[1])
        kept = written.default_hooks.checkpoint
        assert kept.max_keep_ckpts == -1 and not epochs % kept.interval
    assert (work_dir, file) == ('work_dirs', f'epoch_{epochs}.pth')
    if name in CLASSIFICATION:  # for dense tasks see test_downstream.py
        given, own = (dict(c.model.backbone, drop_path_rate=0) for c in (written, cfg))
        assert given == own


def test_controls_of_the_headers_have_their_own_folders():
    text = '\n'.join(path.read_text() for path in CONFIGS.values())
    found = re.findall(r'--work-dir (work_dirs/control\S*)', text)
    assert len(found) == len(set(found)) > 70


@pytest.mark.parametrize('name', [n for n in CONFIGS if n.startswith('dhvt/')])
def test_warm_up_of_dhvt_starts_at_the_official_rate(name):
    cfg = parsed(name)
    start = cfg.param_scheduler[0].start_factor * cfg.optim_wrapper.optimizer.lr
    assert start == pytest.approx(1e-6)


PIPELINES = {
    repr(parsed(n)[f'{split}_dataloader'].dataset.pipeline): (n, split)
    for n in CLASSIFICATION
    for split in ('train', 'val')
}


@pytest.mark.parametrize('name, split', PIPELINES.values())
def test_pictures_come_out_in_the_size_of_the_recipe(name, split, tmp_path):
    cfg = load(name)
    pipeline = Compose(cfg[f'{split}_dataloader'].dataset.pipeline)
    side = 32 if '32px' in name else 224
    np.random.seed(0)
    for _ in range(20):  # some steps happen at random
        picture = np.random.randint(0, 256, (32, 32, 3), np.uint8)
        if 'cifar' not in name:
            cv2.imwrite(str(tmp_path / 'picture.jpg'), cv2.resize(picture, (320, 240)))
        sample = dict(img=picture, img_path=tmp_path / 'picture.jpg', gt_label=3)
        inputs = pipeline(sample)['inputs']
        assert inputs.shape == (3, side, side)
        assert inputs.dtype == torch.uint8


STOCK = {
    'deit/deit-small_4xb256_in1k.py': 'VisionTransformerClsHead',
    'swin_transformer/swin-tiny_16xb64_in1k.py': 'LinearClsHead',
    'deit/deit-tiny-distilled_4xb256_in1k.py': 'DeiTClsHead',
}


@pytest.mark.parametrize('recipe', STOCK)
def test_four_line_upgrade_of_a_stock_recipe(recipe, tmp_path):
    patch = 4 if 'swin' in recipe else 16
    config = tmp_path / 'upgraded.py'
    config.write_text(
        f"_base_ = 'mmpretrain::{recipe}'\n"
        'model = dict(\n'
        "    type='mmtlalign.MixClassifier',\n"
        f"    head=dict(type='mmtlalign.TLAlign{STOCK[recipe]}'),\n"
        '    train_cfg=dict(augments=[\n'
        f"        dict(type='mmtlalign.TokenCutMix', patch_size={patch})]))\n"
    )
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(
        dict(copy.deepcopy(cfg.model), data_preprocessor=cfg.data_preprocessor)
    )
    stock = Config.fromfile(config)._cfg_dict
    assert stock.optim_wrapper.optimizer.type == 'AdamW'
    model.train()
    data = dict(
        inputs=torch.randint(0, 255, (2, 3, 224, 224)),
        data_samples=[DataSample().set_gt_label(i) for i in (3, 999)],
    )
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    losses['loss'].backward()
    assert losses['loss'].isfinite()
    assert model.backbone.trace_context.attentions > 0


# ------------------------------------------------------------------ DomainNet


def commands_of_the_header(name):
    """(set, words of the command) for every turn of the loop in the header."""
    lines = [
        line[1:] for line in CONFIGS[name].read_text().split('\n') if '#  ' in line
    ]
    text = ' '.join(lines).replace('\\', '')
    sets, body = re.search(r'for set in (.*?); do(.*)done', text).groups()
    for chosen in sets.split():
        yield chosen, shlex.split(body.replace('$set', chosen))


@pytest.mark.parametrize('name', DOMAINNET)
def test_each_set_of_domainnet_trains_apart(name, monkeypatch):
    tool = runpy.run_path(str(FOLDER.parent / 'tools/train.py'))
    work_dirs = {}
    for chosen, words in commands_of_the_header(name):
        bash, launcher, config, gpus, *options = words
        assert (bash, launcher) == ('bash', 'tools/dist_train.sh')
        assert config == f'configs/{name}'
        assert gpus == ('8' if name.startswith('transfer/') else '2')
        monkeypatch.setattr('sys.argv', ['train.py', str(CONFIGS[name]), *options])
        args = tool['parse_args']()
        cfg = load_config(args.config, args.cfg_options)
        tool['merge_args'](cfg, args)
        work_dirs[chosen] = cfg.work_dir
        for split, folder in dict(train='train', val='val', test='val').items():
            dataset = cfg[f'{split}_dataloader'].dataset
            assert dataset.data_root == f'data/domainnet/{chosen}'
            assert dataset.data_prefix == folder
            assert len(dataset.metainfo.classes) == 345
        assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 345
    stem = Path(name).stem
    sets = ('clipart', 'painting', 'sketch', 'infograph', 'real', 'quickdraw')
    assert work_dirs == {chosen: f'work_dirs/{stem}/{chosen}' for chosen in sets}


def test_domainnet_needs_a_folder_for_every_class(tmp_path):
    for split in ('train', 'val'):
        for number in range(345):
            folder = tmp_path / split / f'{number:03d}'
            folder.mkdir(parents=True)
            (folder / 'picture.jpg').touch()
    cfg = load_config(str(CONFIGS[DOMAINNET[0]]), dict(data_root=str(tmp_path)))
    init_default_scope('mmpretrain')
    for split in ('train', 'val', 'test'):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        assert [dataset.get_gt_labels()[i] for i in (0, 344)] == [0, 344]
    (tmp_path / 'val/007/picture.jpg').unlink()
    (tmp_path / 'val/007').rmdir()
    with pytest.raises(AssertionError, match='344'):
        DATASETS.build(cfg.val_dataloader.dataset)
