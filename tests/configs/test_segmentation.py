"""Segmentation recipes: data, settings, geometry, and the test at many scales."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from small_runs import without_memory
from tiny_segmentation import (
    CONFIGS,
    DATA,
    SEGMENTATION,
    answer,
    classes_in_use,
    config,
    knows_the_answer,
    shrink,
    small_data,
    write_data,
)

from mmtlalign.datasets.transforms import IgnoreLabels
from mmtlalign.validation.config import load_config

VIT_RECIPES = [n for n in CONFIGS if n.startswith(('deit', 'lvvit'))]
# Stochastic depth, by the beginning of the file name.
DROP_PATH = {'swin': 0.3, 'caswin': 0.3, 'lvvit-medium': 0.2, 'lvvit-large': 0.5}
SGD_RECIPES = [n for n in CONFIGS if '_segmenter-' in n or '_linear_' in n]
SHORT = dict(ade20k=512, pascal_context=520, pascal_context_59=520, camvid=360)
RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def pretraining(cfg):
    """The recipe that writes the file which ``pretrained`` names."""
    name = Path(cfg.pretrained).parent.name
    (path,) = (CONFIGS[next(iter(CONFIGS))].parents[1]).glob(f'*/{name}.py')
    return Config.fromfile(path)


# ------------------------------------------------------------------- settings


@pytest.mark.parametrize('name', CONFIGS)
def test_header_names_the_matched_control(name):
    text = CONFIGS[name].read_text()
    (control,) = re.findall(r'--cfg-options (pretrained=\S+)', text)[1:]
    cfg = config(name)
    other = config(name, dict([control.split('=')]))
    ours, theirs = (pretraining(c).to_dict() for c in (cfg, other))
    assert Path(other.pretrained).name == Path(cfg.pretrained).name
    method = Path(cfg.pretrained).parent.name.split('_')[0]
    controls = {'token-label': 'mixtoken_', 'esvit': 'dino_'}
    control = controls.get(method, 'cutmix_')
    assert Path(other.pretrained).parent.name.startswith(control)
    # Pictures of a run with token labels come with maps.
    labels = method == 'token-label'
    data = [] if labels else ['train_dataloader']
    for part in ('optim_wrapper', 'train_cfg', *data):
        assert ours[part] == theirs[part]
    assert ours['model']['backbone'] == theirs['model']['backbone']


@pytest.mark.parametrize('name', CONFIGS)
def test_model_fits_the_crop_the_data_and_the_pretraining(name):
    cfg = config(name)
    model, given = cfg.model, pretraining(cfg).data_preprocessor
    (crop,) = [
        step.crop_size
        for step in cfg.train_dataloader.dataset.pipeline
        if step.type == 'RandomCrop'
    ]
    # Segmenter recipes of mmseg normalise with 127.5, wrong for DeiT.
    assert model.data_preprocessor.mean == given.mean
    assert model.data_preprocessor['std'] == given['std']
    # The same switch: `to_rgb` in mmpretrain, `bgr_to_rgb` in mmseg.
    assert model.data_preprocessor.bgr_to_rgb is given.to_rgb is True
    filled = model.data_preprocessor.size
    patch = 16 if name in VIT_RECIPES else 1
    assert filled == tuple(-(-side // patch) * patch for side in crop)
    if name in VIT_RECIPES:
        assert model.backbone.img_size == filled[0]
    if model.test_cfg.mode == 'slide':
        assert model.test_cfg.crop_size == crop
    # Drop path is not in a checkpoint; the dense recipes say their own.
    (rate,) = [r for n, r in DROP_PATH.items() if name.startswith(n)] or [0.1]
    assert model.backbone.drop_path_rate == rate
    # Nothing of label tracing or mixing is left in the dense model.
    assert model.type == 'EncoderDecoder' and not model.train_cfg
    # `fp16 = dict(...)` of older recipes has no effect; --amp has.
    assert 'fp16' not in cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_file_name_says_batch_and_iterations(name):
    cfg = config(name)
    gpus, images, thousands = re.search(r'_(\d)xb(\d+)-(\d+)k_', name).groups()
    iterations = 1000 * int(thousands)
    # mmseg's vit_deit-s16_upernet_8xb2-160k trains for 80k.
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == iterations
    assert cfg.train_dataloader.batch_size == int(images)
    # The learning rate is for this batch; only --auto-scale-lr changes it.
    assert cfg.auto_scale_lr.base_batch_size == int(gpus) * int(images)
    assert not cfg.auto_scale_lr.enable


@pytest.mark.parametrize('name', CONFIGS)
def test_parameters_without_decay(name):
    cfg = config(name)
    model = without_memory(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decay = {
        id(parameter): group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    free = {n for n, p in model.named_parameters() if decay.get(id(p)) == 0}
    everything = {n for n, p in model.named_parameters() if id(p) in decay}
    if name in SGD_RECIPES:
        assert free == everything and cfg.optim_wrapper.optimizer.type == 'SGD'
        assert 'clip_grad' not in cfg.optim_wrapper
        return
    norms = {
        f'{path}.{leaf}'
        for path, module in model.named_modules()
        if path.startswith(('backbone.', 'neck.')) and 'Norm' in type(module).__name__
        for leaf in ('weight', 'bias')
    }
    tables = ('pos_embed', 'cls_token', 'relative_position_bias_table')
    assert free == norms & everything | {n for n in everything if n.endswith(tables)}


def test_mask_decoder_is_that_of_the_authors():
    model = without_memory(config(DATA['ade20k']).model)
    head = model.decode_head
    assert len(head.layers) == 2
    for layer in head.layers:
        assert layer.attn.attn.dropout == layer.attn.proj_drop.p == 0.1
        assert getattr(layer.attn.dropout_layer, 'drop_prob', 0.0) == 0.0
    # DeiT-S with 32x32 + 1 positions; two of its layers, three projections, a vector
    # for each class, two norms.
    encoder = 21_665_664 + (32 * 32 - 14 * 14) * 384
    decoder = 2 * 1_774_464 + 3 * 384 * 384 + 384 + 150 * 384 + 2 * 384 + 2 * 150
    assert sum(p.numel() for p in model.parameters()) == encoder + decoder


# ----------------------------------------------------------------------- data


@pytest.mark.parametrize('kind', DATA)
def test_labels_are_classes_or_ignored(kind, tmp_path):
    cfg = small_data(kind, tmp_path)
    wanted = {*classes_in_use(cfg), 255}
    plain, augmented = cfg.val_dataloader.dataset, copy.deepcopy(cfg.test_dataloader)
    augmented.dataset.pipeline = cfg.tta_pipeline
    for dataset in (cfg.train_dataloader.dataset, plain, augmented.dataset):
        dataset = DATASETS.build(dataset)
        assert len(dataset) == 2
        assert len(dataset.metainfo['classes']) == cfg.model.decode_head.num_classes
        samples = [dataset[i % 2]['data_samples'] for i in range(8)]
        samples = [s for one in samples for s in (one if type(one) is list else [one])]
        maps = [sample.gt_sem_seg.data for sample in samples]
        assert set(torch.cat([m.flatten() for m in maps]).tolist()) == wanted


@pytest.mark.parametrize('kind', DATA)
def test_training_learns_neither_void_nor_what_is_filled_up(kind, tmp_path):
    cfg = small_data(kind, tmp_path)
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset.pipeline = [
        step for step in pipeline if step.type != 'PhotoMetricDistortion'
    ]
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    model = MODELS.build(knows_the_answer(cfg).model)
    model.load_state_dict(answer(cfg))

    def loss(*numbers):
        samples = [dataset[number] for number in numbers]
        batch = {key: [sample[key] for sample in samples] for key in samples[0]}
        batch = model.data_preprocessor(batch, training=True)
        assert batch['inputs'].shape[-2:] == tuple(cfg.model.data_preprocessor.size)
        return model(**batch, mode='loss')['decode.loss_ce']

    # The mean is over all pixels, and edges of classes are blurred.
    assert loss(0, 1, 0, 1) < 0.5
    if kind == 'camvid':  # the check can fail: void as a class is an error
        steps = dataset.pipeline.transforms
        (step,) = [step for step in steps if isinstance(step, IgnoreLabels)]
        steps.remove(step)
        with pytest.raises((IndexError, RuntimeError), match='11'):
            loss(0, 1, 0, 1)


def test_ignoring_no_label_is_an_error():
    with pytest.raises(ValueError, match='ignores nothing'):
        IgnoreLabels(labels=())


def test_only_the_named_labels_are_ignored():
    labels = np.array([[0, 11], [3, 12]], np.uint8)
    out = IgnoreLabels(labels=(11, 12)).transform(dict(gt_seg_map=labels.copy()))
    assert out['gt_seg_map'].tolist() == [[0, 255], [3, 255]]


@pytest.mark.real_data
def test_real_camvid(unpack):
    cfg = config(DATA['camvid'], dict(data_root=str(unpack('camvid480'))))
    train, val = (
        DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val')
    )
    assert (len(train), len(val)) == (367, 101)
    height = {name: [] for name in val.metainfo['classes']}
    for number in range(0, 101, 20):
        sample = val[number]
        assert sample['inputs'].shape == (3, 360, 480)
        label = sample['data_samples'].gt_sem_seg.data[0]
        assert set(label.unique().tolist()) <= {*range(11), 255}
        for name, own in zip(height, range(11)):
            height[name] += torch.nonzero(label == own)[:, 0].tolist()
    means = {name: np.mean(rows) for name, rows in height.items()}
    assert means['Sky'] < means['Building'] < means['Car'] < means['Road']


# ----------------------------------------------------------- multi-scale test


def with_tta():
    """Every shipped config that can be tested at many scales."""
    for path in sorted(SEGMENTATION.parent.rglob('*.py')):
        if '_base_' not in path.parts and 'plans' not in path.parts:
            cfg = Config.fromfile(path)
            if 'tta_pipeline' in cfg:
                yield pytest.param(cfg, id=path.stem)


@pytest.mark.parametrize('cfg', list(with_tta()))
def test_scales_of_tta_are_ratios_of_the_configs_own_test_size(cfg):
    init_default_scope(cfg.default_scope)
    picture = np.zeros((360, 480, 3), np.uint8)

    def short_side(step):
        return len(Compose([step])(dict(img=picture))['img'])

    pipeline = cfg.test_dataloader.dataset.pipeline
    (resize,) = [step for step in pipeline if step.type == 'Resize']
    scales, flips, *rest = cfg.tta_pipeline[1].transforms
    sizes = [short_side(step) for step in scales]
    assert sizes == [round(ratio * short_side(resize)) for ratio in RATIOS]
    assert [flip.prob for flip in flips] == [0.0, 1.0]
    # What follows the resize is what the test does.
    behind = pipeline[pipeline.index(resize) + 1 :]
    assert [step for (step,) in rest] == list(behind)


@pytest.mark.parametrize('kind', DATA)
def test_short_side_is_that_of_the_source(kind):
    (resize,) = [s for s in config(DATA[kind]).test_pipeline if s.type == 'Resize']
    picture = np.zeros((375, 500, 3), np.uint8)
    assert len(Compose([resize])(dict(img=picture))['img']) == SHORT[kind]


def test_own_data_as_in_the_docs(tmp_path):
    page = CONFIGS[DATA['camvid']].parents[2] / 'docs/segmentation.md'
    (block,) = re.findall(r'```python\n(.*?)```', page.read_text(), re.DOTALL)
    file = tmp_path / 'own.py'
    file.write_text(block.replace("'./", f"'{CONFIGS[DATA['camvid']].parent}/"))
    write_data('camvid', tmp_path / 'data', [0, 1, 2, 2])
    cfg = load_config(str(file), dict(data_root=str(tmp_path / 'data')))
    cfg.dump(tmp_path / 'work.py')
    load_config(str(tmp_path / 'work.py'))  # as a test of the run reads it
    init_default_scope('mmseg')
    shrink(cfg)
    for split in ('train', 'val', 'test'):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        labels = dataset[0]['data_samples'].gt_sem_seg.data.unique()
        assert set(labels.tolist()) <= {0, 1, 2, 255}
        assert dataset.metainfo['classes'] == ('wall', 'floor', 'door')
    model = without_memory(cfg.model)
    assert model.decode_head.num_classes == model.auxiliary_head.num_classes == 3
