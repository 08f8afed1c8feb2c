"""Linear evaluation: frozen features, several learning rates in one run."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from repository import ROOT
from small_backbones import randomise, swin, vit
from tiny_run import run_tool, train_to_end, write_images
from torch import nn

from mmtlalign.errors import InputError
from mmtlalign.methods.features import block_features, view_features
from mmtlalign.methods.linear_probe import LinearProbeHead, ProbeAccuracy
from mmtlalign.validation.config import load_config

RECIPE = 'swin-tiny-p4-w7_esvit-in1k-pre_linear-100e_in1k.py'
RATES = [0.01, 0.1, 1.0]
PROBE = dict(
    type='mmtlalign.LinearProbe',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32),
        img_size=32,
        patch_size=8,
        drop_path_rate=0.5,
        drop_rate=0.5,
    ),
    head=dict(
        type='mmtlalign.LinearProbeHead', num_classes=4, in_channels=32, rates=RATES
    ),
    blocks=2,
)
OPTIMIZER = dict(
    type='OptimWrapper',
    constructor='mmtlalign.LinearProbeOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=0.0),
)


def build(**head):
    init_default_scope('mmpretrain')
    settings = copy.deepcopy(PROBE)
    settings['head'].update(head)
    model = MODELS.build(settings)
    randomise(model.backbone)
    return model


def samples(labels):
    return [DataSample().set_gt_label(int(label)) for label in labels]


def class_tokens(backbone, images):
    """What the last two layers say, after the norm, by the layers themselves."""
    tokens, _ = backbone.patch_embed(images)
    tokens = torch.cat([backbone.cls_token.expand(len(images), -1, -1), tokens], dim=1)
    tokens = tokens + backbone.pos_embed
    found = []
    for layer in backbone.layers:
        tokens = layer(tokens)
        found.append(backbone.ln1(tokens)[:, 0])
    return torch.cat(found[-2:], dim=1)


def test_each_rate_learns_as_a_linear_layer_alone():
    model = build()
    model.train()
    batches = [(torch.randn(6, 3, 32, 32), torch.randint(4, (6,))) for _ in range(8)]
    before = copy.deepcopy(model.backbone.state_dict())
    model.backbone.eval()
    alone = []
    for rate in RATES:
        layer = nn.Linear(32, 4)
        layer.load_state_dict(model.head.layers[0].state_dict())
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.5 * rate, momentum=0.9)
        losses = []
        for images, labels in batches:
            with torch.no_grad():
                features = class_tokens(model.backbone, images)
            losses.append(F.cross_entropy(layer(features), labels))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        alone.append((layer, torch.stack(losses).detach()))
    wrapper = build_optim_wrapper(model, OPTIMIZER)
    seen = []
    for images, labels in batches:
        out = model.loss(images, samples(labels))
        wrapper.update_params(out['loss'])
        seen.append([out[f'ce_lr{rate:g}'] for rate in RATES])
    for (layer, losses), mine, own in zip(
        alone, model.head.layers, torch.tensor(seen).T
    ):
        torch.testing.assert_close(mine.weight, layer.weight)
        torch.testing.assert_close(mine.bias, layer.bias)
        torch.testing.assert_close(own, losses)
    assert not torch.equal(alone[0][0].weight, alone[1][0].weight)
    # The backbone is as it was, and never had a gradient.
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(p.grad is None for p in model.backbone.parameters())
    assert model.training and not model.backbone.training


@pytest.mark.parametrize('blocks', [1, 3, 4])
def test_features_of_the_last_blocks_of_a_swin(blocks):
    backbone = randomise(swin())
    backbone.eval()
    images = torch.randn(2, 3, 56, 56)
    tokens, size = backbone.patch_embed(images)
    found = []
    for number, stage in enumerate(backbone.stages):
        for block in stage.blocks:
            tokens = block(tokens, size)
            out = backbone.norm1(tokens) if number == 1 else tokens
            found.append(out.mean(dim=1))
        if stage.downsample is not None:
            tokens, size = stage.downsample(tokens, size)
    features = block_features(backbone, images, blocks)
    torch.testing.assert_close(features, torch.cat(found[-blocks:], dim=1))
    # The last block's are those of the view.
    width = found[-1].shape[1]
    torch.testing.assert_close(features[:, -width:], view_features(backbone, images))
    assert not any(block._forward_hooks for s in backbone.stages for block in s.blocks)


SMALL = (
    'small/tlalign_deit-mini-p8_imagenette-64px',
    'small/token-label_lvvit-mini-p8_imagenette-64px',
    'dhvt/dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px',
)


@pytest.mark.parametrize('name', SMALL)
def test_last_block_of_a_transformer_is_its_output(name):
    cfg = load_config(str(ROOT / 'configs' / f'{name}.py'))
    init_default_scope('mmpretrain')
    backbone = MODELS.build(cfg.model.backbone)
    for param in backbone.parameters():
        nn.init.normal_(param, std=0.2)
    backbone.eval()
    images = torch.randn(2, 3, *[int(name[-4:-2])] * 2)
    features, view = block_features(backbone, images), view_features(backbone, images)
    assert features.shape[1] == 4 * view.shape[1]
    torch.testing.assert_close(features[:, -view.shape[1] :], view)


def test_features_that_nobody_knows():
    init_default_scope('mmpretrain')
    arch = dict(embed_dims=16, depths=[1, 2], num_heads=[2, 4])
    with pytest.raises(ValueError, match='CASwin: its blocks are not known'):
        block_features(
            MODELS.build(dict(type='mmtlalign.CASwin', arch=arch, out_indices=(1,))),
            torch.ones(1, 3, 56, 56),
        )
    with pytest.raises(ValueError, match="features='view'"):
        block_features(nn.Conv2d(3, 4, 1), torch.ones(1, 3, 8, 8))
    with pytest.raises(ValueError, match='blocks=9, but VisionTransformer has 2'):
        block_features(vit(), torch.ones(1, 3, 32, 32), 9)
    with pytest.raises(ValueError, match="'tokens' is not known.*view"):
        MODELS.build(dict(PROBE, features='tokens'))
    with pytest.raises(ValueError, match="blocks=2 is for features='blocks'"):
        MODELS.build(dict(PROBE, features='view'))


def test_metric_ranks_and_chooses_the_best():
    metric = ProbeAccuracy()
    scores = torch.rand(50, 2, 7)
    scores[::9] = 0.5  # ties: the first class is the answer, as of argmax
    labels = torch.randint(7, (50,))
    for start in range(0, 50, 20):
        part = slice(start, start + 20)
        metric.process(
            None,
            [
                dict(probe_scores=s, probe_rates=(0.1, 0.003), gt_label=y[None])
                for s, y in zip(scores[part], labels[part])
            ],
        )
    found = metric.evaluate(50)
    for index, rate in enumerate(('0.1', '0.003')):
        ranked = scores[:, index].argsort(dim=1, descending=True, stable=True)
        right = (ranked == labels[:, None]).double()
        for k in (1, 5):
            wanted = 100 * right[:, :k].sum(dim=1).mean().item()
            assert found[f'probe/top{k}_lr{rate}'] == pytest.approx(wanted)
    best = max(found['probe/top1_lr0.1'], found['probe/top1_lr0.003'])
    assert found['probe/best_top1'] == best
    assert found[f'probe/top1_lr{found["probe/best_lr"]:g}'] == best


def test_scores_that_are_nan_are_wrong():
    metric = ProbeAccuracy()
    scores = torch.full((2, 7), torch.nan)
    sample = dict(probe_scores=scores, probe_rates=(0.1, 0.003))
    metric.process(None, [dict(sample, gt_label=torch.tensor([y])) for y in range(7)])
    found = metric.evaluate(7)
    assert found['probe/best_top1'] == found['probe/top5_lr0.1'] == 0


def test_settings_that_cannot_be():
    for rates in ([], [0.1, 0.1], [0.0], [-1]):
        with pytest.raises(ValueError, match='rates='):
            LinearProbeHead(3, 4, rates)
    with pytest.raises(ValueError, match='in_channels=5.*32 channels'):
        build(in_channels=5).loss(torch.randn(1, 3, 32, 32), samples([1]))
    with pytest.raises(InputError, match='no mmtlalign.LinearProbeHead'):
        build_optim_wrapper(nn.Linear(2, 2), OPTIMIZER)
    with pytest.raises(InputError, match='remove paramwise_cfg'):
        build_optim_wrapper(
            build(), dict(OPTIMIZER, paramwise_cfg=dict(bias_decay_mult=0.0))
        )


RUN = """
pretrained = r'{pretrained}'
model = {model}
optim_wrapper = {optimizer}
val_evaluator = dict(type='mmtlalign.ProbeAccuracy')
test_evaluator = val_evaluator
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
"""


def test_run_from_a_teacher(monkeypatch, tmp_path, capsys):
    teacher, student = (build(num_classes=2).backbone.state_dict() for _ in 'ab')
    tensors = {f'backbone.{k}': v for k, v in student.items()}
    tensors |= {f'teacher.backbone.{k}': v for k, v in teacher.items()}
    torch.save(dict(state_dict=tensors, meta={}), tmp_path / 'esvit.pth')
    model = copy.deepcopy(PROBE)
    model['head']['num_classes'] = 2
    text = RUN.format(
        pretrained=tmp_path / 'esvit.pth', model=model, optimizer=OPTIMIZER
    )
    data = write_images(tmp_path / 'data')
    assert train_to_end(monkeypatch, tmp_path, data, text=text) is None
    end = tmp_path / 'work' / 'epoch_2.pth'
    trained = torch.load(end, weights_only=False)['state_dict']
    for name, tensor in teacher.items():
        assert torch.equal(trained[f'backbone.{name}'], tensor)
    (file,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in file.read_text().splitlines()]
    tested = [r for r in records if 'probe/best_top1' in r]
    assert len(tested) == 2
    assert tested[-1]['probe/best_lr'] in RATES
    assert {f'probe/top1_lr{rate:g}' for rate in RATES} <= set(tested[-1])
    assert any('ce_lr0.1' in r for r in records)
    (config,) = tmp_path.glob('tiny_*.py')
    run_tool(monkeypatch, 'test', config, end, '--work-dir', tmp_path / 'test')
    (file,) = (tmp_path / 'test').glob('*/*.json')
    again = json.loads(file.read_text())
    assert again['probe/best_top1'] == tested[-1]['probe/best_top1']


def test_recipe_makes_a_step():
    cfg = load_config(str(ROOT / 'configs/esvit/linear_probe' / RECIPE))
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    # Rates for a batch of 256, the recipe's is 1024.
    wanted = [4 * rate for rate in cfg.model.head.rates]
    assert wrapper.get_lr()['lr'] == pytest.approx(wanted)
    wrapper.update_params(model.loss(torch.randn(1, 3, 224, 224), samples([7]))['loss'])
    assert all(layer.bias[7] > 0 for layer in model.head.layers)
