"""Learning rates that fall towards the input, in every host's models."""

import re

import pytest
import timm
import torch
from mmengine import registry as roots
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from repository import ROOT
from small_runs import without_memory
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from timm.optim import param_groups_layer_decay
from torch import nn

from mmtlalign.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mmtlalign.errors import InputError
from mmtlalign.validation.config import UnreadKeyError, load_config

RATE, LR, DECAY = 0.5, 0.25, 0.125
CONSTRUCTOR = 'mmtlalign.LayerDecayOptimWrapperConstructor'
VIT = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)
SWIN = dict(embed_dims=24, depths=[2, 1, 2], num_heads=[1, 2, 3])
PYRAMID = dict(
    embed_dims=[8, 16, 24],
    num_layers=[2, 1, 2],
    num_heads=[1, 2, 3],
    mlp_ratios=[2] * 3,
    sr_ratios=[2, 1, 1],
    patch_sizes=[4, 2, 2],
)
TIMM_VIT = dict(img_size=32, patch_size=16, embed_dim=24, depth=3, num_heads=3)
TIMM_SWIN = dict(img_size=32, embed_dim=24, depths=(2, 1, 2), num_heads=(1, 2, 3))

# --------------------------------------------- the rule, stated without our code

# Names of mmpretrain -> names of timm.
TO_TIMM = (
    (r'^layers\.', 'blocks.'),
    (r'^stages\.(\d)\.downsample', lambda m: f'layers.{int(m[1]) + 1}.downsample'),
    (r'^stages', 'layers'),
    (r'^ln1|^norm\d', 'norm'),
    (r'\.ln(\d)', r'.norm\1'),
    ('projection', 'proj'),
    (r'attn\.w_msa', 'attn'),
    (r'ffn\.layers\.0\.0', 'mlp.fc1'),
    (r'ffn\.layers\.1', 'mlp.fc2'),
    (r'gamma(\d)\.weight', r'gamma_\1'),
    (r'attn\.gamma1', 'gamma_1'),
)
# Where mmpretrain differs from timm, in depths: the final norm learns as the head
# does, and a downsampling counts with the stage in front of it.
LATER = ((r'^ln1\.|^norm\d\.', 1), (r'\.downsample\.', -1))


def timms(net):
    """Name in mmpretrain -> scale, from timm's own parameter groups of its network."""
    names = {id(p): name for name, p in net.named_parameters()}
    groups = param_groups_layer_decay(net, layer_decay=RATE)
    scales = {names[id(p)]: g['lr_scale'] for g in groups for p in g['params']}

    def rule(name):
        renamed = name
        for pattern, new in TO_TIMM:
            renamed = re.sub(pattern, new, renamed)
        later = sum(steps for pattern, steps in LATER if re.search(pattern, name))
        return scales[renamed] / RATE**later

    return rule


def by_layers(pattern, layers, first=r'^patch_embed|^cls_token|^pos_embed'):
    """Scale of layer ``pattern`` i, of the input, and of what follows the layers."""

    def rule(name):
        found = re.search(pattern, name)
        if re.search(first, name):
            return RATE ** (layers + 1)
        return RATE ** (layers - int(found[1])) if found else 1.0

    return rule


def by_stages(pattern, depths, first, within):
    """As :func:`by_layers` for the layers ``pattern`` stage, i of a pyramid."""

    def rule(name):
        found = re.search(pattern, name)
        if re.search(first, name):
            return RATE ** (sum(depths) + 1)
        if found:
            layer = sum(depths[: int(found[1])]) + int(found[2])
            return RATE ** (sum(depths) - layer)
        for part, layer in within.items():
            if part in name:
                return RATE ** (sum(depths) - layer)
        return 1.0

    return rule


def wrapped(net):
    """Name in our TIMMBackbone -> scale, from timm's groups of the network alone."""
    names = {id(p): f'timm_model.{name}' for name, p in net.named_parameters()}
    groups = param_groups_layer_decay(net, layer_decay=RATE)
    scales = {names[id(p)]: g['lr_scale'] for g in groups for p in g['params']}
    return scales.__getitem__


def timm_row(name, **options):
    net = timm.create_model(name, **options)
    backbone = dict(type='mmtlalign.TIMMBackbone', model_name=name, **options)
    return backbone, wrapped(net), 24


ROWS = {
    'ViT': lambda: (
        dict(type='mmpretrain.VisionTransformer', arch=VIT, img_size=32, patch_size=16),
        timms(VisionTransformer(**TIMM_VIT, mlp_ratio=2)),
        24,
    ),
    'DeiT distilled': lambda: (
        dict(
            type='mmpretrain.DistilledVisionTransformer',
            arch=VIT,
            img_size=32,
            patch_size=16,
        ),
        timms(VisionTransformerDistilled(**TIMM_VIT, mlp_ratio=2)),
        24,
    ),
    'BEiT': lambda: (
        dict(
            type='mmpretrain.BEiTViT',
            arch=VIT,
            img_size=32,
            patch_size=16,
            layer_scale_init_value=0.1,
            out_type='cls_token',
        ),
        timms(Beit(**TIMM_VIT, mlp_ratio=2, init_values=0.1, use_rel_pos_bias=True)),
        24,
    ),
    'Swin': lambda: (
        dict(
            type='mmpretrain.SwinTransformer',
            arch=SWIN,
            img_size=32,
            out_indices=(2,),
        ),
        timms(SwinTransformer(**TIMM_SWIN)),
        96,
    ),
    'CASwin': lambda: (
        dict(type='mmtlalign.CASwin', arch=SWIN, img_size=32, out_indices=(2,)),
        by_stages(
            r'^stages\.(\d)\.blocks\.(\d)\.',
            [2, 1, 2],
            '^patch_embed',
            {
                'stages.0.downsample': 1,
                'stages.1.downsample': 2,
                'cls_token': 4,
                'class_block': 4,
            },
        ),
        96,
    ),
    'PVT': lambda: (
        dict(type='mmtlalign.PVT', arch=PYRAMID, img_size=32),
        by_stages(
            r'^stages\.(\d)\.layers\.(\d)\.',
            [2, 1, 2],
            r'^stages\.0\.(patch_embed|positions)',
            {'stages.1': 2, 'stages.2': 3},
        ),
        24,
    ),
    'DHVT': lambda: (
        dict(
            type='mmtlalign.DHVT',
            arch=VIT,
            patch_size=16,
        ),
        by_layers(r'^layers\.(\d)\.', 3),
        24,
    ),
    'LV-ViT': lambda: (
        dict(
            type='mmtlalign.LVViT',
            arch=dict(VIT, skip_lam=2, stem_channels=8),
            img_size=32,
        ),
        by_layers(r'^layers\.(\d)\.', 3),
        24,
    ),
    'WindowedViT': lambda: (
        dict(type='mmtlalign.WindowedViT', arch=VIT, img_size=32, window_size=2),
        by_layers(r'^layers\.(\d)\.', 3),
        24,
    ),
    'timm ViT': lambda: timm_row('vit_tiny_patch16_224', **TIMM_VIT),
    'timm Swin': lambda: timm_row('swin_tiny_patch4_window7_224', **TIMM_SWIN),
    'timm PVTv2': lambda: timm_row('pvt_v2_b0', depths=(1, 1, 1, 1)),
    'timm XCiT': lambda: timm_row('xcit_nano_12_p16_224', img_size=32, depth=2),
}


def classifier(backbone, width):
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=width)
    return dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head)


def segmentor(backbone, width):
    head = dict(
        type='mmseg.FCNHead', in_channels=width, channels=8, num_classes=3, num_convs=1
    )
    return dict(type='mmseg.EncoderDecoder', backbone=backbone, decode_head=head)


def detector(backbone, width):
    head = dict(
        type='mmdet.FCOSHead',
        num_classes=3,
        in_channels=width,
        feat_channels=32,
        strides=[16],
        regress_ranges=[(-1, 1e8)],
    )
    return dict(
        type='mmdet.FCOS',
        backbone=backbone,
        neck=None,
        bbox_head=head,
        train_cfg=None,
        test_cfg=None,
    )


def build(cfg):
    init_default_scope(cfg['type'].split('.')[0])
    return roots.MODELS.build(cfg)


@pytest.fixture(scope='module')
def swin():
    """A small Swin in a classifier, never changed by a test."""
    backbone, _, width = ROWS['Swin']()
    return build(classifier(dict(backbone, init_cfg=None), width))


def wrapper(model, optimizer='SGD', **paramwise):
    cfg = dict(
        type='OptimWrapper',
        optimizer=dict(type=optimizer, lr=LR, weight_decay=DECAY),
        constructor=CONSTRUCTOR,
        paramwise_cfg={'decay_rate': RATE, **paramwise},
    )
    return build_optim_wrapper(model, cfg)


def settings(model, groups, key):
    """Setting of every parameter that is trained, by name; each stands once."""
    names = {id(p): name for name, p in model.named_parameters()}
    found = [(names[id(p)], g[key]) for g in groups for p in g['params']]
    assert len(found) == len(dict(found))
    return dict(found)


@pytest.mark.parametrize('kind', [classifier, segmentor, detector])
@pytest.mark.parametrize('row', ROWS)
def test_rates_follow_the_rule_in_every_host(row, kind):
    backbone, rule, width = ROWS[row]()
    model = build(kind(backbone, width))
    found = settings(model, wrapper(model).optimizer.param_groups, 'lr')
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    for name, lr in found.items():
        inside = name.startswith('backbone.')
        assert lr == LR * (rule(name.removeprefix('backbone.')) if inside else 1), name
    first = {lr for name, lr in found.items() if 'backbone.patch_embed' in name}
    # PVT and timm's networks have theirs elsewhere.
    assert first <= {min(found.values())}
    assert max(found.values()) == LR > min(found.values())


def test_tokens_at_the_input_are_the_first_layer_whatever_mmpretrain_says():
    backbone, _, width = ROWS['DeiT distilled']()
    model = build(classifier(backbone, width))
    assert model.get_layer_depth('backbone.dist_token') == (4, 5)
    found = settings(model, wrapper(model).optimizer.param_groups, 'lr')
    tokens = ('dist_token', 'cls_token', 'pos_embed')
    assert {found[f'backbone.{token}'] for token in tokens} == {LR * RATE**4}


RULES = dict(
    norm_decay_mult=0.0,
    bias_decay_mult=0.5,
    flat_decay_mult=0.25,
    bias_lr_mult=2.0,
    custom_keys={
        'relative_position_bias_table': dict(decay_mult=0.0),
        'head': dict(lr_mult=4.0),
        'stages.1': dict(lr_mult=3.0, decay_mult=0.75),
    },
)


def test_all_other_rules_are_those_of_the_default_constructor(swin):
    default = build_optim_wrapper(
        swin,
        dict(
            optimizer=dict(type='SGD', lr=LR, weight_decay=DECAY), paramwise_cfg=RULES
        ),
    ).optimizer.param_groups
    ours = wrapper(swin, **RULES).optimizer.param_groups
    assert settings(swin, ours, 'weight_decay') == settings(
        swin, default, 'weight_decay'
    )
    plain, scaled = (settings(swin, groups, 'lr') for groups in (default, ours))
    scale = settings(swin, ours, 'lr_scale')
    assert scaled == {name: lr * scale[name] for name, lr in plain.items()}
    assert len(set(plain.values())) == 4  # the multipliers are at work


def test_parameters_of_equal_settings_share_a_group(swin):
    groups = wrapper(swin, norm_decay_mult=0.0).optimizer.param_groups
    kinds = {(group['lr'], group['weight_decay']) for group in groups}
    assert len(kinds) == len(groups) <= 2 * 7  # decayed or not, at seven depths


def test_frozen_parameters_are_left_out_and_shared_ones_come_once():
    backbone, _, width = ROWS['ViT']()
    model = build(classifier(backbone, width))
    model.backbone.layers[0].requires_grad_(False)
    model.backbone.layers[2].attn.qkv = model.backbone.layers[1].attn.qkv
    found = settings(model, wrapper(model).optimizer.param_groups, 'lr')
    assert not [name for name in found if 'backbone.layers.0.' in name]
    assert found['backbone.layers.1.attn.qkv.weight'] == LR * RATE**2


def test_wrapped_models_are_looked_into(swin):
    plain = wrapper(swin).optimizer.param_groups
    expected = {id(p): group['lr'] for group in plain for p in group['params']}
    twice = nn.DataParallel(nn.DataParallel(swin))
    parts = nn.Module()
    parts.backbone = nn.DataParallel(swin.backbone)
    parts.head = swin.head
    for model in (nn.DataParallel(swin), twice, parts, nn.DataParallel(parts)):
        groups = wrapper(model).optimizer.param_groups
        assert {id(p): g['lr'] for g in groups for p in g['params']} == expected


def test_a_step_moves_every_parameter_by_its_rate():
    backbone, rule, width = ROWS['ViT']()
    model = build(segmentor(backbone, width))
    optim = wrapper(model, optimizer='SGD')
    optim.optimizer.defaults['weight_decay'] = 0
    for group in optim.optimizer.param_groups:
        group['weight_decay'] = 0
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optim.update_params(sum((p * 1.0).sum() for p in model.parameters()))
    for name, parameter in model.named_parameters():
        inside = name.startswith('backbone.')
        step = LR * (rule(name.removeprefix('backbone.')) if inside else 1)
        torch.testing.assert_close(before[name] - parameter, step + 0 * parameter)


SCHEDULES = [
    dict(type='LinearLR', start_factor=0.01, end=5),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.1, T_max=8),
    dict(type='PolyLR', power=0.9, eta_min=0.0, end=8),
    dict(type='MultiStepLR', milestones=[2, 4]),
]


def rates_after(schedule, steps, model):
    optim = wrapper(model)
    scheduler = roots.PARAM_SCHEDULERS.build(
        dict(schedule, by_epoch=False), default_args=dict(optimizer=optim)
    )
    for _ in range(steps):
        optim.step()
        scheduler.step()
    groups = optim.optimizer.param_groups
    return [(group['lr'], group['lr_scale']) for group in groups]


@pytest.mark.parametrize('schedule', SCHEDULES, ids=lambda schedule: schedule['type'])
def test_schedules_keep_the_ratios(schedule, swin):
    found = rates_after(schedule, 5, swin)
    assert len({scale for _, scale in found}) == 7
    full = max(lr for lr, _ in found)
    assert [lr for lr, _ in found] == pytest.approx([full * s for _, s in found])
    assert full != LR or schedule['type'] == 'LinearLR'


def test_an_absolute_smallest_rate_is_the_same_for_all_layers(swin):
    # What the docstring warns of.
    schedule = dict(type='CosineAnnealingLR', eta_min=0.1, T_max=8)
    assert [lr for lr, _ in rates_after(schedule, 8, swin)] == pytest.approx([0.1] * 7)


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(layer_decay_rate=0.5), "'layer_decay_rate' in paramwise_cfg is not read"),
        (dict(custom_keys={'a': dict(lr_mul=2)}), r"'lr_mul' in custom_keys\['a'\]"),
        (dict(decay_rate=1.5), 'decay_rate=1.5; set a number greater than 0'),
        (dict(decay_rate=0), 'decay_rate=0; set'),
        (dict(decay_rate=None), 'decay_rate=None; set'),
        (dict(decay_rate=True), 'decay_rate=True; set'),
    ],
)
def test_impossible_settings_are_refused(swin, changed, message):
    with pytest.raises(InputError, match=message):
        wrapper(swin, **changed)


def test_an_optimizer_without_a_rate_is_refused(swin):
    cfg = dict(optimizer=dict(type='Adam'))
    with pytest.raises(InputError, match='the optimizer has no lr'):
        LayerDecayOptimWrapperConstructor(cfg, dict(decay_rate=RATE))(swin)


@pytest.mark.parametrize(
    ('backbone', 'message'),
    [
        (
            dict(type='mmpretrain.TNT', arch='s'),
            'the backbone TNT does not report the depth',
        ),
        (
            dict(type='mmtlalign.TIMMBackbone', model_name='pit_ti_224'),
            'PoolingVisionTransformer of timm has no group_matcher',
        ),
        (
            # Its layers are called `blocks`, and it looks for `layers`.
            dict(
                type='mmpretrain.HiViT',
                arch=dict(embed_dims=8, depths=[1, 1, 2], num_heads=1),
                img_size=32,
            ),
            'HiViT.*reports 10 depths, but no parameter has depth 1, 2, 3, 4',
        ),
    ],
)
def test_backbones_that_say_no_depths_are_refused(backbone, message):
    with pytest.raises(ValueError, match=message):
        wrapper(build(classifier(backbone, 8)))


def test_a_model_without_backbone_is_refused():
    with pytest.raises(InputError, match='Linear has no `backbone`'):
        wrapper(nn.Linear(2, 2))


def test_an_answer_that_is_no_depth_is_refused(swin, monkeypatch):
    monkeypatch.setattr(swin.backbone, 'get_layer_depth', lambda *_: (7, 7))
    with pytest.raises(InputError, match='depth 7 of 7 for patch_embed'):
        wrapper(swin)


def test_keys_of_a_config_are_checked_before_anything_is_built(tmp_path):
    text = (
        f"optim_wrapper = dict(constructor='{CONSTRUCTOR}', "
        'paramwise_cfg=dict(decay_rate=0.75, {} norm_decay_mult=0.0))'
    )
    (tmp_path / 'right.py').write_text(text.replace('{}', ''))
    load_config(str(tmp_path / 'right.py'))
    (tmp_path / 'wrong.py').write_text(text.replace('{}', 'decay_rates=1,'))
    with pytest.raises(UnreadKeyError, match=r"Did you mean '.*paramwise_cfg\.decay_r"):
        load_config(str(tmp_path / 'wrong.py'))


PAGE = (ROOT / 'docs/transfer.md').read_text()
EXAMPLES = re.findall(r'```python\n# (configs/\S+)\n(.*?)```', PAGE, re.DOTALL)


@pytest.mark.parametrize(('name', 'text'), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_the_examples_of_the_page_decay(name, text, tmp_path):
    path = tmp_path / 'my_decay.py'
    path.write_text(text.replace("'./", f"'{(ROOT / name).parent}/"))
    cfg = load_config(str(path))
    init_default_scope(cfg.default_scope)
    model = without_memory(cfg.model)
    wrapper_cfg = dict(cfg.optim_wrapper, type='OptimWrapper')
    wrapper_cfg.pop('loss_scale', None)
    groups = build_optim_wrapper(model, wrapper_cfg).optimizer.param_groups
    full, rate = cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.paramwise_cfg
    rates = settings(model, groups, 'lr')
    lowest = rates['backbone.patch_embed.projection.weight']
    assert lowest == min(rates.values()) == pytest.approx(full * rate.decay_rate**13)
    outside = {lr for n, lr in rates.items() if not n.startswith('backbone.')}
    assert outside == {full} == {max(rates.values())}
    assert len(EXAMPLES) == 2


def test_the_method_of_the_page_is_an_answer():
    (block,) = re.findall(r'```python\n(def get_layer_depth.*?)```', PAGE, re.DOTALL)
    names = {}
    exec(block, names)
    backbone, rule, width = ROWS['DHVT']()
    net = build(classifier(backbone, width)).backbone
    own = type('Own', (type(net),), dict(get_layer_depth=names['get_layer_depth']))
    plain = {n: net.get_layer_depth(n) for n, _ in net.named_parameters()}
    net.__class__ = own
    found = {n: net.get_layer_depth(n) for n, _ in net.named_parameters()}
    # Without the class token, which that network has and the page's has not.
    assert {n for n in plain if plain[n] != found[n]} == {'cls_token'}
    assert net.get_layer_depth('head.weight', 'backbone.') == (4, 5)
