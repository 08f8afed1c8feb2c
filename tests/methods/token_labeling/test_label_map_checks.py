"""Label maps that do not fit stop a run before its first step."""

import logging
from dataclasses import replace

import pytest
from label_map_files import fill, metadata_of, write_official
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from mmengine.runner import Runner
from tiny_run import train_to_end, write_config, write_images

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling import fingerprint, official
from mmtlalign.methods.token_labeling.official import OfficialLabelMaps
from mmtlalign.validation.data import check_data
from tools.dataset_converters.label_maps.images import list_images

LOGGER = logging.getLogger('test_label_map_checks')
# A token-label head on the tiny ViT, 4x4 tokens, two classes of the annotator's 12.
MAPS = """
model['backbone']['out_type'] = 'raw'
model['head'] = dict(
    type='mmtlalign.TokenLabelClsHead', num_classes=2, in_channels=16, missing='error'
)
load = dict(
    type='mmtlalign.LoadLabelMap',
    root=data_root + 'maps',
    image_root=data_root + 'train',
    num_classes=12,
    class_ids=[7, 2],
)
flip = dict(type='mmtlalign.FlipWithMap', prob=0.5)
crop = dict(type='mmtlalign.RandomResizedCropWithMap', scale=32)
pool = dict(type='mmtlalign.PoolLabelMap', size=4, num_classes=2)
pack = dict(type='PackInputs', algorithm_keys=('gt_label_map', 'gt_map_label'))
steps = [dict(type='LoadImageFromFile'), load, flip, crop, pool, pack]
train_cfg['max_epochs'] = 1
{change}
dataset = dict(train_dataloader['dataset'], pipeline=steps)
train_dataloader['dataset'] = {whole}
# Printing a config takes the longer the more there is of it.
del load, flip, crop, pool, pack, steps, dataset
"""
CHOICE = "dict(type='RandomChoice', transforms=[[crop], [dict(crop, scale={})]])"
STOCK = (
    'model["head"] = dict(type="VisionTransformerClsHead", num_classes=2, '
    'in_channels=16); model["backbone"].pop("out_type"); '
)
WRAPPERS = [
    'dict(type="RepeatDataset", times=2, dataset=dataset)',
    'dict(type="ClassBalancedDataset", oversample_thr=0.1, dataset=dataset)',
    'dict(type="KFoldDataset", num_splits=2, dataset=dataset)',
    'dict(type="ConcatDataset", datasets=[dataset, dataset])',
]


@pytest.fixture
def data(tmp_path):
    """32 pictures in two class folders."""
    return write_images(tmp_path / 'data')


def write_maps(data, names, layout='store'):
    if layout == 'store':
        fill(data / 'maps', metadata_of(names, shard_size=20), names)
    else:
        write_official(data / 'maps', names)


@pytest.fixture
def check(tmp_path, data, caplog):
    """Check what a config builds; return what is logged. Maps first, if named."""

    def run(change='', names=None, layout='store', whole='dataset'):
        if names is not None:
            write_maps(data, names, layout)
        config = write_config(tmp_path, data, MAPS.format(change=change, whole=whole))
        cfg = Config.fromfile(config)
        init_default_scope('mmpretrain')
        model = MODELS.build(cfg.model)
        loader = Runner.build_dataloader(cfg.train_dataloader)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            check_data(model, loader, 'train_dataloader', LOGGER)
        return caplog.text

    return run


@pytest.mark.parametrize('layout', ['store', 'official'])
def test_maps_that_fit(check, data, layout):
    names = list_images(data / 'train')
    assert check(names=names, layout=layout) == ''
    # Maps of more images than the data set has do not matter.
    (data / 'train' / names[0]).unlink()
    assert check() == ''


def test_classes_of_a_store_are_those_of_the_data(check, data):
    names = list_images(data / 'train')
    for order, fits in (([0, 1], True), ([1, 0], False)):
        classes = fingerprint(f'class{number}' for number in order)
        metadata = replace(metadata_of(names, num_classes=2, topk=2), classes=classes)
        fill(data / f'maps{fits}', metadata, names)
    change = 'load["root"] += "{}"; load["num_classes"] = 2; load["class_ids"] = '
    assert check(change.format(True) + 'None') == ''
    with pytest.raises(InputError, match='or in another order.*class0, class1'):
        check(change.format(False) + 'None')
    assert check(change.format(False) + '[1, 0]') == ''
    # Nothing is compared with a store that has no names.
    fill(data / 'mapsNone', replace(metadata, classes=''), names)
    assert check(change.format(None) + 'None') == ''


@pytest.mark.parametrize(
    'step, told',
    [
        ('torchvision/RandomHorizontalFlip', 'torchvision.RandomHorizontalFlip'),
        ('torchvision/ColorJitter', ''),
        ('UsersOwnStep', 'test_label_map_checks.UsersOwnStep'),
    ],
)
def test_steps_that_may_move_the_image(check, data, monkeypatch, step, told):
    monkeypatch.setitem(TRANSFORMS._module_dict, 'UsersOwnStep', UsersOwnStep)
    change = f'steps.insert(3, dict(type="{step}"))'
    said = check(change, names=list_images(data / 'train'))
    assert f'if {told} moves' in said if told else said == ''


class UsersOwnStep(BaseTransform):
    def transform(self, results):
        return results


def test_missing_maps_before_a_training(monkeypatch, tmp_path, data):
    write_maps(data, list_images(data / 'train')[5:])
    text = MAPS.format(change='', whole='dataset')
    message = train_to_end(monkeypatch, tmp_path, data, text=text)
    assert 'train_dataloader: 5 of 32 images have no label map' in message
    assert '(such as class0/00.png, class0/01.png, class0/02.png)' in message
    assert "missing='skip' or missing='hard label'" in message


@pytest.mark.parametrize('layout', ['store', 'official'])
@pytest.mark.parametrize(
    ('policy', 'happens'),
    [
        ('skip', 'other images are drawn in their place'),
        ('hard label', 'their hard label is used in every cell'),
    ],
)
def test_missing_maps_that_are_allowed_for(check, data, layout, policy, happens):
    names = list_images(data / 'train')[5:]
    said = check(f'load["missing"] = {policy!r}', names, layout)
    assert said.count('5 of 32 images have no label map') == 1
    assert f'{happens} (missing={policy!r})' in said


@pytest.mark.parametrize('layout', ['store', 'official'])
@pytest.mark.parametrize('policy', ['error', 'skip', 'hard label'])
def test_no_image_has_a_map(check, policy, layout):
    names = ['other/1.png', 'other/2.png']
    with pytest.raises(InputError) as caught:
        check(f'load["missing"] = {policy!r}', names, layout)
    assert '32 of 32 images have no label map' in str(caught.value)
    assert 'none has. Correct root and image_root' in str(caught.value)


def test_official_files_are_looked_up_for_some(check, data, monkeypatch):
    monkeypatch.setattr(official, 'LOOKED_UP', 10)
    names = list_images(data / 'train')
    with pytest.raises(InputError, match='3 of 8 images looked up, of 32, have no'):
        check(names=names[12:], layout='official')
    maps = OfficialLabelMaps(data / 'maps', 12)
    assert maps.missing_maps(names[:7]) == (names[:7], 7)
    assert maps.missing_maps([]) == ([], 0)


def test_images_with_the_same_official_file_are_refused(check, data):
    folder = data / 'train/class0'
    (folder / '00.png').rename(folder / 'f.0.png')
    (folder / '01.png').rename(folder / 'f.1.png')
    with pytest.raises(InputError, match=r"f\.0\.png' and .*f\.1\.png' have the same"):
        check(names=list_images(data / 'train'), layout='official')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('load["class_ids"] = [7, 2, 1]', 'maps of 3 classes, but PoolLabelMap of its'),
        ('load["class_ids"] = None', 'maps of 12 classes, but PoolLabelMap of its'),
        ('pool["num_classes"] = 3', 'maps of 2 classes, but PoolLabelMap of its'),
        (
            'steps[4] = dict(type="mmtlalign.ReLabel", num_classes=12)',
            'but ReLabel of its pipeline has num_classes=12',
        ),
        (
            'load["class_ids"] = None; pool["num_classes"] = 12',
            'maps of 12 classes, but model.head has num_classes=2',
        ),
        ('pool["size"] = 7', r'size=(7, 7), but VisionTransformer makes 4x4 tokens'),
        (
            'pool["size"] = (4, 8); ' + f'steps[3] = {CHOICE.format("32")}',
            'size=(4, 8), but VisionTransformer makes 4x4 tokens',
        ),
        ('flip["type"] = "RandomFlip"', 'use mmtlalign.FlipWithMap after LoadLabelMap'),
        (
            'crop["type"] = "RandomResizedCrop"',
            'use mmtlalign.RandomResizedCropWithMap',
        ),
        (
            'steps[3] = dict(type="RandomApply", prob=0.5, transforms=[dict('
            'type="RandomCrop", crop_size=32)])',
            'RandomCrop transforms an image without its label map; remove it',
        ),
        (
            'steps.insert(1, dict(type="CenterCrop", crop_size=32))',
            'CenterCrop transforms an image without its label map; remove it',
        ),
        ('steps[2:5] = [crop, pool, flip]', 'FlipWithMap comes after PoolLabelMap'),
        (
            'steps[2:5] = [flip, dict(type="mmtlalign.ReLabel", num_classes=2), crop]',
            'RandomResizedCropWithMap comes after ReLabel',
        ),
    ],
)
def test_wrong_pipelines(check, data, change, message):
    with pytest.raises(InputError) as caught:
        check(change, list_images(data / 'train'))
    assert message in str(caught.value)


def test_tokens_of_a_backbone_of_ones_own_are_not_known(check, data):
    names = list_images(data / 'train')
    # Without the tracing of MixClassifier any backbone will do.
    change = (
        'model["backbone"] = dict(type="ResNet", depth=18, base_channels=4, '
        'stem_channels=4); pool["size"] = 7'
    )
    assert check(change, names) == ''


@pytest.mark.parametrize('damage', ['gone', 'cut'])
def test_damaged_store(check, data, damage):
    write_maps(data, list_images(data / 'train'))
    file = data / 'maps' / 'shard-00001.npy'
    if damage == 'gone':
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    said = dict(gone='is missing: the store is not finished', cut='is corrupt')[damage]
    with pytest.raises(InputError) as caught:
        check()
    assert f'{file} {said}' in str(caught.value)


def test_maps_that_nobody_reads(check, data):
    names = list_images(data / 'train')
    assert 'no head of the model is known to read them' in check(STOCK, names)
    said = 'neither PoolLabelMap nor ReLabel reads them'
    assert said in check('steps.remove(pool)')


def test_after_relabel_an_image_may_be_flipped_and_turned(check, data):
    relabel = 'dict(type="mmtlalign.ReLabel", num_classes=2)'
    later = 'dict(flip, type="RandomFlip"), dict(type="RandAugment", num_policies=2, '
    later += 'policies="timm_increasing", magnitude_level=9)'
    names = list_images(data / 'train')
    assert check(f'{STOCK}steps[2:5] = [crop, {relabel}, {later}]', names) == ''
    with pytest.raises(InputError, match='RandomFlip transforms an image'):
        check(f'{STOCK}steps[2:5] = [{later}, crop, {relabel}]')


@pytest.mark.parametrize('whole', WRAPPERS)
def test_data_sets_in_others(check, data, whole):
    names = list_images(data / 'train')
    assert check(names=names, whole=whole) == ''
    # Half of the images are in a fold.
    for name in names[::2]:
        (data / 'train' / name).rename(data / 'train' / f'{name}.png')
    with pytest.raises(InputError, match=r'of \d+ images have no label map'):
        check(whole=whole)
