"""A config key that nobody reads is an error, and nothing else is."""

from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config
from repository import ROOT

from mmtlalign.validation.config import UnreadKeyError, load_config
from mmtlalign.validation.config_shapes import check_shapes

STOCK = Path(mmpretrain.__file__).parent / '.mim' / 'configs'

BASE = """
data_root = 'data/here/'
crop_size = (64, 64)
depth = 2
unit = 3
model = dict(size=crop_size, depth=depth * unit)
train_dataloader = dict(dataset=dict(type='D', data_root=data_root, at=data_root + 'a'))
"""


@pytest.fixture
def write(tmp_path):
    """Write a base and a config upon it; return the config's path."""

    def run(child: str, base: str = BASE) -> str:
        (tmp_path / 'base.py').write_text(base)
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = './base.py'\n{child}")
        return str(path)

    return run


@pytest.mark.parametrize(
    'name',
    [
        'deit/deit-small_4xb256_in1k.py',
        'deit/deit-base-distilled_16xb32_in1k-384px.py',
        'swin_transformer/swin-tiny_16xb64_in1k.py',
        'vision_transformer/vit-base-p16_32xb128-mae_in1k.py',
        'resnet/resnet50_8xb32_in1k.py',
    ],
)
def test_stock_configs_pass(name, tmp_path):
    cfg = load_config(str(STOCK / name))
    # Also as the copy with every base filled in that mmengine writes.
    cfg.dump(tmp_path / 'dumped.py')
    load_config(str(tmp_path / 'dumped.py'))


@pytest.mark.parametrize(
    'name',
    [
        # A list of stages for `train_cfg.rpn`, and an interval that is a float.
        'cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py',
        'v3det/dino-4scale_r50_8xb2_sample1e-3_v3det_36e.py',
    ],
)
def test_forms_of_stock_detectors_pass(name):
    mmdet = pytest.importorskip('mmdet')
    configs = Path(mmdet.__file__).parent / '.mim/configs'
    check_shapes(load_config(str(configs / name)))


@pytest.mark.parametrize(
    'child',
    [
        'load_from = None',
        'own = 5\noptim_wrapper = dict(type="O", lr=own)',
        'randomness = dict(seed={{_base_.unit}})',
        'randomness = dict(seed=_base_.unit)',
        "randomness = dict(seed=_base_['unit'])",
        'work_dir = "{{$NO_SUCH_VARIABLE:somewhere}}"',
        'from copy import deepcopy\nfor index in range(3):\n    pass',
    ],
)
def test_read_keys_pass(write, child):
    load_config(write(child))


@pytest.mark.parametrize(
    ('child', 'wrong', 'hint'),
    [
        ('optim_wraper = dict(type="O")', 'optim_wraper', "'optim_wrapper'"),
        ('seed = 7', 'seed', 'child.py'),
        ('fp16 = dict(loss_scale=512)', 'fp16', 'nothing reads it'),
        # The classic: the base has read the old value already.
        ('crop_size = (32, 32)', 'crop_size', 'already'),
        ('data_root = "data/there/"', 'data_root', '--cfg-options data_root='),
        ('env_cfg = dict(cudnn=True)', 'env_cfg.cudnn', 'nothing reads it'),
    ],
)
def test_unread_keys_are_errors(write, child, wrong, hint):
    with pytest.raises(UnreadKeyError) as error:
        load_config(write(child))
    assert f"'{wrong}'" in str(error.value)
    assert hint in str(error.value)


def test_variable_used_only_by_its_own_base(write):
    base = BASE + "train_dataloader['batch_size'] = unit\n"
    cfg = load_config(write('', base))
    assert cfg.train_dataloader.batch_size == 3


def test_data_root_moves_every_path(write):
    cfg = load_config(write(''), dict(data_root='/elsewhere'))
    assert cfg.train_dataloader.dataset.data_root == '/elsewhere/'
    assert cfg.train_dataloader.dataset['at'] == '/elsewhere/a'
    assert cfg.data_root == '/elsewhere/'


@pytest.mark.parametrize(
    'name',
    [
        'transmix/transmix_deit-small-p16_8xb32-coslr-310e_in1k.py',
        'relabel/resnet50_8xb128-coslr-300e_in1k.py',
        'token_labeling/mixtoken_lvvit-large-p16_in1k-pre_8xb64-coslr-30e_in1k-448px.py',
        'detection/mask-rcnn_deit-small-p16_tlalign-pre_sfp_amp-lsj-36e_coco.py',
        'quickstart/swin-mini-p4-w3_upernet_digits-96x96.py',
    ],
)
def test_the_copy_in_the_work_directory_passes(name, tmp_path):
    """Also where a recipe replaces what a variable of its base went into."""
    cfg = load_config(str(ROOT / 'configs' / name))
    copy = tmp_path / 'copy.py'
    # Without yapf, which takes its time.
    lines = [f'{key} = {value!r}' for key, value in cfg.to_dict().items()]
    copy.write_text('\n'.join(lines))
    assert load_config(str(copy)).to_dict() == cfg.to_dict()


def test_a_dump_keeps_the_variables_of_its_recipe(write, tmp_path):
    cfg = load_config(write('model = dict(_delete_=True, type="M")'))
    cfg.merge_from_dict({'train_dataloader.dataset.at': 'elsewhere'})
    cfg.dump(tmp_path / 'dumped.py')
    assert load_config(str(tmp_path / 'dumped.py')).unit == 3
    # Another value of a variable that nobody reads any more does not matter, a
    # misspelt key does.
    for name, near in dict(train_dataloadr='train_dataloader', modl='model').items():
        (tmp_path / 'dumped.py').write_text(f"model = dict(type='M')\n{name} = dict()")
        with pytest.raises(UnreadKeyError, match=f"Did you mean '{near}'"):
            load_config(str(tmp_path / 'dumped.py'))


def test_label_maps_move_apart_from_the_images(write):
    child = (
        "label_map_root = 'data/here_maps'\n"
        "train_dataloader = dict(dataset=dict(maps=label_map_root, up='data/here'))"
    )
    cfg = load_config(write(child), dict(data_root='/images'))
    dataset = cfg.train_dataloader.dataset
    assert (dataset.data_root, dataset.up) == ('/images/', '/images/')
    assert dataset.maps == 'data/here_maps'  # not a folder below data/here
    cfg = load_config(write(child), dict(label_map_root='/maps'))
    dataset = cfg.train_dataloader.dataset
    assert dataset.maps == cfg.label_map_root == '/maps'
    assert dataset.data_root == 'data/here/'


@pytest.mark.parametrize('root', ['data_root', 'label_map_root'])
def test_roots_that_are_not_there(write, root):
    with pytest.raises(UnreadKeyError, match=f'no {root}'):
        load_config(write('', 'model = dict(type="M")'), {root: '/elsewhere'})


def test_options_inside_lists_and_typed_dicts(write):
    base = 'custom_hooks = [dict(type="A", interval=1)]\n'
    options = {'custom_hooks.0.interval': 2, 'custom_hooks.0.other': 3}
    cfg = load_config(write('', base), options)
    assert cfg.custom_hooks == [dict(type='A', interval=2, other=3)]


def test_options_name_parameters_of_their_own(write):
    text = 'optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(norm=dict())))'
    path = 'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult'
    cfg = load_config(write(text), {path: 0.1})
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1


def test_yaml_configs_are_checked_too(tmp_path):
    path = tmp_path / 'config.yaml'
    path.write_text('optim_wrapper: {type: OptimWrapper}\nload_from: some.pth\n')
    load_config(str(path))
    path.write_text('optim_wraper: {type: OptimWrapper}\n')
    with pytest.raises(UnreadKeyError, match="'optim_wraper' in .*config.yaml"):
        load_config(str(path))


def test_lazy_configs_are_left_to_mmengine(tmp_path):
    path = tmp_path / 'lazy.py'
    path.write_text('from mmengine.hooks import IterTimerHook\nhelper = 3\n')
    assert isinstance(load_config(str(path)), Config)
