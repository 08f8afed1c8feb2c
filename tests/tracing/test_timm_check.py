"""A timm whose internals changed is noticed when a model is attached."""

import pytest
import timm
import torch
import torch.nn.functional as F
from contract_rows.timm import PVTAttention, SwinTransformerBlock
from mmengine.registry import init_default_scope
from timm.layers import Attention
from timm_parts import SMALL, build

from mmtlalign.tracing.adapters import timm_check
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.support import backbone_spec


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def untried(monkeypatch):
    monkeypatch.setattr(timm_check, '_tried', set())
    monkeypatch.setattr(timm, '__version__', '9.9')


REMEDY = r'timm 9\.9 is installed.*{}.*1\.0\.31 is known to work: pip install'


def test_attention_without_softmax_is_noticed(untried, monkeypatch):
    def forward(self, x, attn_mask=None, is_causal=False):
        query, key, value = self.qkv(x).chunk(3, -1)
        return F.relu(query @ key.mT) @ value

    monkeypatch.setattr(Attention, 'forward', forward)
    with pytest.raises(TypeError, match=REMEDY.format('Attention')):
        attach(build(SMALL['vit']))


def test_a_second_attention_inside_is_noticed(untried, monkeypatch):
    stock = Attention.forward
    monkeypatch.setattr(
        Attention, 'forward', lambda self, x, **k: stock(self, stock(self, x))
    )
    with pytest.raises(TypeError, match=REMEDY.format('calls attention 2 times')):
        attach(build(SMALL['vit']))


def test_windows_in_another_place_are_noticed(untried, monkeypatch):
    stock = SwinTransformerBlock._attn

    def other_way_round(self, x):
        self.shift_size = tuple(-s for s in self.shift_size)
        try:
            return stock(self, x)
        finally:
            self.shift_size = tuple(-s for s in self.shift_size)

    monkeypatch.setattr(SwinTransformerBlock, '_attn', other_way_round)
    with pytest.raises(TypeError, match=REMEDY.format('mixes other tokens')):
        attach(build(SMALL['swin']))


def test_keys_reduced_otherwise_are_noticed(untried, monkeypatch):
    stock = PVTAttention.forward

    def all_tokens(self, x, feat_size):
        reduced, self.sr = self.sr, None
        try:
            return stock(self, x, feat_size)
        finally:
            self.sr = reduced

    monkeypatch.setattr(PVTAttention, 'forward', all_tokens)
    with pytest.raises(TypeError, match=REMEDY.format('pvt_v2.Attention')):
        attach(build(SMALL['pvt']))


def test_other_arguments_and_missing_classes_are_noticed(untried, monkeypatch):
    def forward(self, tokens, masks):
        return tokens

    with (
        monkeypatch.context() as patch,
        pytest.raises(TypeError, match=REMEDY.format('missing 1 required')),
    ):
        patch.setattr(Attention, 'forward', forward)
        attach(build(SMALL['vit']))
    with pytest.raises(ImportError, match=REMEDY.format('SwinBlock3')):
        timm_check.import_classes('timm.models.swin_transformer', 'SwinBlock3')
    with pytest.raises(ImportError, match=REMEDY.format('timm.models.swin3')):
        timm_check.import_classes('timm.models.swin3', 'SwinTransformer')


@pytest.mark.parametrize(
    'name, attribute', [('vit', 'num_prefix_tokens'), ('swin', 'global_pool')]
)
def test_attributes_of_models_that_are_gone_are_noticed(untried, name, attribute):
    backbone = build(SMALL[name])
    delattr(backbone.timm_model, attribute)
    family = backbone_spec(backbone)
    with pytest.raises(TypeError, match=REMEDY.format(attribute)):
        family.output(backbone)
        family.prefix(backbone)


def test_trying_leaves_random_numbers_alone(untried):
    backbones = [build(SMALL[name]) for name in SMALL]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    for backbone in backbones:
        attach(backbone)
    assert torch.equal(torch.rand(1), expected)
