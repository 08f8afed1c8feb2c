"""A checkpoint of EsViT starts every other task: from its teacher, or as asked."""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from esvit_parts import model_settings, settings, train
from golden_files import close
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from repository import ROOT
from small_backbones import assert_same, randomise
from small_runs import load
from timm.models.swin_transformer import SwinTransformer as TimmSwin
from tiny_run import run_tool
from torch import nn

from mmtlalign.checkpoint.export import export_backbone
from mmtlalign.checkpoint.hook import PretrainedBackboneHook
from mmtlalign.engine.runner import TaskRunner
from mmtlalign.errors import InputError
from mmtlalign.validation.config import load_config

ARCH = dict(embed_dims=8, depths=[1, 1, 2, 2], num_heads=[1, 1, 2, 2])
WIDTHS = [8, 16, 32, 64]
EPS = dict(norm_cfg=dict(type='LN', eps=1e-6))
STAGE = dict(block_cfgs=EPS, downsample_cfg=EPS)
# Maps of 32 to 4 tokens a side; the last one is one window and not shifted.
BACKBONE = dict(
    type='mmpretrain.SwinTransformer',
    arch=ARCH,
    img_size=64,
    patch_size=2,
    window_size=4,
    pad_small_map=True,
    norm_cfg=EPS['norm_cfg'],
    patch_cfg=EPS,
    stage_cfgs=[STAGE, STAGE, STAGE, dict(block_cfgs=dict(shift=False, **EPS))],
)

RECIPES = [
    path
    for room in ('segmentation', 'detection')
    for path in sorted((ROOT / 'configs' / room).glob('*_esvit-*.py'))
]


def esvit():
    head = dict(
        type='mmtlalign.EsViTHead',
        in_channels=64,
        out_channels=12,
        hidden_channels=16,
        bottleneck_channels=8,
    )
    return model_settings(backbone=BACKBONE, head=head, region_head=head)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A model after one step, and the file that its runner wrote."""
    folder = tmp_path_factory.mktemp('esvit')
    data = dict(settings(folder).train_dataloader, batch_size=2)
    data['dataset'] = dict(type='FixedViews', length=2, sizes=(64, 64, 32))
    runner = train(folder, epochs=1, model=esvit(), train_dataloader=data)
    model = runner.model
    assert not any(
        mine.equal(theirs)
        for mine, theirs in zip(
            model.teacher.backbone.parameters(), model.backbone.parameters()
        )
    )
    return model, str(folder / 'epoch_1.pth')


def backbone_of(model, weights):
    return model.backbone if weights == 'student' else model.teacher.backbone


def classifier():
    """A recipe of fine-tuning."""
    return load('swin-tiny-p4-w7_tlalign-in1k-pre_sgd-1000e_cifar10-')


def upernet():
    cfg = load('swin-tiny-p4-w7_tlalign-in1k-pre_upernet_8xb2')
    cfg.model.decode_head.update(in_channels=WIDTHS, channels=8)
    cfg.model.auxiliary_head.update(in_channels=32, channels=8)
    return cfg


def mask_rcnn():
    pytest.importorskip('mmcv.ops', reason='detection needs the compiled mmcv')
    cfg = load('mask-rcnn_swin-tiny-p4-w7_tlalign-pre_fpn_amp-ms-crop-1x')
    cfg.model.neck.in_channels = WIDTHS
    cfg.model.roi_head.bbox_head.fc_out_channels = 8
    return cfg


def start(cfg, pretrained, **options):
    """The model of a recipe with a small backbone, after its hook has loaded."""
    # A classifier takes the last map alone.
    maps = cfg.model.backbone.get('out_indices', (3,))
    cfg.model.backbone = dict(BACKBONE, out_indices=maps)
    init_default_scope(cfg.default_scope)
    return started(MODELS.build(cfg.model), cfg, pretrained, **options)


def started(model, cfg, pretrained, **options):
    """The backbone of a model, and what the hook of a recipe said as it loaded."""
    (hook,) = [h for h in cfg.custom_hooks if 'PretrainedBackbone' in h['type']]
    given = {k: v for k, v in hook.items() if k != 'type'}
    lines = []
    runner = SimpleNamespace(
        iter=0,
        cfg=Config(dict(pretrained=pretrained)),
        _load_from=None,
        logger=SimpleNamespace(info=lines.append),
        model=model,
    )
    PretrainedBackboneHook(**given, **options).before_train(runner)
    return model.backbone, lines


@pytest.mark.parametrize('recipe', [classifier, upernet, mask_rcnn])
@pytest.mark.parametrize('weights', ['auto', 'teacher', 'student'])
def test_backbone_arrives_whole_in_every_task(recipe, weights, run):
    model, file = run
    options = {} if weights == 'auto' else dict(weights=weights)
    backbone, (line,) = start(recipe(), file, **options)
    source = backbone_of(model, weights)
    assert_same(backbone, source)
    own, count = backbone.state_dict(), len(source.state_dict())
    kind = 'student' if weights == 'student' else 'teacher'
    told = f'{count} of {len(own)} tensors of the {kind} from {file}'
    assert told in line and 'centers (2)' in line
    # Of the rest all is new: norms of maps that pretraining does not hand on.
    new = {name.split('.')[0] for name in own.keys() - source.state_dict().keys()}
    assert new == (set() if recipe is classifier else {'norm0', 'norm1', 'norm2'})


@pytest.mark.parametrize('weights', ['auto', 'teacher', 'student'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_exported_to_a_plain_file(weights, suffix, run, tmp_path):
    model, file = run
    out = str(tmp_path / f'backbone{suffix}')
    meta = export_backbone(file, out, weights=weights)
    kind = 'student' if weights == 'student' else 'teacher'
    assert meta['weights'] == kind
    assert meta['method']['head'] == 'mmtlalign.EsViTHead'
    backbone, (line,) = start(upernet(), out)
    assert_same(backbone, backbone_of(model, weights))
    # The file says which it is, and is not taken for the other.
    other = dict(teacher='student', student='teacher')[kind]
    with pytest.raises(InputError, match=f'holds {kind} weights only, not {other}'):
        start(upernet(), out, weights=other)


@pytest.mark.parametrize('weights', ['teacher', 'student'])
def test_exported_to_timm(weights, run, tmp_path):
    model, file = run
    out = str(tmp_path / 'timm.safetensors')
    export_backbone(file, out, weights=weights, layout='timm')
    theirs = TimmSwin(
        img_size=64,
        patch_size=2,
        embed_dim=8,
        depths=ARCH['depths'],
        num_heads=ARCH['num_heads'],
        window_size=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_classes=0,
    )
    timm.models.load_checkpoint(theirs, out, strict=True)
    images = torch.randn(2, 3, 64, 64)
    theirs.eval()
    model.eval()
    with torch.no_grad():
        close(theirs(images), model.extract_feat(images, weights), 1e-5)


def test_command_line(run, tmp_path, monkeypatch, capsys):
    model, file = run
    for weights in ('teacher', 'student'):
        out = tmp_path / f'{weights}.pth'
        run_tool(
            monkeypatch,
            'model_converters/export_backbone',
            file,
            out,
            '--weights',
            weights,
        )
        told = capsys.readouterr().out
        assert f'{weights} weights of mmpretrain.SwinTransformer' in told
        tensors = torch.load(out, weights_only=True)['state_dict']
        wanted = backbone_of(model, weights).state_dict()
        assert {f'backbone.{name}' for name in wanted} == set(tensors)
        assert all(v.equal(tensors[f'backbone.{n}']) for n, v in wanted.items())


def test_weights_that_a_file_does_not_have(run, tmp_path):
    model, file = run
    for kind in ('raw', 'ema'):
        message = f'epoch_1.pth holds teacher and student weights only, not {kind}'
        with pytest.raises(InputError, match=message):
            start(upernet(), file, weights=kind)
        with pytest.raises(InputError, match=message):
            export_backbone(file, str(tmp_path / 'out.pth'), weights=kind)
    with pytest.raises(InputError, match="weights='mean' is not known. Take one of"):
        start(upernet(), file, weights='mean')

    tensors = model.state_dict()
    plain = {n: v for n, v in tensors.items() if not n.startswith('teacher.')}
    teacher = {n: v for n, v in tensors.items() if n.startswith('teacher.')}
    torch.save(dict(state_dict=plain), tmp_path / 'plain.pth')
    for kind in ('teacher', 'student'):
        with pytest.raises(InputError, match=f'holds raw weights only, not {kind}'):
            start(upernet(), str(tmp_path / 'plain.pth'), weights=kind)
    torch.save(dict(state_dict=teacher), tmp_path / 'teacher.pth')
    with pytest.raises(InputError, match='holds teacher weights only, not student'):
        start(upernet(), str(tmp_path / 'teacher.pth'), weights='student')
    backbone, _ = start(upernet(), str(tmp_path / 'teacher.pth'))
    assert_same(backbone, model.teacher.backbone)


def test_load_from_does_not_choose_silently(run, tmp_path):
    """mmengine loads what has the name, which is the student."""
    model, file = run

    init_default_scope('mmpretrain')
    head = dict(type='LinearClsHead', num_classes=2, in_channels=64)
    runner = TaskRunner.__new__(TaskRunner)
    runner.model = MODELS.build(
        dict(type='ImageClassifier', backbone=BACKBONE, head=head)
    )
    runner._resume, runner.logger = False, MMLogger.get_current_instance()
    runner._hooks, runner._has_loaded, runner.cfg = [], False, {}
    with pytest.raises(InputError, match='holds a student and a teacher'):
        runner.load_checkpoint(file)
    # Pretraining itself goes on from it.
    runner.model = MODELS.build(esvit())
    runner.load_checkpoint(file)
    assert_same(runner.model, model)


def pretraining_of(pretrained):
    (path,) = (ROOT / 'configs').glob(f'*/{Path(pretrained).parent.name}.py')
    return Config.fromfile(path)


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_recipe_takes_the_teacher_of_its_pretraining(path, tmp_path):
    cfg = load_config(str(path))
    settings = pretraining_of(cfg.pretrained).model
    for head in (settings.head, settings.region_head):
        head.update(in_channels=64, out_channels=4, hidden_channels=8)
    init_default_scope('mmpretrain')
    # Narrow; windows, norms and all else are the recipes' own.
    settings.backbone.arch = cfg.model.backbone.arch = ARCH
    source = randomise(MODELS.build(settings))
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'pre.pth')
    model = SimpleNamespace(backbone=MODELS.build(cfg.model.backbone))
    backbone, _ = started(model, cfg, str(tmp_path / 'pre.pth'))
    assert_same(backbone, source.teacher.backbone)
    norms = [m for m in backbone.modules() if isinstance(m, nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-6}


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_header_names_the_run_without_regions_as_the_control(path):
    cfg = load_config(str(path))
    (control,) = re.findall(r'pretrained=(work_dirs/\S+)', path.read_text())
    ours, theirs = (pretraining_of(p).to_dict() for p in (cfg.pretrained, control))
    assert ours['model'].pop('region_head') and not theirs['model'].pop('region_head')
    assert ours == theirs
