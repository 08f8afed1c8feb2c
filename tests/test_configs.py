"""Every config parses, names only types that exist, and builds."""

import copy
import importlib
from pathlib import Path

import mmcv.ops
import mmengine.registry as roots
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, Registry, init_default_scope
from mmpretrain.registry import BATCH_AUGMENTS
from mmpretrain.structures import DataSample

ROOT = Path(__file__).parent.parent / 'configs'
CONFIGS = {
    str(p.relative_to(ROOT)): p
    for p in sorted(ROOT.rglob('*.py'))
    if '_base_' not in p.parts
}
REGISTRIES = [r for r in vars(roots).values() if isinstance(r, Registry)]
CLASSIFICATION = [
    n for n in CONFIGS if n.split('/')[0] in ('tlalign', 'transmix', 'cutmix')
]
CONTROLS = [n for n in CLASSIFICATION if n.startswith('cutmix/')]


def load(name):
    cfg = Config.fromfile(CONFIGS[name])
    importlib.import_module(f'{cfg.default_scope}.registry')
    init_default_scope(cfg.default_scope)
    return cfg


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
    found = list(types(cfg.to_dict()))
    assert found
    for path, kind in found:
        assert exists(kind, cfg.default_scope), f'{path}: {kind}'


@pytest.mark.parametrize('name', CONFIGS)
def test_opens_with_what_command_cost_and_sources(name):
    text = CONFIGS[name].read_text()
    head = text[: text.index('\n_base_')]
    assert head.startswith('# ')
    assert 'tools/' in head, 'the command that runs it'
    assert 'number' in head.lower() or 'recipe' in head.lower(), 'the sources'
    for word in ('cost', 'ours'):
        assert word in head.lower(), word


@pytest.mark.parametrize('name', CLASSIFICATION)
def test_classification_config_builds(name):
    cfg = load(name)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    watched = name.startswith(('tlalign', 'transmix'))
    assert model.watches is watched
    assert hasattr(model.backbone, 'trace_wire') is watched
    assert model.head.num_classes == cfg.data_preprocessor.num_classes


@pytest.mark.parametrize('name', CONTROLS)
def test_control_differs_in_nothing_but_head_and_augment(name):
    control = load(name)
    method = Config.fromfile(
        next(p for p in map(str, CONFIGS.values()) if is_method_of(p, name))
    )
    ours, theirs = control.to_dict(), method.to_dict()
    for cfg in (ours, theirs):
        cfg['model']['head'].pop('type')
        cfg['model']['train_cfg'].pop('augments')
    assert ours == theirs
    assert control.model.head.type != method.model.head.type


def is_method_of(path, control):
    stem = Path(control).name.removeprefix('cutmix_')
    folder = 'transmix' if '310e' in stem else 'tlalign'
    return path.endswith(f'{folder}/{folder}_{stem}')


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
    assert model.backbone.trace_wire.attentions > 0


def test_model_index_lists_every_recipe_once():
    index = yaml.safe_load((ROOT.parent / 'model-index.yml').read_text())
    listed = [model['Config'] for model in index['Models']]
    recipes = [f'configs/{n}' for n in CONFIGS if not n.startswith('quickstart/')]
    assert sorted(listed) == sorted(recipes)
    collections = {c['Name'] for c in index['Collections']}
    assert {m['In Collection'] for m in index['Models']} <= collections
