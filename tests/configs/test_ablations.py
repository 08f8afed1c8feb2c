"""Each ablation differs from its method in one option, and computes what it says."""

import copy

import numpy as np
import oracles
import pytest
import torch
from contract_rows import HOOKS
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from repository import ROOT
from small_runs import without_memory

from mmtlalign.mixing.token_mix import TokenCutMix
from mmtlalign.validation.config import load_config
from tools.experiments.plan import read_plan

FOLDER = ROOT / 'configs/ablations'
RECIPES = sorted(FOLDER.glob('*.py'))
PREFIX, LAYERS = 1, 12


def ids(paths):
    return pytest.mark.parametrize('path', paths, ids=lambda path: path.stem)


def changes(one, other, path=''):
    """Yield the places where two configs differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from changes(one.get(key), other.get(key), f'{path}.{key}')
    elif one != other:
        yield path


def base_of(path):
    """The recipe of the method that an ablation rests on."""
    line = next(x for x in path.read_text().splitlines() if x.startswith('_base_'))
    return (path.parent / line.split("'")[1]).resolve()


@ids(RECIPES)
def test_one_option_of_the_head_is_other_than_in_the_method(path):
    cfg, base = Config.fromfile(path), Config.fromfile(base_of(path))
    (place,) = changes(cfg.to_dict(), base.to_dict())
    head, option = place.rsplit('.', 1)
    assert head == '.model.head'
    assert option in ('layers', 'residual', 'normalise', 'ratio', 'layer')
    assert path.stem.partition('_')[2] == base_of(path).stem.partition('_')[2]


@ids(RECIPES)
def test_control_is_named_and_is_that_of_the_method(path):
    said = ' '.join(x.lstrip('# ') for x in path.read_text().splitlines())
    control = ROOT / f'configs/cutmix/cutmix_{path.stem.partition("_")[2]}.py'
    assert control.stem in said.replace('- ', '-')
    assert base_of(control) == base_of(path)


def small(path):
    """The recipe's classifier with its 12 layers and its head, small."""
    cfg = Config.fromfile(path)
    init_default_scope('mmpretrain')
    torch.manual_seed(7)
    sizes = dict(embed_dims=16, num_layers=LAYERS, num_heads=2, feedforward_channels=16)
    cfg.model.backbone.update(arch=sizes, img_size=32, patch_size=8, drop_path_rate=0)
    cfg.model.head.update(in_channels=16, num_classes=5)
    for augment in cfg.model.train_cfg.augments:
        augment.pop('patch_size', None)
        augment.type = augment.type.replace('TokenCutMix', 'CutMix')
    model = MODELS.build(cfg.model)
    for name, parameter in model.backbone.named_parameters():
        if parameter.ndim > 1:
            std = 0.15 if 'patch' in name else 0.25
            torch.nn.init.normal_(parameter, std=std)
    return model.train()


def step(path):
    """Dense attention of every layer (B, T, T), mix, share by the head, loss."""
    model = small(path)
    np.random.seed(3)
    torch.manual_seed(1)
    images, labels = torch.randn(4, 3, 32, 32), torch.eye(5)[[0, 1, 2, 4]]
    mix = TokenCutMix(patch_size=8).mix(images, labels)
    assert 0 < mix.area()[0] < 1
    events = oracles.dense_events(copy.deepcopy(model.backbone), mix.images, HOOKS)
    with model.head.trace(model.backbone, mix) as trace:
        feats = model.extract_feat(mix.images)
    (share,) = model.head.partner_shares(mix, trace)
    loss = model.head.loss(feats, None, mix, trace)['loss']
    scores = model.head(feats)
    return [matrix for _, matrix in events], mix, share, scores, loss


@ids([p for p in RECIPES if p.stem.startswith('tlalign')])
def test_labels_of_tl_align_are_those_of_the_ablation(path):
    maps, mix, share, scores, loss = step(path)
    assert len(maps) == LAYERS
    # The textbook form, with a label for every token, smoothed before it moves.
    smooth = 0.9 * mix.labels + 0.1 / 5
    begin = oracles.start(mix.mask, 8, PREFIX, len(mix.images)).double()
    labels = torch.lerp(
        smooth.double()[:, None], smooth.double()[mix.partner][:, None], begin
    )
    name = path.stem.partition('_')[0]
    moving = {
        'tlalign-last-layer': [11],
        'tlalign-first-half': range(6),
        'tlalign-second-half': range(6, 12),
    }.get(name, range(12))
    for layer in moving:
        moved = maps[layer] @ labels
        if name == 'tlalign-no-residual':
            labels = moved
        elif name == 'tlalign-no-normalisation':
            labels = labels + moved
        else:
            labels = (labels + moved) / 2
    target = labels[:, 0]
    mass = 2**LAYERS if name == 'tlalign-no-normalisation' else 1
    torch.testing.assert_close(target.sum(1), torch.full((4,), float(mass)).double())
    expected = -(target * scores.double().log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    ours = 0.9 * mix.target(share) + 0.1 / 5
    torch.testing.assert_close(ours.double(), target / mass, rtol=0, atol=2e-6)


@ids([p for p in RECIPES if p.stem.startswith('transmix')])
def test_labels_of_transmix_are_those_of_the_ablation(path):
    maps, mix, share, _, _ = step(path)
    name = path.stem.partition('_')[0]
    layer = {'transmix-layer-3': 2, 'transmix-layer-6': 5, 'transmix-layer-9': 8}
    ratio = {
        'transmix-attention-alone': 0,
        'transmix-quarter-area': 0.25,
        'transmix-three-quarters-area': 0.75,
    }
    row = maps[layer.get(name, 11)][:, 0, PREFIX:]
    mask = mix.mask[0, 0, ::8, ::8].double().flatten()
    looked = (row * mask).sum(1) / row.sum(1)
    ratio = ratio.get(name, 0.5)
    expected = ratio * mix.area() + (1 - ratio) * looked
    torch.testing.assert_close(share.double(), expected, rtol=0, atol=2e-6)


def test_every_row_tells_its_ablation_from_the_method():
    """Else a test of what it computes could not fail."""
    shares = {}
    for path in RECIPES:
        base = base_of(path)
        if base not in shares:
            shares[base] = step(base)[2:5:2]
        (share, loss), ours = shares[base], step(path)[2:5:2]
        off = (ours[0] - share).abs().max() + abs(ours[1] - loss)
        assert off > 1e-3, path.stem


@pytest.mark.parametrize('layer', [12, -13])
def test_a_layer_that_is_not_there(layer):
    said = f'layer={layer}: VisionTransformer has attentions 0 to 11'
    with pytest.raises(ValueError, match=said):
        head(layer=layer)


def head(**options):
    cfg = Config.fromfile(base_of(FOLDER / RECIPES[-1].name))
    cfg.model.backbone.update(img_size=32, patch_size=8)
    cfg.model.head.update(options)
    init_default_scope('mmpretrain')
    return MODELS.build(cfg.model)


def test_layers_before_a_class_token_joins_are_refused():
    with pytest.raises(
        ValueError, match='class token of CASwin is added after the first layers'
    ):
        MODELS.build(late('TransMix', layer=0))


def test_labels_that_grow_by_different_factors_are_refused():
    with pytest.raises(ValueError, match='normalise=False: in CASwin not all tokens'):
        MODELS.build(late('TLAlign', normalise=False))


def late(method, **options):
    init_default_scope('mmpretrain')
    return dict(
        type='mmtlalign.MixClassifier',
        backbone=dict(type='mmtlalign.CASwin', arch='tiny'),
        head=dict(
            type=f'mmtlalign.{method}LinearClsHead',
            num_classes=5,
            in_channels=768,
            **options,
        ),
        train_cfg=dict(augments=dict(type='mmtlalign.CutMix')),
    )


STARTS = read_plan('configs/plans/mixers_deit-small.py').starts


@pytest.mark.parametrize('name', STARTS)
def test_starts_of_table_7_differ_in_mixer_and_target_alone(name):
    start, base = STARTS[name], STARTS['cutmix']
    ours = load_config(str(ROOT / start.config), start.options)
    plain = load_config(str(ROOT / base.config), base.options)
    places = set(changes(ours.to_dict(), plain.to_dict()))
    own = {'.model.head.type', '.model.train_cfg', '.model.backbone.out_type'}
    assert {p for p in places if not p.startswith('.model.train_cfg')} <= own
    model = without_memory(dict(ours.model, data_preprocessor=ours.data_preprocessor))
    assert model.traces is (ours.model.head.type != 'VisionTransformerClsHead')
    assert ('TLAlign' in type(model.head).__name__) == name.endswith('-tlalign')
    (augment,) = model.mixer.augments
    kind = type(augment).__name__.lower()
    assert kind in (name.removesuffix('-tlalign'), 'attentivecutmix')
    assert augment.prob == 1  # every batch


def test_table_7_has_each_mixer_with_and_without_tl_align():
    plain = [name for name in STARTS if not name.endswith('-tlalign')]
    # Mixup has no mask: both targets are the same.
    assert [f'{name}-tlalign' for name in plain if name != 'mixup'] == [
        name for name in STARTS if name not in plain
    ]


@pytest.mark.parametrize(
    'name, recipe',
    [
        ('attentive', 'attentive-cutmix_deit-small-p16_8xb128-coslr-300e_in1k'),
        ('tokenmix', 'tokenmix_deit-small-p16-bce_8xb128-coslr-300e_in1k'),
    ],
)
def test_mixers_of_table_7_have_the_values_of_their_recipes(name, recipe):
    plan = load_config(str(ROOT / STARTS[name].config), STARTS[name].options)
    own = load_config(str(ROOT / f'configs/mixers/{recipe}.py'))
    assert plan.model.train_cfg.augments[0] == own.model.train_cfg.augments[0]
