"""Options and configs that cannot be read end in one line; correct ones are kept."""

import argparse
from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from repository import ROOT
from small_runs import without_memory

from mmtlalign.compat import own_configs
from mmtlalign.compat.files import check_file
from mmtlalign.compat.own_configs import DictAction
from mmtlalign.errors import InputError
from mmtlalign.validation.config import UnreadKeyError, load_config

STOCK = Path(mmpretrain.__file__).parent / '.mim' / 'configs'
CASCADE = ROOT / 'configs/detection'
CASCADE /= 'cascade-mask-rcnn_swin-tiny-p4-w7_tlalign-pre_fpn_amp-ms-crop-3x_coco.py'
SMALL = str(ROOT / 'configs/quickstart/tlalign_swin-mini-p4-w3_digits-48px.py')


def parse(*given):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *given]).cfg_options


# ------------------------------------------------------------------- the command line


def test_values_are_read_as_the_shell_hands_them_over():
    assert parse(
        'data_root=/my data/of 2012', 'a="b c"', 'x=[1, 2]', 'y=(a,b)', 'z=1,2', 'n=3'
    ) == dict(
        data_root='/my data/of 2012', a='b c', x=[1, 2], y=('a', 'b'), z=[1, 2], n=3
    )


def test_a_plan_s_dicts_come_back_from_the_command_line():
    options = {
        'model.train_cfg.augments': [dict(type='mmtlalign.TokenMix', patch_size=16)],
        'model.train_cfg': dict(augments=[dict(type='FMix')], probs=None),
        'model.head.loss': dict(type='CrossEntropyLoss', class_weight=[1.0, 5.0]),
    }
    assert parse(*(f'{key}={value}' for key, value in options.items())) == options


@pytest.mark.parametrize(
    'given', ['data_root', '=3', 'a..b=3', 'x=[1,2', 'x=f(1,2)', "x=[{'type': FMix}]"]
)
def test_what_is_no_option_is_said(given, capsys):
    with pytest.raises(SystemExit):
        parse(given)
    assert f"'{given}'" in capsys.readouterr().err


def test_a_number_is_a_folder_too():
    cfg = load_config(SMALL, dict(data_root=2012))
    assert cfg.data_root == cfg.train_dataloader.dataset.data_root == '2012'


@pytest.mark.parametrize(
    ('key', 'said'),
    [
        ('param_scheduler.7.end', 'a list of 2; name .* 0 to param_scheduler.1'),
        ('param_scheduler.end', 'a list of 2; name .* param_scheduler.0 to'),
        ('param_scheduler.-1.end', 'a list of 2'),
        ('param_scheduler.0', 'an item of a list cannot be set alone'),
        ('model.backbone.out_indices.0', 'Give the whole list, model.backbone.out_'),
        ('train_cfg.max_iters.x', 'train_cfg.max_iters is 360, which has no'),
        ('model.backbone.type.x', 'is .SwinTransformer., which has no'),
    ],
)
def test_places_that_are_not_there(key, said):
    said = said.replace(' 0 to', ' param_scheduler.0 to')
    with pytest.raises(InputError, match=said) as raised:
        load_config(SMALL, {key: 1})
    assert key in str(raised.value)


def test_places_that_are_there():
    options = {'param_scheduler.1.eta_min': 1e-6, 'model.backbone.out_indices': [2]}
    cfg = load_config(SMALL, options)
    assert cfg.param_scheduler[1].eta_min == 1e-6


SEGMENTED = str(ROOT / 'configs/quickstart/swin-mini-p4-w3_upernet_digits-96x96.py')
DETECTED = 'cascade-mask-rcnn_swin-mini-p4-w3_fpn_digits-96x96.py'
DETECTED = str(ROOT / 'configs/quickstart' / DETECTED)
MORE = """
_base_ = '{}'
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
train_dataloader = dict(dataset=dict(
    metainfo=dict(classes=('a', 'b')), filter_cfg=dict(filter_empty_gt=True)))
"""


@pytest.mark.parametrize(
    ('config', 'options'),
    [
        (
            SEGMENTED,
            {
                'model.test_cfg.mode': 'slide',
                'model.test_cfg.crop_size': [64, 64],
                'model.test_cfg.stride': [32, 32],
            },
        ),
        (SEGMENTED, {'train_dataloader.dataset.metainfo.palette': [[0, 0, 0]] * 11}),
        (DETECTED, {'train_dataloader.dataset.filter_cfg.min_size': 32}),
        (DETECTED, {'model.test_cfg.rcnn.mask_thr': 0.5}),
        (SMALL, {'optim_wrapper.clip_grad.norm_type': 1}),
        (SMALL, {'data_preprocessor.pad_size_divisor': 32}),
    ],
)
def test_keys_that_a_host_reads_pass(config, options, tmp_path):
    cfg = load_config(written(tmp_path, MORE.format(config)), options)
    for key, value in options.items():
        node = cfg
        for part in key.split('.'):
            node = node[part]
        assert node == value


@pytest.mark.parametrize(
    ('config', 'key'),
    [
        (SEGMENTED, 'model.test_cfg.mod'),
        (SEGMENTED, 'model.test_cfg.crop_sise'),
        (DETECTED, 'model.test_cfg.rcnnn.score_thr'),
        (DETECTED, 'model.test_cfg.rcnn.scor_thr'),
        (DETECTED, 'train_dataloader.dataset.filter_cfg.mim_size'),
        (DETECTED, 'train_dataloader.dataset.data_prefix.imgs'),
        (SMALL, 'optim_wrapper.clip_grad.norm_typ'),
        (SMALL, 'default_hooks.checkpont.interval'),
        (SMALL, 'default_hooks.other.interval'),
    ],
)
def test_misspelt_keys_are_refused(config, key, tmp_path):
    with pytest.raises(InputError, match='has no effect') as raised:
        load_config(written(tmp_path, MORE.format(config)), {key: 1})
    assert f"'{key}'" in str(raised.value)


# ------------------------------------------------------------------ data of a stock run

UPGRADE = """
_base_ = 'mmpretrain::deit/deit-small_4xb256_in1k.py'
model = dict(
    type='mmtlalign.MixClassifier',
    head=dict(type='mmtlalign.TLAlignVisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.TokenCutMix', patch_size=16)]))
"""


def written(folder, text, name='config.py'):
    (folder / name).write_text(text)
    return str(folder / name)


def test_data_of_an_upgraded_stock_recipe_move(tmp_path):
    path = written(tmp_path, UPGRADE)
    cfg = load_config(path, dict(data_root='/elsewhere'))
    for split in ('train', 'val', 'test'):
        root = cfg[f'{split}_dataloader'].dataset.data_root
        assert root.rstrip('/') == '/elsewhere'


def test_data_that_share_no_folder_name_the_keys(tmp_path):
    more = "val_dataloader = dict(dataset=dict(data_root='other'))\n"
    more += "test_dataloader = dict(dataset=dict(data_root='other'))\n"
    path = written(tmp_path, UPGRADE + more)
    with pytest.raises(UnreadKeyError, match=r'Set train_dataloader\.dataset\.data_ro'):
        load_config(path, dict(data_root='/elsewhere'))
    key = 'train_dataloader.dataset.data_root'
    assert load_config(path, {key: '/a'}).train_dataloader.dataset.data_root == '/a'


def test_a_root_that_nobody_reads_is_said(tmp_path):
    path = written(tmp_path, UPGRADE + "data_root = 'mine'\n")
    with pytest.raises(UnreadKeyError, match='--cfg-options data_root='):
        load_config(path)


# --------------------------------------------------------- configs that cannot be read


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (
            f"_base_ = '{CASCADE}'\n"
            'model = dict(roi_head=dict(bbox_head=dict(num_classes=3)))',
            "'bbox_head' is a dict here but a list in the base.*own_data",
        ),
        (f"_base_ = '{SMALL}'\nmax_iters = dict(a=1)", "'max_iters' is a dict .* int"),
        ("_base_ = './nowhere.py'", 'nowhere.py'),
        ('a = 1\nb = = 2', 'config.py, line 2 cannot be read'),
        ('a = 1\nb = undefined', 'line 2 cannot be read.*undefined'),
        ("_base_ = 'mmpretrain::deit/no.py'", 'deit/no'),
        ("_base_ = 'mmtlalign::tlalign/no.py'", 'tlalign/no.py.*does not exist'),
        ("_base_ = 'nothing::a/b.py'", 'nothing'),
        (f"_base_ = ['{SMALL}', '{SMALL}']", 'Duplicate key'),
    ],
)
def test_one_line_says_what_is_wrong(text, said, tmp_path):
    with pytest.raises(InputError, match=said) as raised:
        load_config(written(tmp_path, text))
    assert '\n' not in str(raised.value) and len(str(raised.value)) < 700


def test_a_dict_in_place_of_a_dict_passes(tmp_path):
    text = f"_base_ = '{CASCADE}'\nmodel = dict(neck=dict(out_channels=128))"
    assert load_config(written(tmp_path, text)).model.neck.out_channels == 128


# ------------------------------------------------------------ _base_ = 'mmtlalign::…'

NAME = 'tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'


def test_own_configs_are_bases_as_files_are(tmp_path):
    text = "_base_ = '{}'\nmodel = dict(backbone=dict(drop_path_rate=_base_.rate))\n"
    (tmp_path / 'rate.py').write_text('rate = 0.3')
    bases = f"['mmtlalign::{NAME}', './rate.py']"
    ours = load_config(written(tmp_path, text.replace("'{}'", bases)))
    bases = f"['{ROOT / 'configs' / NAME}', './rate.py']"
    files = load_config(written(tmp_path, text.replace("'{}'", bases), 'files.py'))
    assert ours.to_dict() == files.to_dict()
    init_default_scope(ours.default_scope)
    assert without_memory(ours.model).traces


def test_own_configs_of_the_wheel(tmp_path, monkeypatch):
    """The wheel has them below mmtlalign/.mim, as of no checkout."""
    package = tmp_path / 'site-packages/mmtlalign'
    (package / '.mim/configs/tlalign').mkdir(parents=True)
    (package / '.mim/model-index.yml').touch()
    (package / '.mim/configs/tlalign/one.py').write_text("default_scope = 'mmseg'")
    monkeypatch.setattr(own_configs, '__file__', str(package / 'compat/own_configs.py'))
    path = written(tmp_path, "_base_ = 'mmtlalign::tlalign/one.py'")
    assert load_config(path).default_scope == 'mmseg'
    assert load_config('mmtlalign::tlalign/one.py').default_scope == 'mmseg'
    check_file('mmtlalign::tlalign/one.py', 'config')  # is not called a lost file


def test_bases_of_hosts_are_read_as_before(tmp_path):
    own_configs.read_own_configs()
    cfg = Config.fromfile(written(tmp_path, UPGRADE))
    init_default_scope(cfg.default_scope)
    assert MODELS.build(cfg.model).head.num_classes == 1000
