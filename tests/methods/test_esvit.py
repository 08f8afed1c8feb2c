"""EsViT as a model: a step against a transcription, its state, and its errors."""

from math import cos, pi
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from esvit_parts import FixedViews, model_settings, settings, train, windows_of
from golden_files import close
from guide_nets import BACKBONES
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.models.utils import ShiftWindowMSA
from mmpretrain.models.utils.attention import WindowMSA
from no_sync import NoSync
from repository import ROOT

from mmtlalign.engine.runner import build_runner
from mmtlalign.errors import InputError
from mmtlalign.fast.hooks import speed_up
from mmtlalign.methods.esvit.crops import views_and_regions
from mmtlalign.methods.esvit.hook import clip_each_

BASE = ROOT / 'configs' / '_base_'
MODEL = BASE / 'models' / 'esvit_swin_tiny.py'
SCHEDULE = BASE / 'schedules' / 'esvit_300e.py'


def build(**changes):
    init_default_scope('mmpretrain')
    model = MODELS.build(model_settings(**changes))
    model.init_weights()
    model.teacher_temp = 0.05
    return model


def views(*sizes, batch=2):
    return [torch.randn(batch, 3, size, size) for size in sizes]


def networks(model):
    """What a network says of one view: logits of it and of its regions, features."""

    def run(parts, images):
        out = parts['backbone'](images)[-1]
        regions = out.flatten(2).transpose(1, 2)
        view = parts['head'](regions.mean(1))
        return view, parts['region_head'](regions), regions

    return (lambda x: run(model.student(), x)), (lambda x: run(model.teacher, x))


def transcribed(batches, model, epochs, momentum, max_norm):
    """The official loop, view by view and pair by pair: losses of all steps."""
    student, teacher = networks(model)
    learns = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            dict(params=[p for p in learns if p.ndim > 1], weight_decay=0.1),
            dict(params=[p for p in learns if p.ndim == 1], weight_decay=0.0),
        ],
        lr=1e-2,
    )
    centers, losses = [torch.zeros(1, 12), torch.zeros(1, 12)], []
    steps = epochs * len(batches)
    for k in range(steps):
        epoch = k // len(batches)
        hot = [0.04, 0.055, 0.07][epoch]
        crops = batches[k % len(batches)]
        with torch.no_grad():
            wanted = [teacher(x) for x in crops[:2]]
        loss = 0
        for s, x in enumerate(crops):
            said = student(x)
            for t, (view, region, keys) in enumerate(wanted):
                if s == t:
                    continue
                q = F.softmax((view - centers[0]) / hot, -1)
                loss = loss - (q * F.log_softmax(said[0] / 0.1, -1)).sum(-1).mean()
                alike = F.normalize(said[2], dim=-1) @ F.normalize(keys, dim=-1).mT
                best = alike.argmax(-1)[..., None].expand(-1, -1, 12)
                q = F.softmax((region - centers[1]) / hot, -1).gather(1, best)
                log_p = F.log_softmax(said[1] / 0.1, -1)
                loss = loss - (q * log_p).sum(-1).mean(-1).mean()
        loss = loss / 2 / (2 * len(crops) - 2)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        for name, p in model.named_parameters():
            if p.grad is not None:
                p.grad *= min(1, max_norm / (p.grad.norm().item() + 1e-6))
                if epoch < 1 and 'last_layer' in name:
                    p.grad = None
        optimizer.step()
        m = 1 - (1 - momentum) * (cos(pi * k / steps) + 1) / 2
        with torch.no_grad():
            for name, part in model.student().items():
                pairs = zip(model.teacher[name].parameters(), part.parameters())
                for mine, theirs in pairs:
                    mine.copy_(m * mine + (1 - m) * theirs)
            for index in range(2):
                rows = torch.cat([w[index].flatten(0, -2) for w in wanted])
                centers[index] = 0.9 * centers[index] + 0.1 * rows.mean(0)
    return losses, centers


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The runner of three epochs, two steps each, and its first weights."""
    runner = Runner.from_cfg(settings(tmp_path_factory.mktemp('whole'), epochs=3))
    runner.model.init_weights()
    runner.first = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.model.init_weights = lambda: None
    runner.train()
    return runner


def losses_of(runner):
    return runner.message_hub.get_scalar('train/loss').data[0]


def test_training_equals_a_transcription(whole):
    plain = build()
    plain.load_state_dict(whole.first)
    data = FixedViews().views
    batches = [
        [torch.stack(v) for v in zip(*data[at : at + 8])] for at in range(0, 16, 8)
    ]
    losses, centers = transcribed(batches, plain, 3, momentum=0.9, max_norm=0.05)
    close(losses_of(whole), losses, 2e-5)
    ours = whole.model.state_dict()
    for kind, center in zip(('view', 'region'), centers):
        close(ours[f'centers.{kind}.value'], center, 1e-5)
    for name, value in plain.state_dict().items():
        if not name.startswith('centers'):
            close(ours[name], value, 1e-3)
    name = 'region_head.last_layer.weight_v'
    assert not torch.equal(whole.first[name], ours[name])


def test_last_layers_rest_in_the_first_epoch(tmp_path):
    changes = dict(custom_hooks=[dict(type='mmtlalign.EsViTHook')], epochs=1)
    runner = Runner.from_cfg(settings(tmp_path, **changes))
    runner.model.init_weights()
    start = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.model.init_weights = lambda: None
    runner.train()
    for name, value in runner.model.state_dict().items():
        if '.last_layer.' in name and not name.startswith('teacher'):
            assert torch.equal(value, start[name])
    moved = runner.model.state_dict()['region_head.mlp.0.weight']
    assert not torch.equal(moved, start['region_head.mlp.0.weight'])


def test_accumulated_batches_equal_a_large_one(tmp_path):
    # Adam would blow rounding errors up where a gradient is near zero.
    sgd = dict(optimizer=dict(type='SGD', lr=1.0))
    large = train(tmp_path / 'large', optim_wrapper=dict(sgd))
    sgd['accumulative_counts'] = 2
    small = train(tmp_path / 'small', batch=4, optim_wrapper=sgd)
    ours = small.model.state_dict()
    for name, value in large.model.state_dict().items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=0)
    assert ours['centers.region.value'].abs().sum() > 0


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path, whole):
    last = f'{whole.work_dir}/epoch_2.pth'
    rest = train(tmp_path, epochs=3, resume=True, load_from=last)
    assert rest.iter == whole.iter
    other = rest.model.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(other[name], value), name
    assert 'centers.region.value' in other
    assert 'teacher.backbone.patch_embed.projection.weight' in other


def test_bfloat16_is_near_and_centres_stay_exact(tmp_path, whole):
    config = settings(tmp_path, epochs=1)
    config.optim_wrapper.type = 'mmtlalign.Bf16OptimWrapper'
    half = Runner.from_cfg(config)
    half.train()
    exact, near = (losses_of(runner)[0] for runner in (whole, half))
    assert 0 < abs(exact - near) < 0.02 * exact
    assert half.model.centers['view'].value.dtype == torch.float32


def test_view_run_goes_on_with_regions(tmp_path):
    train(tmp_path / 'view', epochs=1, model=model_settings(region_head=None))
    first = torch.load(tmp_path / 'view' / 'epoch_1.pth', weights_only=False)
    first = first['state_dict']
    assert not any('region' in name for name in first)
    config = settings(
        tmp_path / 'both', epochs=1, load_from=str(tmp_path / 'view' / 'epoch_1.pth')
    )
    runner = Runner.from_cfg(config)
    runner.model.init_weights()
    runner.load_or_resume()
    now = runner.model.state_dict()
    for name, value in first.items():
        assert torch.equal(now[name], value)
    for name, value in now.items():
        if name.startswith('region_head'):
            assert torch.equal(now[f'teacher.{name}'], value)
    runner._has_loaded = True
    runner.train()


def test_teacher_starts_as_the_student_and_has_no_dropout():
    swin = model_settings()['backbone'] | dict(drop_path_rate=0.5)
    model = build(backbone=swin).train()
    state = model.state_dict()
    for name, value in state.items():
        if name.startswith('teacher.'):
            assert torch.equal(value, state[name.removeprefix('teacher.')])
    assert model.training
    assert model.backbone.training
    assert not any(m.training for m in model.teacher.modules())
    images = views(16)[0]
    with torch.no_grad():
        assert torch.equal(model.extract_feat(images), model.extract_feat(images))
        student = [model.extract_feat(images, 'student') for _ in range(2)]
    assert not torch.equal(*student)


def test_batch_norm_of_the_teacher_uses_its_own_batches():
    head = model_settings()['head'] | dict(use_bn=True)
    model = build(head=head, region_head=None).train()
    norm = model.teacher['head'].mlp[1]
    assert norm.training
    model.loss(views(16, 16, 8))['loss_view'].backward()
    seen = norm.running_mean.clone()
    assert seen.abs().sum() > 0
    model.after_step(0.5)
    assert torch.equal(norm.running_mean, seen)
    assert not torch.equal(norm.running_mean, model.head.mlp[1].running_mean)
    assert not model.eval().teacher['head'].mlp[1].training


def test_views_of_one_size_are_one_batch():
    model, seen = build(), []
    for backbone in (model.backbone, model.teacher['backbone']):
        backbone.register_forward_pre_hook(
            lambda module, args: seen.append(tuple(args[0].shape))
        )
    model.loss(views(16, 16, 8, 8, 8))
    assert seen == [(4, 3, 16, 16), (4, 3, 16, 16), (6, 3, 8, 8)]


def test_a_step_waits_for_no_number():
    model = build().train()
    crops = views(16, 16, 8, 8)
    params = [p for p in model.parameters() if p.requires_grad]
    for _ in range(2):  # the first makes the masks of windows
        with NoSync():
            losses = model.loss(crops)
            (losses['loss_view'] + losses['loss_region']).backward()
            clip_each_([p.grad for p in params], 3.0)
            model.after_step(0.99)


def test_masks_are_made_once_for_each_size(monkeypatch):
    made, stock = [], ShiftWindowMSA.get_attn_mask

    def count(hw_shape, window_size, shift_size, device=None):
        if shift_size:
            made.append(tuple(hw_shape))
        return stock(hw_shape, window_size, shift_size, device)

    monkeypatch.setattr(ShiftWindowMSA, 'get_attn_mask', staticmethod(count))
    model = build().train()
    speed_up(model, 'explicit')  # as the hook of the recipes
    for _ in range(3):
        model.loss(views(16, 16, 8))
    # Stage 2 has 4x4 and 2x2 tokens, one window each; student and teacher share.
    assert made == [(4, 4)]


def test_the_fast_hook_of_the_recipes_changes_no_number(tmp_path, whole):
    hook = dict(type='mmtlalign.FastAttentionHook', kernel='explicit')
    hooks = [*settings(tmp_path).custom_hooks, hook]
    fast = train(tmp_path, epochs=3, custom_hooks=hooks).model
    kinds = [{type(m) for m in model.modules()} for model in (fast, whole.model)]
    assert WindowMSA in kinds[1] and WindowMSA not in kinds[0]
    state = fast.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(state[name], value), name


def test_evaluating_the_loss_leaves_no_trace():
    model = build().eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for _ in range(2):
        model.loss(views(16, 16, 8))
    assert model.centers['view'].batch_means == []
    model.train().loss(views(16, 16, 8))
    assert len(model.centers['region'].batch_means) == 1
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_weightings_have_names():
    crops = views(16, 16, 8)
    losses = {}
    for weighting in ('code', 'paper', (0.2, 3.0)):
        torch.manual_seed(0)
        losses[weighting] = build(weighting=weighting).loss(crops)
    paper = losses['paper']
    for kind in ('view', 'region'):
        assert torch.equal(paper[f'loss_{kind}'], paper[f'{kind}_term'])
        assert torch.equal(losses['code'][f'loss_{kind}'], 0.5 * paper[f'{kind}_term'])
    assert torch.equal(losses[0.2, 3.0]['loss_region'], 3 * paper['region_term'])
    torch.manual_seed(0)
    dino = build(region_head=None).loss(crops)
    assert set(dino) == {'loss_view', 'view_term'}
    assert torch.equal(dino['loss_view'], dino['view_term'])


@pytest.mark.parametrize('kind', ['ViT', 'ResNet', 'vector'])
def test_other_backbones(kind):
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
    vit = dict(type='VisionTransformer', arch=arch, img_size=16, patch_size=4)
    if kind == 'ResNet':
        backbone = dict(type='ResNet', depth=18, base_channels=2, out_indices=(3,))
        crops, tokens = views(64, 64, 32), (4, 1)
    else:
        backbone = vit | dict(out_type='raw' if kind == 'ViT' else 'cls_token')
        crops, tokens = views(16, 16, 8), (16, 4)
    if kind == 'vector':
        with pytest.raises(ValueError, match="out_type='raw'"):
            build(backbone=backbone).loss(crops)
        assert set(build(backbone=backbone, region_head=None).loss(crops)) == {
            'loss_view',
            'view_term',
        }
        return
    head = model_settings()['head']
    model = build(backbone=backbone, head=head, region_head=head)
    sizes = model._run(model.student(), [torch.cat(crops[:2]), crops[2]]).tokens
    assert sizes == tokens
    losses = model.loss(crops)
    (losses['loss_view'] + losses['loss_region']).backward()
    assert (
        model.backbone.state_dict().keys()
        == model.teacher['backbone'].state_dict().keys()
    )


@pytest.mark.parametrize(
    'sizes, message',
    [
        ((16,), 'views of an image are 16x16 px'),
        ((16, 8, 8), 'must exist and have one size'),
        ((), 'global_views=2'),
    ],
)
def test_views_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        build().loss(views(*sizes))


def test_one_tensor_is_no_list_of_views():
    with pytest.raises(ValueError, match='one tensor.*MultiView'):
        build().loss(views(16)[0])


def test_size_that_the_backbone_cannot_take():
    swin = model_settings()['backbone'] | dict(pad_small_map=False)
    with pytest.raises(ValueError, match='not accept views of 8x8 px.*pad_small_map'):
        build(backbone=swin).loss(views(16, 16, 8))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(weighting='papers'), "weighting='papers'.*'code', 'paper'"),
        (dict(global_views=1), 'global_views=1.*2 or more'),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_training_without_the_hook(tmp_path):
    with pytest.raises(ValueError, match=r'Add custom_hooks=.*EsViTHook'):
        train(tmp_path, custom_hooks=[])


@pytest.mark.parametrize(
    'hook, message',
    [
        (dict(type='mmtlalign.EsViTHook', momentum=1.5), 'momentum=1.5'),
        (dict(type='mmtlalign.EsViTHook', teacher_temp=0.0), 'teacher_temp=0.0'),
        (dict(type='mmtlalign.TensorClipHook', max_norm=0), 'max_norm=0'),
    ],
)
def test_hooks_with_impossible_values(tmp_path, hook, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path, custom_hooks=[hook])


def test_hook_with_another_model(tmp_path):
    head = dict(type='LinearClsHead', num_classes=2, in_channels=16)
    model = dict(
        type='ImageClassifier',
        backbone=model_settings()['backbone'],
        neck=dict(type='GlobalAveragePooling'),
        head=head,
    )
    with pytest.raises(ValueError, match='the model is ImageClassifier'):
        train(tmp_path, model=model)


def test_checkpoint_without_a_teacher():
    model = build()
    state = {k: v for k, v in model.state_dict().items() if 'teacher' not in k}
    with pytest.raises(ValueError, match='has no teacher.*Pretrained'):
        model.load_state_dict(state, strict=False)


def test_head_of_another_width_at_resume(tmp_path, whole):
    wide = model_settings()['head'] | dict(out_channels=20)
    model = model_settings(head=wide, region_head=wide)
    last = f'{whole.work_dir}/epoch_2.pth'
    config = settings(tmp_path, resume=True, load_from=last, model=model)
    with pytest.raises(InputError, match=r'another shape.*last_layer.*\(12, .*\(20, '):
        build_runner(config).train()


def test_fewer_images_than_a_batch(tmp_path):
    with pytest.raises(InputError, match='drop_last=True; set train_dataloader'):
        build_runner(settings(tmp_path, batch=32)).train()


def test_console_does_not_list_the_teacher(tmp_path, capsys):
    runner = build_runner(settings(tmp_path, log_level='INFO'))
    runner.build_optim_wrapper(runner.optim_wrapper)
    shown = ''.join(capsys.readouterr())
    assert 'requires_grad' not in shown
    (log,) = tmp_path.glob('*/*.log')
    assert 'teacher.head.mlp.0.weight is skipped' in log.read_text()


def test_shipped_schedule_has_the_official_numbers():
    cfg = Config.fromfile(SCHEDULE)
    optimizer, (_, rate, decay) = cfg.optim_wrapper.optimizer, cfg.param_scheduler
    assert (optimizer.lr, rate.eta_min) == (1e-3, 1e-6)
    assert (optimizer.weight_decay, decay.eta_min) == (0.04, 0.4)
    hook, clip = cfg.custom_hooks
    assert (hook.momentum, clip.max_norm, hook.freeze_last_layer) == (0.996, 3.0, 1)
    names = ('warmup_teacher_temp', 'teacher_temp', 'warmup_teacher_temp_epochs')
    assert [hook[name] for name in names] == [0.04, 0.07, 30]
    assert (rate.begin, rate.end, decay.end) == (10, 300, 300)


def test_shipped_swin_has_the_official_geometry():
    init_default_scope('mmpretrain')
    settings = Config.fromfile(MODEL).model
    backbone = MODELS.build(settings.backbone)
    assert windows_of(backbone) == [(7, 3, 169)] * 3 + [(7, 0, 169)]
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-6}
    assert len(norms) == 1 + 2 * 12 + 3 + 1
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 96, 96))[-1].shape == (1, 768, 3, 3)
    head = MODELS.build(settings.head)
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 1) == 23.1


def test_features_of_tokens_without_class_token_are_their_mean():
    init_default_scope('mmpretrain')
    config = dict(BACKBONES['vit'], with_cls_token=False)
    backbone = MODELS.build(config)
    tokens = backbone(torch.randn(2, 3, 32, 32))[-1]
    views, regions = views_and_regions(backbone, tokens)
    assert torch.equal(regions, tokens) and torch.equal(views, tokens.mean(1))


def test_maps_with_channels_last_are_refused():
    swin = SimpleNamespace(output_fmt='NHWC')  # a wrapper of mmpretrain
    for backbone in (SimpleNamespace(out_type='raw'), SimpleNamespace(timm_model=swin)):
        with pytest.raises(InputError, match="with out_type='featmap'"):
            views_and_regions(backbone, torch.zeros(2, 7, 7, 16))
    swin.output_fmt = 'NCHW'
    views, _ = views_and_regions(backbone, torch.zeros(2, 16, 7, 7))
    assert views.shape == (2, 16)
    # Ours gives maps with channels first.
    ours = SimpleNamespace(out_type='featmap', timm_model=SimpleNamespace())
    ours.timm_model.output_fmt = 'NHWC'
    assert views_and_regions(ours, torch.zeros(2, 16, 7, 7))[0].shape == (2, 16)
