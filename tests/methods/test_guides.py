"""Guides look at the images before mixing, and leave no trace of it."""

import copy
import dataclasses
import os
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from batch_mode import images as small_images
from batch_mode import samples
from guide_nets import ATTENTIVE, BACKBONES, OWN, SMMIX, K, batch, build
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from repository import ROOT
from small_backbones import SWIN

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.methods.guides import EMAGuideHook, OwnAttention
from mmtlalign.mixing.guides import GuideOutput, extreme_windows, fit_map, top_cells
from mmtlalign.mixing.salient import AttentiveCutMix, SMMix

every_network = pytest.mark.parametrize('name', BACKBONES)


@every_network
def test_a_look_changes_nothing(name):
    model = build(name)
    images, labels = batch(name)
    # A batch norm is a buffer that training would change.
    model.backbone.add_module('extra', torch.nn.BatchNorm1d(3))
    model.backbone.extra.eval()
    flags = {n: m.training for n, m in model.named_modules()}
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state(), np.random.get_state()[1].copy()
    before = images.clone()
    guide_output = model.mixer.guide(images, labels)
    assert torch.equal(torch.get_rng_state(), random[0])
    assert np.array_equal(np.random.get_state()[1], random[1])
    assert {n: m.training for n, m in model.named_modules()} == flags
    assert any(flags.values()) and not flags['backbone.extra']
    now = model.state_dict()
    assert now.keys() == state.keys()
    assert all(torch.equal(now[k], v) for k, v in state.items())
    assert all(p.grad is None for p in model.parameters())
    assert (
        not guide_output.saliency.requires_grad
        and not guide_output.scores.requires_grad
    )
    assert torch.equal(images, before)
    assert model.backbone.trace_context.reader is None
    assert guide_output.saliency.shape[0] == 5 and guide_output.saliency.min() >= 0
    assert guide_output.saliency.dtype is torch.float32
    # In evaluation mode: twice the same, whatever is dropped in training.
    again = model.mixer.guide(images, labels)
    assert torch.equal(guide_output.saliency, again.saliency)
    model.eval()
    torch.testing.assert_close(
        guide_output.scores, model.head(model.extract_feat(images))
    )


def test_flags_are_restored_after_an_error():
    model = build()
    flags = {n: m.training for n, m in model.named_modules()}
    model.backbone.layers[1].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.mixer.guide(*batch())
    assert {n: m.training for n, m in model.named_modules()} == flags
    assert model.backbone.trace_context.reader is None


@pytest.mark.parametrize('prob, looks', [(0.0, 0), (1.0, 1)])
def test_it_is_asked_once_and_only_for_a_mixed_batch(prob, looks):
    model = build(augment=dict(ATTENTIVE, prob=prob))
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    model(small_images(), samples(), mode='loss')
    assert len(calls) == 1 + looks


def test_augments_that_need_nothing_are_not_looked_at():
    with patch('mmtlalign.methods.mixer.print_log') as told:
        model = build(augment=dict(type='mmtlalign.CutMix'))
        assert 'guide=OwnAttention: no augment' in told.call_args[0][0]
        build()
        assert told.call_count == 1
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    model(small_images(), samples(), mode='loss')
    assert len(calls) == 1


def test_it_is_in_no_checkpoint_and_no_optimizer(tmp_path):
    plain = build(guide=None, augment=dict(type='mmtlalign.CutMix'))
    torch.save(dict(state_dict=plain.backbone.state_dict()), tmp_path / 'teacher.pth')
    for guide in (OWN, teacher(tmp_path)):
        model = build(guide=guide)
        assert list(model.state_dict()) == list(plain.state_dict())
        assert len(list(model.parameters())) == len(list(plain.parameters()))
        assert len(list(model.modules())) == len(list(plain.modules()))
        model(small_images(), samples(), mode='loss')


def teacher(folder, **options):
    return dict(
        type='mmtlalign.TeacherAttention',
        backbone=dict(BACKBONES['vit']),
        checkpoint=str(folder / 'teacher.pth'),
        **options,
    )


def test_a_teacher_looks_as_the_network_itself_would(tmp_path):
    model = build()
    torch.save(dict(state_dict=model.backbone.state_dict()), tmp_path / 'teacher.pth')
    images, labels = batch()
    own = model.mixer.guide(images, labels)
    other = build(guide=teacher(tmp_path, attention='received'))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    guide_output = other.mixer.guide(images, labels)
    torch.testing.assert_close(guide_output.saliency, own.saliency)
    assert guide_output.scores is None
    network = other.mixer.guide.network
    assert not any(p.requires_grad for p in network.parameters())
    # Copies of a model, as the averaged one, share it.
    assert copy.deepcopy(other).mixer.guide.network is network


def test_a_teacher_leaves_the_weights_of_the_model(tmp_path):
    def drawn(guide):
        with patch('guide_nets.randomise_a_little', lambda model: model):
            return build(guide=guide)

    own = drawn(OWN)
    torch.save(dict(state_dict=own.backbone.state_dict()), tmp_path / 'teacher.pth')
    taught = drawn(teacher(tmp_path))
    state = taught.state_dict()
    assert all(torch.equal(state[k], v) for k, v in own.state_dict().items())


def test_class_attention_has_no_received_saliency():
    caswin = dict(type='mmtlalign.CASwin', arch=SWIN, img_size=56, out_indices=(1,))
    model = build('swin', backbone=dict(caswin, _delete_=True), head='TLAlign')
    with pytest.raises(UnsupportedError, match="use attention='cls'"):
        model.mixer.guide(*batch('swin'))


def test_a_map_of_a_pyramid_is_taken_with_channels_first():
    swin = dict(
        type='mmtlalign.TIMMBackbone',
        model_name='swin_tiny_patch4_window7_224',
        img_size=56,
        embed_dim=16,
        depths=(1, 1),
        num_heads=(2, 2),
    )
    images, _ = batch('swin')
    for out_type in ('featmap', 'raw'):
        model = build('swin', SMMIX, backbone=dict(swin, out_type=out_type, _delete_=1))
        if out_type == 'featmap':
            assert model(images, samples(), mode='loss')['loss_cls'].isfinite()
            continue
        with pytest.raises(InputError, match="set out_type='featmap'"):
            model(images, samples(), mode='loss')


def test_a_whole_classifier_is_loaded_with_its_second_head(tmp_path):
    saved = build(augment=SMMIX)
    torch.save(dict(state_dict=saved.state_dict()), tmp_path / 'whole.pth')
    model = build(augment=SMMIX)
    model.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'whole.pth'))
    torch.nn.init.zeros_(model.head.token_head.weight)
    model.init_weights()
    assert torch.equal(model.head.token_head.weight, saved.head.token_head.weight)


def test_a_copy_of_the_model_looks_through_itself():
    model = build()
    twin = copy.deepcopy(model)
    assert twin.mixer.guide.model is twin and model.mixer.guide.model is model


@pytest.mark.parametrize('attention', ['received', 'cls'])
def test_the_map_is_that_of_the_dense_attention(attention):
    model = build(guide=dict(OWN, attention=attention))
    images, labels = batch()
    weights = []

    def keep(module, args):
        x = args[0]
        qkv = module.qkv(x).view(len(x), -1, 3, module.num_heads, module.head_dims)
        query, key, _ = qkv.permute(2, 0, 3, 1, 4)
        logits = query @ key.mT / module.head_dims**0.5
        weights.append(logits.softmax(-1).mean(1))

    for layer in model.backbone.layers:
        layer.attn.register_forward_pre_hook(keep)
    guide_output = model.mixer.guide(images, labels)
    last = weights[-1]
    rows = last[:, 0, 1:] if attention == 'cls' else last[:, 1:, 1:].mean(1)
    torch.testing.assert_close(guide_output.saliency.flatten(1), rows)
    assert guide_output.saliency.shape[1:] == (4, 4)


@every_network
@pytest.mark.parametrize('augment', [ATTENTIVE, SMMIX], ids=['attentive', 'smmix'])
@pytest.mark.parametrize('amp', [False, True])
def test_a_step(name, augment, amp):
    model = build(name, augment)
    images, _ = batch(name)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        losses = model(images, samples(), mode='loss')
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    # Casts that autocast keeps from the look, without gradient, would cut them off.
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert all(layer.weight.grad is not None for layer in layers)


def test_casts_of_the_look_are_forgotten():
    guide = build().mixer.guide
    with patch('torch.clear_autocast_cache') as clear:
        with torch.autocast('cpu', dtype=torch.bfloat16):
            guide(*batch())
            clear.assert_called_once()


@pytest.mark.parametrize('name', ['vit', 'swin'])
def test_compiled_and_checkpointed_steps_are_the_same(name):
    losses = []
    for kind in ('plain', 'checkpoint', 'compile'):
        options = dict(with_cp=True) if kind == 'checkpoint' and name == 'swin' else {}
        rates = dict(drop_path_rate=0.0)
        if name == 'vit':
            rates['drop_rate'] = 0.0
        model = build(name, SMMIX, backbone=dict(rates, **options))
        if kind == 'compile':
            model.backbone.compile(backend='eager')
        images, _ = batch(name)
        np.random.seed(1)
        found = model(images, samples(), mode='loss')
        sum(found.values()).backward()
        losses.append(torch.stack([v.detach() for v in found.values()]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'make, message',
    [
        (
            lambda: build(
                guide=dict(type='mmtlalign.FineGrainedSaliency'), consistency=1.0
            ),
            'FineGrainedSaliency gives no scores.*consistency_weight=0',
        ),
        (lambda: build(guide=None), r'AttentiveCutMix needs the saliency.*guide='),
        (lambda: build(augment=SMMIX, guide=None), 'SMMix needs the saliency'),
        (lambda: build(guide=dict(OWN, attention='class')), "attention='class'"),
        (
            lambda: build('swin', guide=dict(OWN, attention='cls')),
            "attention='cls' needs a class token, which SwinTransformer",
        ),
        (
            lambda: build(augment=dict(ATTENTIVE, cells=(3, 3))),
            'a map of 4x4 cells, and AttentiveCutMix draws its mask on 3x3: one',
        ),
        (
            lambda: build(augment=dict(SMMIX, patch_size=5)),
            'do not tile images of 32x32.*patch_size of the backbone',
        ),
        (
            lambda: build(augment=dict(ATTENTIVE, top_k=16)),
            'top_k=16 of 4x4 cells selects all of them',
        ),
        (lambda: AttentiveCutMix(top_k=0), 'top_k=0'),
        (lambda: AttentiveCutMix(keep='both'), "keep='both'"),
        (lambda: AttentiveCutMix(mode='batch'), "mode='batch'.*has elem"),
        (lambda: AttentiveCutMix(cells=(0, 3)), r'cells=\(0, 3\)'),
        (lambda: SMMix(sides=(0.5, 1.0)), r'sides=\(0.5, 1.0\)'),
        (lambda: SMMix(patch_size=0), 'patch_size=0'),
        (lambda: SMMix(pairing='random'), "pairing='random'.*only 'flip'"),
        (lambda: SMMix()(torch.zeros(2, 3, 8, 8), torch.eye(2)), 'SMMix needs the'),
        (
            lambda: build(augment=SMMIX, mode='elem'),
            "train_cfg.mode='elem'.*SMMix cannot draw the mask",
        ),
        (
            lambda: build(backbone=dict(out_type='cls_token'), augment=SMMIX),
            "out_type='cls_token'.*set out_type='raw'",
        ),
    ],
)
def test_what_cannot_be_is_said_when_the_model_is_built(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_teacher_of_other_normalisation(tmp_path):
    model = build()
    torch.save(dict(state_dict=model.backbone.state_dict()), tmp_path / 'teacher.pth')
    init_default_scope('mmpretrain')
    config = dict(
        type='mmtlalign.MixClassifier',
        backbone=dict(BACKBONES['vit'], out_type='cls_token'),
        head=dict(type='VisionTransformerClsHead', num_classes=K, in_channels=16),
        data_preprocessor=dict(num_classes=K, mean=[127.5] * 3, std=[127.5] * 3),
        train_cfg=dict(augments=[ATTENTIVE]),
    )
    for mean, fits in (([127.5] * 3, True), ([123.675, 116.28, 103.53], False)):
        config['train_cfg']['guide'] = teacher(tmp_path, mean=mean)
        if fits:
            MODELS.build(copy.deepcopy(config))
            continue
        with pytest.raises(InputError, match=r'teacher was trained .*mean=\[123'):
            MODELS.build(copy.deepcopy(config))


def test_a_switch_to_an_augment_keeps_the_guide_or_says_that_there_is_none():
    from mmpretrain.models.utils.batch_augments import RandomBatchAugment

    model = build(augment=dict(type='mmtlalign.CutMix'))
    model.switch_augments(RandomBatchAugment([dict(ATTENTIVE)]))
    assert model(small_images(), samples(), mode='loss')['loss_cls'].isfinite()
    model.switch_augments(None)
    model.switch_augments(RandomBatchAugment([dict(ATTENTIVE)]))
    assert model(small_images(), samples(), mode='loss')['loss_cls'].isfinite()
    model = build(augment=dict(type='mmtlalign.CutMix'), guide=None)
    with pytest.raises(InputError, match='AttentiveCutMix needs the saliency'):
        model.make_switched_mixer(RandomBatchAugment([dict(ATTENTIVE)]))


def test_the_averaged_copy_looks():
    model = build(guide=dict(type='mmtlalign.EMAAttention'))
    images, labels = batch()
    with pytest.raises(InputError, match='no averaged model.*EMAGuideHook'):
        model.mixer.guide(images, labels)
    ema = EMAHook(momentum=0.5)
    runner = SimpleNamespace(model=model, hooks=[ema], iter=0)
    with pytest.raises(InputError, match='it needs guide='):
        EMAGuideHook().before_train(SimpleNamespace(model=model, hooks=[]))
    ema.before_run(runner)
    EMAGuideHook().before_train(runner)
    before = model.mixer.guide(images, labels)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    # The copy stays where it was, until the hook averages.
    after = model.mixer.guide(images, labels)
    assert torch.equal(before.saliency, after.saliency)
    ema.ema_model.update_parameters(model)  # the first one copies
    ema.ema_model.update_parameters(model)
    again = model.mixer.guide(images, labels)
    assert not torch.equal(before.saliency, again.saliency)
    assert model(small_images(), samples(), mode='loss')['loss_cls'].isfinite()


# ------------------------------------------------------------------------ the augments


def look(saliency):
    return lambda images, labels: GuideOutput(saliency, torch.randn(labels.shape))


@pytest.mark.parametrize('size', [(24, 40), (32, 32)])
@pytest.mark.parametrize('count', [1, 4, 5])
@pytest.mark.parametrize(
    'augment',
    [
        AttentiveCutMix(),
        AttentiveCutMix(top_k=6),
        AttentiveCutMix(keep='own', pairing='random'),
        AttentiveCutMix(cells=(2, 2), top_k=1),
        SMMix(),
        SMMix(patch_size=8),
    ],
    ids=['share', 'top-k', 'own', 'cells', 'smmix', 'smmix patch'],
)
def test_records_say_what_was_done(augment, count, size):
    torch.manual_seed(4)
    images, labels = torch.randn(count, 3, *size), torch.eye(K)[:count]
    grid = (4, 4) if isinstance(augment, AttentiveCutMix) else (8, 8)
    grid = (grid[0], grid[1]) if size[0] == size[1] else (size[0] // 8, size[1] // 8)
    if augment is not None and getattr(augment, 'cells', None):
        grid = (4, 4)
    before = images.clone()
    for seed in range(6):
        np.random.seed(seed)
        mix = augment.mix(images, labels, guide=look(torch.rand(count, *grid)))
        assert torch.equal(images, before)
        assert mix.mask.shape == (count, 1, *size)
        assert set(mix.mask.unique().tolist()) <= {0.0, 1.0}
        inside = mix.mask.expand_as(images) > 0
        assert torch.equal(mix.images[~inside], images[~inside])
        if mix.source is None:
            assert torch.equal(mix.images[inside], images[mix.partner][inside])
        else:
            for i, (top, bottom, left, right) in enumerate(mix.source.tolist()):
                part = images[mix.partner[i], :, top:bottom, left:right]
                assert torch.equal(mix.images[i][inside[i]], part.flatten())
        target = mix.target(mix.area())
        torch.testing.assert_close(target.sum(1), torch.ones(count))
        assert len(set(mix.area().tolist())) == 1 or size != (32, 32)


def test_equal_windows_and_cells_are_taken_from_the_first():
    constant = torch.full((3, 6, 7), 0.1)
    for window in extreme_windows(constant, 3):
        assert window.tolist() == [[0, 0]] * 3
    assert top_cells(constant, 4).flatten(1).argmin(1).tolist() == [4] * 3


def test_extreme_windows_are_those_of_a_loop():
    torch.manual_seed(1)
    saliency = torch.rand(4, 6, 9)
    for side in (1, 2, 5):
        sums = saliency.unfold(1, side, 1).unfold(2, side, 1).sum((3, 4))
        lowest, highest = extreme_windows(saliency, side)
        for i in range(4):
            assert sums[i][tuple(lowest[i])] == sums[i].min()
            assert sums[i][tuple(highest[i])] == sums[i].max()


def test_maps_are_brought_to_a_grid():
    saliency = torch.arange(16.0).view(1, 4, 4)
    assert fit_map(saliency, (2, 2)).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    assert torch.equal(fit_map(fit_map(saliency, (8, 4)), (4, 4)), saliency)


@pytest.mark.parametrize('empty', [True, False])
def test_the_term_of_a_missing_region_is_left_out(empty):
    model = build(augment=SMMIX)
    images, labels = batch()
    mix = model.mixer(images, labels)
    mix = dataclasses.replace(
        mix, mask=torch.full_like(mix.mask, 0.0 if empty else 1.0), source=None
    )
    with model.head.trace(model.backbone, mix) as trace:
        feats = model.extract_feat(mix.images)
    losses = model.head.loss(feats, None, mix, trace)
    _, tokens, _ = model.head.tokens(feats)
    learnt = mix.labels if empty else mix.labels[mix.partner]
    expected = torch.nn.functional.cross_entropy(
        model.head.token_head(tokens.mean(1)), learnt
    )
    torch.testing.assert_close(losses['loss_fine'], expected / 2)


@every_network
def test_tl_align_reads_the_class_label_of_smmix(name):
    model = build(name, SMMIX, head='TLAlignSMMix')
    images, _ = batch(name)
    model.mixer.augments[0].prob = 1.0
    losses = model(images, samples(), mode='loss')
    assert set(losses) == {'loss_cls', 'loss_fine', 'loss_consistency'}
    np.random.seed(2)
    mix = model.mixer(images.clone(), torch.eye(K)[:5])
    with model.head.trace(model.backbone, mix) as trace:
        model.extract_feat(mix.images)
    (share,) = model.head.partner_shares(mix, trace)
    assert (share - mix.area()).abs().max() > 1e-5


def test_samples_are_not_read_by_the_guide():
    drawn = [DataSample().set_gt_score(torch.eye(K)[0]) for _ in range(5)]
    model = build()
    model(small_images(), drawn, mode='loss')
    guide = OwnAttention()
    guide.bind(model)
    assert guide.gives == {'saliency', 'scores'}


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['smmix', 'puzzle'])
def test_two_processes_average_every_gradient(tmp_path, kind):
    path = os.pathsep.join(map(str, (ROOT, ROOT / 'tests' / 'lib')))
    found = subprocess.run(
        [sys.executable, ROOT / 'tests/lib/guide_ranks.py', tmp_path / 'store', kind],
        env=dict(os.environ, PYTHONPATH=path, CUDA_VISIBLE_DEVICES=''),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert 'both are done' in found.stdout, found.stderr
