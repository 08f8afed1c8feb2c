"""Data that do not fit the model stop a run before it learns nonsense."""

import functools
import importlib
import json
import logging
import re
import time
import types

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from repository import ROOT
from tiny_run import run_tool, train_to_end, write_config, write_images

from mmtlalign.engine.console import import_host
from mmtlalign.engine.runner import TaskRunner
from mmtlalign.errors import InputError
from mmtlalign.validation import masks
from mmtlalign.validation.classes import HEADS
from mmtlalign.validation.data import check_data
from mmtlalign.validation.samples import VOID_MASKS, BrokenSampleError
from mmtlalign.validation.segmentation import check_ignored_ids, check_zero_labels

CONFIGS = ROOT / 'configs'
LOGGER = logging.getLogger('test_data_checks')

SEGMENTATION = """
default_scope = 'mmseg'
data_root = '{data}/'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 32)),
    backbone=dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32),
        img_size=32,
        patch_size=8,
        out_type='featmap',
    ),
    decode_head=dict(
        type='FCNHead', in_channels=16, channels=16, num_convs=0, num_classes=3,
        concat_input=False, norm_cfg=dict(type='BN'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
zero = False
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        metainfo=dict(classes=('a', 'b', 'c'), palette=[[0, 0, 0]] * 3),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        img_suffix='.png',
        reduce_zero_label=zero,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', reduce_zero_label=zero),
            dict(type='Resize', scale=(32, 32)),
            dict(type='RandomCrop', crop_size=(32, 32)),
            dict(type='PackSegInputs'),
        ],
    ),
)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
"""


def use_host(scope):
    """Look names up in a host, as the tools do."""
    import_host(scope)
    importlib.import_module(f'{scope}.models')
    init_default_scope(scope)


def write_masks(folder, mask):
    """Two images of 32x32 with this mask each, (H, W) or a list of two masks."""
    masks = mask if isinstance(mask, list) else [mask, mask]
    for name in ('images', 'masks'):
        (folder / name).mkdir(parents=True)
    for number, one in enumerate(masks):
        image = np.zeros((32, 32, 3), np.uint8)
        cv2.imwrite(str(folder / f'images/{number}.png'), image)
        cv2.imwrite(str(folder / f'masks/{number}.png'), one)
    return folder


def ids(*values, shape=(32, 32), dtype=np.uint8):
    """A mask of stripes of these ids."""
    return np.resize(np.array(values, dtype), shape)


@pytest.fixture
def segment(monkeypatch, tmp_path):
    """Train the tiny segmentor on masks; return the message it ends with."""

    def run(mask, *options, reduce_zero_label=False):
        data = write_masks(tmp_path / 'data', mask)
        config = tmp_path / f'seg_{time.monotonic_ns()}.py'
        text = SEGMENTATION.format(data=data)
        config.write_text(text.replace('zero = False', f'zero = {reduce_zero_label}'))
        args = (config, '--work-dir', tmp_path / 'work')
        if options:
            args += ('--cfg-options', *options)
        try:
            run_tool(monkeypatch, 'train', *args)
        except SystemExit as stop:
            return str(stop.code)

    return run


def test_good_masks_train(segment):
    assert segment(ids(0, 1, 2, 255)) is None


def test_shifted_masks_train_with_reduce_zero_label(segment):
    assert segment(ids(0, 1, 2, 3), reduce_zero_label=True) is None


@pytest.mark.parametrize(
    ('mask', 'shifted', 'said'),
    [
        # As ADE20K writes them, without the setting.
        (ids(0, 1, 2, 3), False, 'holds id 3, .*reduce_zero_label=True is missing'),
        # A void id of one's own.
        (ids(0, 1, 2, 11), False, 'id 11, .*void pixels is not ignored'),
        (ids(0, 1, 2, 3, 4), True, 'holds id 3, .*shifts them wrongly'),
    ],
)
def test_unexpected_ids_name_the_mask(segment, mask, shifted, said):
    message = segment(mask, reduce_zero_label=shifted)
    assert 'masks/' in message and 'Traceback' not in message
    assert re.search(said, message), message


def test_reduce_zero_label_of_data_set_and_loading_must_agree(segment):
    message = segment(ids(0, 1), 'train_dataloader.dataset.reduce_zero_label=True')
    assert 'reduce_zero_label' in message and 'masks/' in message


def test_labels_shifted_twice_are_told(segment, tmp_path):
    assert segment(ids(0, 1, 2, 255), reduce_zero_label=True) is None
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert 'the labels are shifted twice' in log.read_text()


@pytest.fixture
def check(monkeypatch, tmp_path, caplog):
    """Check masks of which only some are read; return the warnings."""

    def run(mask, classes, zero=False, **limits):
        for limit, value in limits.items():
            monkeypatch.setattr(masks, limit, value)
        config = SEGMENTATION.format(data=write_masks(tmp_path / 'd', mask))
        config = config.replace('zero = False', f'zero = {zero}')
        use_host('mmseg')
        cfg = Config.fromstring(config, file_format='.py').train_dataloader.dataset
        cfg.metainfo = dict(classes=classes, palette=[[0, 0, 0]] * len(classes))
        masks.check_masks(DATASETS.build(cfg), 'train_dataloader', LOGGER)
        return caplog.text

    return run


def test_masks_of_0_and_255_are_refused_where_not_all_are_read(check):
    with pytest.raises(InputError, match='checked.*with 1 in place of 255'):
        check([ids(0, 255)] * 3, 'ab', MASKS=2)


def test_masks_of_0_and_255_get_a_warning_where_time_runs_out(check):
    said = check([ids(0, 255)] * 3, 'ab', SECONDS=0)
    assert 'none of the 1 masks checked' in said and 'with 1 in place of 255' in said


def test_ids_shifted_although_0_is_a_class_are_told(check):
    said = check([ids(0, 1, 2, 3)] * 3, 'abcd', zero=True, MASKS=2)
    assert 'd (id 3)' in said and 'set reduce_zero_label=False' in said


def test_a_few_rare_classes_are_not_worth_a_word(check):
    # As in ADE20K.
    assert check([ids(0, 1, 2, 4, 5)] * 3, 'abcdef', zero=True, MASKS=2) == ''


def test_masks_of_more_than_8_bits_are_refused(segment):
    message = segment(ids(0, 1, 700, dtype=np.uint16))
    assert 'holds id 700, but ids are read as 8 bits' in message


@pytest.mark.parametrize(
    ('mask', 'said'),
    [
        (ids(0, 1, shape=(16, 32)), 'the image is 32x32 pixels but its mask 32x16'),
        (ids(0, 1, shape=(32, 32, 3)), 'a colour image'),
    ],
)
def test_mask_of_another_shape_names_both_files(segment, mask, said):
    message = segment(mask)
    assert said in message
    assert 'images/' in message and 'masks/' in message


def test_wrong_class_count_of_a_segmentor(segment):
    message = segment(ids(0, 1), 'model.decode_head.num_classes=4')
    assert 'model.decode_head.num_classes=4, but the data set' in message
    assert 'has 3 classes (a, b, c)' in message


def test_no_images_is_no_data(segment, tmp_path):
    message = segment(ids(0), 'train_dataloader.dataset.img_suffix=.tif')
    assert 'BaseSegDataset' in message and 'is empty' in message


@pytest.mark.parametrize('line', ['0.png', 'images/0.png masks/0.png', '/0'])
def test_lists_of_other_names_are_quoted(segment, tmp_path, line):
    (tmp_path / 'list.txt').write_text(f'{line}\n' * 2)
    message = segment(
        ids(0, 1), f'train_dataloader.dataset.ann_file={tmp_path}/list.txt'
    )
    assert f"line 1 of '{tmp_path}/list.txt', {line!r}" in message
    assert "without its suffix (img_suffix='.png')" in message


def loader_of(folder, mask):
    """The tiny segmentor and its data loader, as the tools build them."""
    cfg = Config.fromstring(
        SEGMENTATION.format(data=write_masks(folder, mask)), file_format='.py'
    )
    use_host('mmseg')
    return TaskRunner.build_dataloader(cfg.train_dataloader), MODELS.build(cfg.model)


def test_void_masks_in_a_row_are_no_accident(tmp_path):
    loader, model = loader_of(tmp_path / 'd', ids(255))
    check_data(model, loader, 'train_dataloader', LOGGER)
    for _ in range(VOID_MASKS - 1):
        loader.dataset[0]  # one may happen
    with pytest.raises(BrokenSampleError, match='hold no class at all'):
        loader.dataset[1]


def test_void_masks_after_others_are_let_through(tmp_path):
    loader, model = loader_of(tmp_path / 'd', [ids(1), ids(255)])
    check_data(model, loader, 'train_dataloader', LOGGER)
    loader.dataset[0]
    for _ in range(VOID_MASKS + 1):
        loader.dataset[1]


def test_a_model_for_test_time_augmentation_is_looked_into(tmp_path):
    loader, model = loader_of(tmp_path / 'd', ids(0))
    model.decode_head.num_classes = 7
    tta = MODELS.build(dict(type='SegTTAModel', module=model))
    with pytest.raises(InputError, match=r'model.decode_head.num_classes=7'):
        check_data(tta, loader, 'test_dataloader', LOGGER)


def test_ids_that_a_head_ignores_are_right(tmp_path):
    loader, model = loader_of(tmp_path / 'd', ids(0, 1, 11))
    model.decode_head.ignore_index = 11
    check_data(model, loader, 'train_dataloader', LOGGER)
    loader.dataset[0]


@pytest.mark.parametrize('padding', [2, 11])
def test_ids_that_are_ignored_must_agree(segment, padding):
    head = 'model.decode_head.ignore_index=11'
    padded = f'model.data_preprocessor.seg_pad_val={padding}'
    message = segment(ids(0, 1, 2, 11), head, padded)
    if padding == 11:
        assert message is None
    else:
        assert head in message and padded in message


def test_ids_that_are_ignored_of_every_part(caplog):
    check = functools.partial(check_ignored_ids, logger=LOGGER)
    model = torch.nn.Module()
    for name, ignored in (('decode_head', 3), ('auxiliary_head', 3)):
        head = torch.nn.Module()
        head.num_classes, head.ignore_index = 3, ignored
        setattr(model, name, head)
    model.data_preprocessor = types.SimpleNamespace(seg_pad_val=3)
    metric = types.SimpleNamespace(ignore_index=3)
    evaluators = dict(val_evaluator=types.SimpleNamespace(metrics=[metric]))
    check(model, evaluators, trains=True)
    model.decode_head.ignore_index = None  # masked binary cross-entropy
    check(model, evaluators, trains=True)
    metric.ignore_index = 255
    with pytest.raises(InputError, match=r'val_evaluator.ignore_index=255: what'):
        check(model, evaluators, trains=True)
    metric.ignore_index = model.auxiliary_head.ignore_index = 255
    check(model, evaluators, trains=False)
    with caplog.at_level('WARNING'):
        check(model, evaluators, trains=True)
    assert (
        'seg_pad_val=3, but ' in caplog.text and 'would end the training' in caplog.text
    )
    model.data_preprocessor.seg_pad_val = 2
    with pytest.raises(InputError, match='seg_pad_val=2: what one ignores'):
        check(model, evaluators, trains=True)
    model.auxiliary_head.num_classes = 1  # of depth
    check(model, evaluators, trains=True)


def test_reduce_zero_label_of_train_and_val_must_agree(caplog):
    def data(flag, root):
        return types.SimpleNamespace(reduce_zero_label=flag, data_root=root)

    both = types.SimpleNamespace(datasets=[data(True, 'a'), data(False, 'b')])
    with caplog.at_level('WARNING'):
        check_zero_labels(dict(train=data(True, 'a'), val=data(True, 'b')), LOGGER)
        assert not caplog.text
        check_zero_labels(dict(train=both, val=data(True, 'a')), LOGGER)
    assert 'reduce_zero_label=True in train and False in train' in caplog.text
    with pytest.raises(InputError, match="in val, but False in train.* data_root 'b'"):
        check_zero_labels(dict(train=both, val=data(True, 'b')), LOGGER)


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Train the tiny classifier; return the message that it ends with, or None."""
    data = write_images(tmp_path / 'data')
    return functools.partial(train_to_end, monkeypatch, tmp_path, data)


@pytest.mark.parametrize('kind', ['mmtlalign.MixClassifier', 'ImageClassifier'])
def test_a_batch_of_one_has_nothing_to_mix(train, tmp_path, kind):
    text = f"model['type'] = '{kind}'\ntrain_cfg['max_epochs'] = 1\n"
    text += "model['train_cfg'] = dict(augments=dict(type='CutMix', alpha=1.0))\n"
    for size in (2, 1):
        work = tmp_path / str(size)
        options = f"train_dataloader['batch_size'] = {size}\n"
        train('--work-dir', str(work), text=text + options)
        (log,) = work.glob('*/*.log')
        assert ('nothing is mixed; use' in log.read_text()) == (size == 1)


def test_wrong_class_count_of_a_classifier(train):
    message = train('--cfg-options', 'model.head.num_classes=5')
    assert 'model.head.num_classes=5, but the data set of train_dataloader' in message
    assert 'has 2 classes (class0, class1)' in message


def test_wrong_class_count_of_the_one_hot_labels(train):
    message = train('--cfg-options', 'data_preprocessor.num_classes=5')
    assert 'data_preprocessor.num_classes=5' in message


def test_classes_given_as_text(train):
    message = train('--cfg-options', 'train_dataloader.dataset.metainfo.classes=ab')
    assert "classes=('ab',)" in message


def test_label_beyond_the_head_names_the_image(train, tmp_path):
    """An annotation file without class names: only its labels can tell."""
    (tmp_path / 'data/list.txt').write_text('class0/00.png 0\nclass1/03.png 7\n' * 8)
    ann = 'train_dataloader.dataset.ann_file=list.txt'
    message = train('--cfg-options', ann)
    assert 'class1/03.png' in message
    assert 'its label is 7, but the head has num_classes=2' in message


def test_empty_folder_is_no_data(train, tmp_path):
    for path in (tmp_path / 'data/train').glob('*/*.png'):
        path.unlink()
    message = train()
    assert 'CustomDataset' in message and 'is empty' in message
    assert "data_prefix='train'" in message


def test_missing_class_folder_is_told(train):
    classes = 'train_dataloader.dataset.metainfo.classes=[a,b,c]'
    message = train('--cfg-options', classes)
    assert "subfolders (2) doesn't match" in message
    assert 'shift the labels' in message


def test_less_than_a_batch_is_told(train):
    drop = 'train_dataloader.drop_last=True'
    message = train('--cfg-options', drop, 'train_dataloader.batch_size=64')
    assert '32 samples make no batch of 64' in message


def coco(folder, images=1, names='ab'):
    """A COCO data set of black images with a box each."""
    folder.mkdir()
    records = [
        dict(id=i, file_name=f'{i}.png', width=64, height=64) for i in range(images)
    ]
    boxes = [
        dict(id=i + 1, image_id=i, category_id=1, bbox=[0, 0, 40, 40], iscrowd=0)
        | dict(area=1600, segmentation=[[0, 0, 40, 0, 40, 40]])
        for i in range(images)
    ]
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(names)]
    content = dict(images=records, annotations=boxes, categories=categories)
    (folder / 'coco.json').write_text(json.dumps(content))
    return dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='mmdet.CocoDataset',
            ann_file=str(folder / 'coco.json'),
            data_prefix=dict(img=str(folder)),
            metainfo=dict(classes=tuple(names)),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=[],
        ),
    )


@pytest.fixture(scope='module')
def detector():
    """The small Cascade Mask R-CNN of the quickstart, ten classes."""
    (path,) = (CONFIGS / 'quickstart').glob('cascade-mask-rcnn*.py')
    cfg = Config.fromfile(path)
    use_host('mmdet')
    return MODELS.build(cfg.model)


def test_wrong_class_count_of_a_detector_names_the_stage(tmp_path, detector):
    loader = TaskRunner.build_dataloader(coco(tmp_path / 'd', names='abcdefghij'))
    check_data(detector, loader, 'train_dataloader', LOGGER)
    for path, head in (
        (r'roi_head.bbox_head\[1\]', detector.roi_head.bbox_head[1]),
        (r'roi_head.mask_head\[2\]', detector.roi_head.mask_head[2]),
    ):
        head.num_classes = 80
        with pytest.raises(InputError, match=rf'model.{path}.num_classes=80'):
            check_data(detector, loader, 'train_dataloader', LOGGER)
        head.num_classes = 10


def test_annotations_without_images_are_no_data(tmp_path):
    use_host('mmdet')
    with pytest.raises(InputError, match=r"coco.json' has no images"):
        TaskRunner.build_dataloader(coco(tmp_path / 'd', images=0))


def checkpoint(path, tensors):
    torch.save(dict(state_dict=tensors, meta={}), path)
    return path


@pytest.fixture
def weights(train, tmp_path):
    """The weights of one epoch of the tiny classifier, and where they lie."""
    train('--cfg-options', 'train_cfg.max_epochs=1')
    path = tmp_path / 'work/epoch_1.pth'
    return path, torch.load(path, weights_only=False)['state_dict']


def test_load_from_another_architecture(train, tmp_path, weights):
    _, tensors = weights
    other = {f'visual.{name}': value for name, value in tensors.items()}
    path = checkpoint(tmp_path / 'other.pth', other)
    message = train('--overwrite', '--cfg-options', f'load_from={path}')
    assert str(path) in message and 'another architecture' in message
    assert 'visual.' in message and 'VisionTransformer' in message


def test_load_from_another_size(train, tmp_path, weights):
    _, tensors = weights
    other = {name: torch.cat([value, value], -1) for name, value in tensors.items()}
    path = checkpoint(tmp_path / 'wide.pth', other)
    message = train('--overwrite', '--cfg-options', f'load_from={path}')
    assert 'tensors have another shape' in message


@pytest.mark.parametrize(
    'name', ['patch_embed.projection.weight', 'pos_embed', 'layers.1.ln1.weight']
)
def test_load_from_where_one_part_of_the_backbone_does_not_fit(
    name, train, tmp_path, weights
):
    _, tensors = weights
    name = f'backbone.{name}'
    tensors[name] = tensors[name].repeat_interleave(2, dim=-1)
    path = checkpoint(tmp_path / 'part.pth', tensors)
    message = train('--overwrite', '--cfg-options', f'load_from={path}')
    assert f'1 of {len(tensors) - 2} tensors have another shape ({name}' in message


def test_load_from_a_shallower_backbone(train, tmp_path, weights):
    path, _ = weights
    path = path.rename(tmp_path / 'shallow.pth')
    deeper = 'model.backbone.arch.num_layers=3'
    message = train('--overwrite', '--cfg-options', f'load_from={path}', deeper)
    assert 'another architecture or size' in message
    assert 'backbone.layers.2.' in message and 'code bases' not in message


def test_load_from_resizes_positions_and_starts_new_layers(train, tmp_path, weights):
    path, _ = weights
    path = path.rename(tmp_path / 'small.pth')
    options = ('model.backbone.img_size=64', 'model.backbone.pre_norm=True')
    options += ('model.backbone.patch_cfg.bias=True', 'train_cfg.max_epochs=1')
    assert train('--overwrite', '--cfg-options', f'load_from={path}', *options) is None


def test_load_from_with_another_head_goes_on(train, tmp_path, weights):
    _, tensors = weights
    for name in [name for name in tensors if name.startswith('head.')]:
        tensors[name] = torch.zeros(7, *tensors[name].shape[1:])
    path = checkpoint(tmp_path / 'head.pth', tensors)
    options = ('--cfg-options', f'load_from={path}', 'train_cfg.max_epochs=1')
    assert train('--overwrite', *options) is None


def test_resume_from_another_depth(train, weights):
    deeper = 'model.backbone.arch.num_layers=3'
    message = train('--resume', '--cfg-options', deeper)
    assert 'another architecture' in message and 'backbone.layers.2.' in message


def test_test_of_another_architecture(monkeypatch, tmp_path, weights):
    path, tensors = weights
    other = {f'visual.{name}': value for name, value in tensors.items()}
    path = checkpoint(tmp_path / 'other.pth', other)
    config = write_config(tmp_path, tmp_path / 'data')
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, 'test', config, path, '--work-dir', tmp_path / 't')
    assert str(path) in str(stop.value) and 'does not fit' in str(stop.value)


def test_wrong_class_count_of_a_test(monkeypatch, tmp_path, weights):
    more = tmp_path / 'data/val/class2'
    more.mkdir()
    cv2.imwrite(str(more / '00.png'), np.zeros((32, 32, 3), np.uint8))
    args = (write_config(tmp_path, tmp_path / 'data'), weights[0])
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, 'test', *args, '--work-dir', tmp_path / 't')
    assert 'num_classes=2, but the data set of test_dataloader' in str(stop.value)


@pytest.mark.parametrize('folder', ['quickstart', 'segmentation', 'detection'])
def test_our_recipes_agree_with_their_data(folder):
    """The heads of a recipe count the classes of its data set."""
    for path in sorted((CONFIGS / folder).glob('*.py')):
        cfg = Config.fromfile(path)
        use_host(cfg.default_scope)
        classes = classes_of(cfg)
        for name in HEADS:
            head = cfg.model
            for part in name.split('.'):
                head = head.get(part, {})
            for one in head if isinstance(head, list) else [head]:
                if classes and 'num_classes' in one:
                    assert one['num_classes'] == classes, f'{path.name}: {name}'


def classes_of(cfg):
    dataset = cfg.train_dataloader.dataset
    info = (
        dataset.get('metainfo')
        or DATASETS.get(f'{cfg.default_scope}.{dataset.type}').METAINFO
    )
    return len(info.get('classes') or ())


def test_runner_is_mmengines_own_otherwise():
    """The hook points that the checks stand on exist in this mmengine."""
    for name in ('load_or_resume', 'load_checkpoint', 'build_dataloader'):
        assert callable(getattr(Runner, name))
