"""The COCO recipes: sizes, checkpoints, optimisers, a step, and data that is wrong."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_pictures import write_coco
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from repository import ROOT
from small_runs import losses, scores, small_pictures, train, without_memory
from tiny_configs import tiny
from torch import nn

from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.engine.runner import TaskRunner
from mmtlalign.errors import InputError
from mmtlalign.validation.coco import (
    check_coco_data,
    explain_coco_file,
)
from mmtlalign.validation.config import load_config

pytest.importorskip('mmcv.ops', reason='detection needs the compiled mmcv')
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

ONE_HEAD = 'detection/mask-rcnn_swin-tiny-p4-w7_tlalign-pre_fpn_amp-ms-crop-1x_coco.py'
CASCADE = 'quickstart/cascade-mask-rcnn_swin-mini-p4-w3_fpn_digits-96x96.py'
CONFIGS = {p.stem: p for p in sorted((ROOT / 'configs/detection').glob('*.py'))}
# Millions of parameters: official tables of Swin (spec of the 3x and 1x recipes) and
# of PVT; ViTDet's 111 for ViT-B. The others are counted from these: a DeiT-S is 64
# smaller than a DeiT-B with its pyramid, the head of a cascade is 36.5 larger.
SIZES = {
    'cascade-mask-rcnn_swin-tiny': 86,
    'cascade-mask-rcnn_swin-small': 107,
    'cascade-mask-rcnn_swin-base': 145,
    'mask-rcnn_swin-tiny': 48,
    'mask-rcnn_swin-small': 69,
    'mask-rcnn_pvt-small': 44,
    'mask-rcnn_deit-base': 111,
    'mask-rcnn_deit-small': 44,
    'cascade-mask-rcnn_deit-base': 147,
    'cascade-mask-rcnn_deit-small': 81,
    'cascade-mask-rcnn_dhvt-small': 84,
}
DROP_PATHS = {'swin-base': 0.3, 'swin': 0.2, 'pvt': 0.1, 'deit': 0.1, 'dhvt': 0.1}


@pytest.fixture(autouse=True)
def _without_a_line_for_every_parameter():
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


def begin(name):
    """'mask-rcnn_pvt-small' of a name of a config."""
    detector, backbone = name.split('_')[:2]
    return f'{detector}_{"-".join(backbone.split("-")[:2])}'


def build(cfg_model, scope):
    """A model without memory behind its weights."""
    init_default_scope(scope)
    return without_memory(cfg_model)


@pytest.fixture(scope='module', params=CONFIGS)
def built(request):
    cfg = load_config(str(CONFIGS[request.param]))  # every key is read
    return request.param, cfg, build(cfg.model, 'mmdet')


def pretraining_of(cfg):
    """The config that writes the file which ``pretrained`` names."""
    (path,) = (ROOT / 'configs').glob(f'*/{Path(cfg.pretrained).parent.name}.py')
    return Config.fromfile(path)


def test_every_detector_of_the_issue_is_there():
    schedules = {}
    for name in CONFIGS:
        schedules.setdefault(begin(name), set()).add(name.split('-')[-1][:-5])
    both = {'1x', '3x'}
    wanted = {f'cascade-mask-rcnn_swin-{s}': both for s in ('tiny', 'small', 'base')}
    wanted |= {f'mask-rcnn_swin-{s}': both for s in ('tiny', 'small')}
    wanted |= {f'{d}mask-rcnn_deit-{s}': {'36e'} for d in ('', 'cascade-')
               for s in ('small', 'base')}  # fmt: skip
    wanted |= {'mask-rcnn_pvt-small': {'1x'}, 'cascade-mask-rcnn_dhvt-small': {'3x'}}
    assert schedules == wanted


def test_size_is_the_official_one(built):
    name, _, model = built
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6) == SIZES[begin(name)]


def test_backbone_is_that_of_pretraining(built):
    """Names and shapes; norms keep their eps (pitfall 13)."""
    name, cfg, model = built
    given = build(pretraining_of(cfg).model.backbone, 'mmpretrain')
    theirs = {n: v.shape for n, v in given.state_dict().items()}
    ours = {n: v.shape for n, v in model.backbone.state_dict().items()}
    new = {n for n in ours if n.split('.')[0] in ('norm0', 'norm1', 'norm2')}
    left_out = theirs.keys() - ours.keys()
    assert ours.keys() - theirs.keys() == (new if 'swin' in name else set())
    positions = 'pos_embed'
    if 'deit' in name:
        assert left_out == {'cls_token'}
    elif 'pvt' in name:
        positions = 'stages.3.positions.pos_embed'
        begins = ('norm.', 'stages.3.positions.cls_token')
        assert left_out == {n for n in theirs if n.startswith(begins)}
    else:
        assert not left_out
    differing = {n for n in ours.keys() & theirs.keys() if ours[n] != theirs[n]}
    assert differing == ({positions} if 'deit' in name or 'pvt' in name else set())
    for n in differing:  # one position less, that of the class token
        assert ours[n][1] == theirs[n][1] - 1
    eps = [{n: m.eps for n, m in net.named_modules() if hasattr(m, 'eps')}
           for net in (given, model.backbone)]  # fmt: skip
    assert all(eps[0][n] == eps[1][n] for n in eps[0].keys() & eps[1].keys())
    assert set(eps[1].values()) <= set(eps[0].values())


def test_stochastic_depth_is_that_of_the_recipe(built):
    """It is not in a checkpoint: every dense config sets its own (pitfall 9)."""
    name, _, model = built
    wanted = next(rate for part, rate in DROP_PATHS.items() if part in name)
    rates = [getattr(module, 'drop_prob', 0) for module in model.backbone.modules()]
    assert max(rates) == pytest.approx(wanted)


def test_schedule_is_what_the_name_says(built):
    name, cfg, _ = built
    epochs = {'1x': 12, '3x': 36, '36e': 36}[name.split('-')[-1][:-5]]
    steps = cfg.param_scheduler[1]
    assert cfg.train_cfg.max_epochs == steps.end == epochs
    drops = {'1x': [8, 11], '3x': [27, 33], '36e': [32, 35]}
    assert steps.milestones == drops[name.split('-')[-1][:-5]]
    assert ('amp' in name) is (cfg.optim_wrapper.type == 'AmpOptimWrapper')
    # Another batch keeps the rate unless --auto-scale-lr asks (pitfall 18).
    assert not cfg.get('auto_scale_lr', {}).get('enable', False)
    assert cfg.val_evaluator.type == 'mmtlalign.CocoMetric'
    loads = [t for t in cfg.train_dataloader.dataset.pipeline if 'with_mask' in t]
    assert loads[0].with_mask


def groups_of(name, cfg, model):
    """Name of a parameter -> (rate, decay)."""
    init_default_scope('mmdet')
    settings = dict(cfg.optim_wrapper, type='OptimWrapper')
    wrapper = build_optim_wrapper(model, settings)
    names = {id(parameter): n for n, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


def test_optimiser_groups_are_those_of_the_recipe(built):
    name, cfg, model = built
    groups = groups_of(name, cfg, model)
    assert groups.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    full = cfg.optim_wrapper.optimizer.weight_decay
    assert full == (0.1 if 'deit' in name else 1e-4 if 'pvt' in name else 0.05)
    norms = {
        f'{path}.{leaf}'
        for path, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        # The batch norms of heads decay, as in the recipes.
        or (path.startswith('backbone.') and 'BatchNorm' in type(module).__name__)
        for leaf, _ in module.named_parameters(recurse=False)
    }
    if 'pvt' in name:
        free = set()  # mmdet's recipe decays everything
    else:
        tables = ('pos_embed', 'cls_token', 'relative_position_bias_table')
        free = norms | {n for n in groups if n.endswith(tables)}
    assert {n for n, (_, decay) in groups.items() if decay == 0} == free
    assert {decay for _, decay in groups.values()} <= {0.0, full}
    if 'deit' not in name:
        assert {rate for rate, _ in groups.values()} == {1e-4}
        return
    rates = {n: rate for n, (rate, _) in groups.items()}
    layers = [rates[f'backbone.layers.{i}.attn.qkv.weight'] for i in range(12)]
    assert layers == pytest.approx([1e-4 * 0.7 ** (12 - i) for i in range(12)])
    for n in ('pos_embed', 'patch_embed.projection.weight'):
        assert rates[f'backbone.{n}'] == pytest.approx(1e-4 * 0.7**13)
    outside = {rate for n, rate in rates.items() if not n.startswith('backbone.')}
    assert outside | {rates['backbone.ln1.weight']} == {1e-4}
    # A step of 64 pictures, without batch norms to notice that they come in parts.
    assert (
        8 * cfg.train_dataloader.batch_size * cfg.optim_wrapper['accumulative_counts']
        == 64
    )
    assert not [m for m in model.modules() if 'BatchNorm' in type(m).__name__]


@pytest.mark.parametrize('name', [n for n in CONFIGS if 'deit-small' in n])
def test_large_scale_jitter_crops_and_fills_nothing_up(name):
    cfg = load_config(str(CONFIGS[name]))
    resize, crop = cfg.train_dataloader.dataset.pipeline[2:4]
    assert tuple(resize.scale) == tuple(crop.crop_size) == (1024, 1024)
    assert tuple(resize.ratio_range) == (0.1, 2.0) and resize.keep_ratio
    for split in ('val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.pipeline[1].scale == (1024, 1024)
    # A jittered picture may be smaller than every anchor, which ends a run that takes
    # anchors inside the picture alone.
    assert cfg.model.train_cfg.rpn.allowed_border == -1


@pytest.mark.parametrize('name', ['my_twins', 'my_data'])
def test_configs_of_the_page_load_and_build(name, tmp_path):
    page = (ROOT / 'docs/detection.md').read_text()
    blocks = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    (text,) = [b for b in blocks if f'{name}.py' in b.splitlines()[0]]
    path = tmp_path / f'{name}.py'
    path.write_text(text.replace("'./", f"'{ROOT}/configs/detection/"))
    cfg = load_config(str(path))
    model = build(cfg.model, 'mmdet')
    if name == 'my_twins':
        # A Twins of our recipes is in it whole.
        recipe = Config.fromfile(ROOT / 'configs/_base_/models/twins_pcpvt_small.py')
        given = build(recipe.model.backbone, 'mmpretrain').state_dict()
        own = model.backbone.state_dict()
        assert given.keys() == own.keys() and 'new_layers' not in cfg.custom_hooks[0]
    else:
        heads = model.roi_head.bbox_head, model.roi_head.mask_head
        assert {head.num_classes for head in heads} == {2}
        for split in ('train', 'val', 'test'):
            dataset = cfg[f'{split}_dataloader'].dataset
            assert dataset.data_root == 'data/pets'
            assert dataset.metainfo.classes == ('cat', 'dog')
        assert cfg.test_evaluator.ann_file.startswith('data/pets/')


# ------------------------------------------------------------ small and real


def narrow(cfg, width=32):
    """Narrow heads and few boxes, in place."""
    model = cfg.model
    model.neck.out_channels = width
    model.rpn_head.update(in_channels=width, feat_channels=width)
    roi = model.roi_head
    for part in (roi.bbox_roi_extractor, roi.mask_roi_extractor):
        part.out_channels = width
    heads = roi.bbox_head if isinstance(roi.bbox_head, list) else [roi.bbox_head]
    for head in heads:
        head.update(in_channels=width, fc_out_channels=width)
        if 'conv_out_channels' in head:
            head.conv_out_channels = width
    roi.mask_head.update(in_channels=width, conv_out_channels=width)
    stages = model.train_cfg.rcnn
    for stage in stages if isinstance(stages, list) else [stages]:
        stage.sampler.num = 16
    model.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=50)
    model.test_cfg.rpn.update(nms_pre=50, max_per_img=8)
    # Untrained, no box is sure enough to be kept, and nothing is scored.
    model.test_cfg.rcnn.score_thr = 0.0


def small(name):
    """A config by the beginning of its name, with a narrow backbone."""
    (path,) = [p for n, p in CONFIGS.items() if n.startswith(name)]
    cfg = Config.fromfile(path)
    narrow(cfg)
    if 'deit' in name:
        arch = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)
        cfg.model.backbone.update(arch=arch, window_size=3, global_layers=(1, 3))
        cfg.model.backbone.with_cp = True
        cfg.model.neck.in_channels = 32
        classifier = dict(type='mmpretrain.VisionTransformer', arch=arch)
    else:
        zoo = dict(
            embed_dims=(8, 16, 24, 32), num_layers=(1, 1, 1, 1), num_heads=(1, 1, 2, 2),
            mlp_ratios=(2, 2, 2, 2), sr_ratios=(8, 4, 2, 1), patch_sizes=(4, 2, 2, 2),
        )  # fmt: skip
        cfg.model.backbone.arch = zoo
        cfg.model.neck.in_channels = [8, 16, 24, 32]
        classifier = dict(type='mmtlalign.PVT', arch=zoo)
    return cfg, classifier


@pytest.mark.parametrize('name', ['mask-rcnn_deit-small', 'mask-rcnn_pvt-small'])
def test_trains_and_evaluates_from_a_classifier(name, tmp_path):
    write_coco(tmp_path / 'data')
    cfg, classifier = small(name)
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    backbone = MODELS.build(classifier)
    backbone.init_weights()
    given = {f'backbone.{n}': v for n, v in backbone.state_dict().items()}
    torch.save(dict(state_dict=given), tmp_path / 'pre.pth')
    cfg.pretrained = str(tmp_path / 'pre.pth')
    cfg.merge_from_dict({
        f'{split}_dataloader.dataset.data_root': str(tmp_path / 'data')
        for split in ('train', 'val', 'test')
    })  # fmt: skip
    for split in ('val', 'test'):
        cfg[f'{split}_evaluator'].ann_file = str(
            tmp_path / 'data/annotations/instances_val2017.json'
        )
    small_pictures(cfg, 64)
    if 'deit' in name:
        cfg.train_dataloader.dataset.pipeline[3].crop_size = (96, 96)
        cfg.train_dataloader.dataset.pipeline[2].ratio_range = (0.3, 0.5)
        cfg.optim_wrapper.accumulative_counts = 1
    runner = train(cfg, tmp_path / 'run', iterations=1, lr=0.0)
    assert np.isfinite(losses(tmp_path / 'run')).all()
    found = scores(tmp_path / 'run')
    assert 0 <= found['coco/bbox_mAP'] <= 1 and 0 <= found['coco/segm_mAP'] <= 1
    # At rate 0 the backbone is still the classifier's.
    own = dict(runner.model.backbone.named_parameters())
    for n in own:
        if not n.endswith('pos_embed'):
            assert own[n].equal(given[f'backbone.{n}'])
    # A parameter without gradient stops distributed training (pitfall 20).
    model = runner.model.train()
    data = model.data_preprocessor(next(iter(runner.train_dataloader)), training=True)
    model.parse_losses(model(**data, mode='loss'))[0].backward()
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    assert not [n for n, p in trained if p.grad is None]


@pytest.mark.parametrize('name', [ONE_HEAD, CASCADE])
def test_a_batch_without_any_object(name, tmp_path):
    """Crops and `filter_empty_gt=False` leave such."""
    init_default_scope('mmdet')
    model = MODELS.build(tiny(name, tmp_path).model).train()
    samples = []
    for _ in range(2):
        objects = InstanceData(
            bboxes=HorizontalBoxes(torch.zeros(0, 4)),
            labels=torch.zeros(0, dtype=torch.long),
            masks=BitmapMasks([], 64, 64),
        )
        info = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0))
        sample = DetDataSample(gt_instances=objects, ignored_instances=InstanceData())
        sample.set_metainfo(info)
        sample.ignored_instances.bboxes = HorizontalBoxes(torch.zeros(0, 4))
        samples.append(sample)
    batch = dict(inputs=[torch.zeros(3, 64, 64).byte()] * 2, data_samples=samples)
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert loss.isfinite()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads and all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize('name', ['mask-rcnn_swin-tiny', 'mask-rcnn_pvt-small'])
def test_small_classifier_loads_whole(name, tmp_path):
    (path,) = [p for n, p in CONFIGS.items() if n.startswith(name) and '1x' in n]
    cfg = Config.fromfile(path)
    if 'swin' in name:
        cfg.model.backbone.arch = dict(
            embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]
        )
        classifier = dict(type='SwinTransformer', arch=cfg.model.backbone.arch)
    else:
        cfg, classifier = small(name)
    init_default_scope('mmpretrain')
    given = MODELS.build(classifier).state_dict()
    for tensor in given.values():
        if tensor.is_floating_point():
            tensor.normal_()
    torch.save(
        dict(state_dict={f'backbone.{n}': v for n, v in given.items()}),
        tmp_path / 'pre.pth',
    )
    backbone = MODELS.build(cfg.model.backbone)
    (hook,) = cfg.custom_hooks
    load_backbone(backbone, str(tmp_path / 'pre.pth'), hook.get('new_layers', ()))
    own = backbone.state_dict()
    for n in own.keys() & given.keys():
        extra = given[n].numel() != own[n].numel()
        assert own[n].equal(given[n][:, 1:] if extra else given[n])
        assert extra == (n == 'stages.3.positions.pos_embed')


@pytest.mark.parametrize('name, sizes', [
    ('mask-rcnn_pvt-small', [(50, 83), (25, 41), (12, 20), (6, 10), (3, 5)]),
    ('mask-rcnn_deit-small', [(52, 84), (26, 42), (13, 21), (6, 10), (3, 5)]),
])  # fmt: skip
def test_any_picture_becomes_five_maps(name, sizes):
    """Sides that no window, patch or reduction divides (pitfall 12)."""
    cfg, _ = small(name)
    init_default_scope('mmdet')
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    with torch.no_grad():
        maps = model.extract_feat(torch.randn(1, 3, 200, 333))
    assert [tuple(m.shape[-2:]) for m in maps] == sizes


# ------------------------------------------------------------- data that is wrong


def coco_file(tmp_path, change=None):
    """A folder like COCO whose training file ``change`` has edited."""
    write_coco(tmp_path)
    path = tmp_path / 'annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    if change:
        change(content)
    path.write_text(json.dumps(content))
    return path


def loader_config(tmp_path, **dataset):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    ]
    settings = dict(
        type='CocoDataset', data_root=str(tmp_path),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'), filter_cfg=dict(filter_empty_gt=True),
        pipeline=pipeline,
    )  # fmt: skip
    return dict(
        batch_size=1, num_workers=0, dataset={**settings, **dataset},
        sampler=dict(type='DefaultSampler'),
    )  # fmt: skip


def fault(tmp_path, model=None, **dataset):
    """The message for a data loader, from building it or from the check after."""
    init_default_scope('mmdet')
    with pytest.raises(InputError) as error:
        loader = TaskRunner.build_dataloader(loader_config(tmp_path, **dataset))
        check_coco_data(loader.dataset, model)
    return str(error.value)


def rename(content):
    for category in content['categories']:
        category['name'] = category['name'].upper()


def shift(content):
    content['categories'] = content['categories'][:-2]


def without_masks(content):
    for annotation in content['annotations']:
        del annotation['segmentation']


def no_objects(content):
    content['annotations'] = []


def only_crowds(content):
    for annotation in content['annotations']:
        annotation['iscrowd'] = 1


@pytest.mark.parametrize('change, said', [
    (lambda c: c['images'].clear(), "'images' is empty; set ann_file"),
    (no_objects, "2 images and no annotation: its list 'annotations'"),
    (lambda c: c.pop('annotations'), '2 images and no annotation'),
    (rename, "no category for 80 of the 80 classes .* called ..PERSON"),
    (shift, r"no category for 2 of the 80 classes .*'hair drier', 'toothbrush'"),
    (without_masks, '2 of 2 checked objects have no mask, .*with_mask=False'),
    (lambda c: c['annotations'][0].update(segmentation=[]), '1 of 2 checked objects'),
    (only_crowds, 'without a single object that counts'),
    (lambda c: (c.pop('images'), c.pop('categories')), r"holds \['annotations'\]"),
])  # fmt: skip
def test_wrong_file_is_explained(change, said, tmp_path):
    path = coco_file(tmp_path, change)
    text = fault(tmp_path)
    assert str(path) in text
    assert re.search(said, text)


def test_filter_that_leaves_nothing_is_explained(tmp_path):
    coco_file(tmp_path)
    filter_cfg = dict(filter_empty_gt=True, min_size=500)
    text = fault(tmp_path, filter_cfg=filter_cfg)
    assert "'min_size': 500} removes all of them" in text


def test_background_alone_is_explained(tmp_path):
    coco_file(tmp_path, no_objects)
    assert 'there is nothing to learn' in fault(tmp_path, filter_cfg=None)


def test_file_cut_short_is_explained(tmp_path):
    path = coco_file(tmp_path)
    path.write_text(path.read_text()[:100])
    assert 'not a JSON file, or is cut short' in fault(tmp_path)


def test_mask_head_without_masks_in_the_pipeline(tmp_path):
    coco_file(tmp_path)
    model = nn.Module()
    model.roi_head = nn.Module()
    model.roi_head.mask_head = nn.Identity()
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    text = fault(tmp_path, model, pipeline=pipeline)
    assert 'set with_mask=True of LoadAnnotations' in text
    model.roi_head.mask_head = None
    init_default_scope('mmdet')
    settings = loader_config(tmp_path, pipeline=pipeline)['dataset']
    check_coco_data(DATASETS.build(settings), model)


def test_right_file_passes_also_in_wrappers(tmp_path):
    coco_file(tmp_path)
    init_default_scope('mmdet')
    settings = loader_config(tmp_path)['dataset']
    check_coco_data(DATASETS.build(settings))
    wrapped = dict(type='RepeatDataset', times=2, dataset=settings)
    check_coco_data(DATASETS.build(wrapped))
    assert explain_coco_file(wrapped, empty=False) == ''
    with pytest.raises(InputError, match='have no mask'):
        coco_file(tmp_path / 'b', without_masks)
        wrapped['dataset'] = dict(settings, data_root=str(tmp_path / 'b'))
        check_coco_data(DATASETS.build(wrapped))


def test_our_runner_checks_what_any_config_reads(tmp_path):
    coco_file(tmp_path, without_masks)
    cfg, _ = small('mask-rcnn_pvt-small')
    cfg.train_dataloader = dict(loader_config(tmp_path))
    cfg.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
    cfg.update(test_dataloader=None, test_cfg=None, test_evaluator=None)
    cfg.update(work_dir=str(tmp_path / 'run'), pretrained=None)
    cfg.log_level = 'WARNING'
    with pytest.raises(InputError, match='2 of 2 checked objects have no mask'):
        TaskRunner.from_cfg(cfg).train()


def test_pictures_without_objects_may_be_tested(tmp_path):
    coco_file(tmp_path, no_objects)
    init_default_scope('mmdet')
    check_coco_data(DATASETS.build(loader_config(tmp_path, test_mode=True)['dataset']))


def test_other_data_sets_and_errors_are_left_alone(monkeypatch):
    for settings in (
        dict(type='mmpretrain.CIFAR10', ann_file='x'),
        dict(type='CocoDataset', ann_file='nowhere.json'),
    ):
        assert explain_coco_file(settings, empty=True) == ''
    check_coco_data(torch.utils.data.TensorDataset(torch.zeros(1)))

    def broken(dataloader):
        raise KeyError('mine')

    monkeypatch.setattr(Runner, 'build_dataloader', broken)
    with pytest.raises(KeyError, match='mine'):
        TaskRunner.build_dataloader(dict(dataset=dict(type='CocoDataset')))
