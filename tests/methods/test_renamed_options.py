"""Options of heads by their names of before: they work, and warn with the new one."""

import copy
import warnings

import pytest
from contract_rows import ROWS
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.validation.config import load_config

HEADS = {
    ('TransMix', 'looks', 'class'): ('attention', 'cls', 'ViT'),
    ('TransMix', 'looks', 'columns'): ('attention', 'received', 'Swin'),
    ('TransMix', 'attention', 'columns'): ('attention', 'received', 'Swin'),
    ('TLAlign', 'merge', 'flat'): ('head_token_rule', 'flat', 'DHVT'),
}


def build(method, row, **options):
    init_default_scope('mmpretrain')
    backbone = copy.deepcopy(ROWS[row].config)
    neck = dict(type='GlobalAveragePooling') if row == 'Swin' else None
    head = dict(type=f'mmtlalign.{method}LinearClsHead', num_classes=2, in_channels=64)
    model = dict(backbone=backbone, neck=neck, head=dict(head, **options))
    return MODELS.build(dict(type='mmtlalign.MixClassifier', **model)).head


@pytest.mark.parametrize('given, wanted', HEADS.items(), ids=str)
def test_option_of_before_is_the_one_of_today(given, wanted):
    (method, old, value), (new, now, row) = given, wanted
    with pytest.warns(FutureWarning, match=f'{new}.* now'):
        ours = build(method, row, **{old: value})
    with warnings.catch_warnings():
        warnings.simplefilter('error', FutureWarning)
        theirs = build(method, row, **{new: now})
    for name in ('attention', 'trace_options'):
        assert getattr(ours, name, None) == getattr(theirs, name, None)


def test_old_and_new_together_are_an_error():
    with pytest.raises(TypeError, match='looks is the old name of attention'):
        build('TransMix', 'ViT', looks='class', attention='cls')


def test_a_config_of_before_is_read(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(
        "model = dict(type='mmtlalign.MixClassifier',\n"
        "    backbone=dict(type='VisionTransformer', arch='deit-t'),\n"
        "    head=dict(type='mmtlalign.TransMixLinearClsHead', num_classes=2,\n"
        "        in_channels=192, looks='class'))\n"
        "default_scope = 'mmpretrain'\n"
    )
    assert load_config(str(file)).model.head.looks == 'class'
