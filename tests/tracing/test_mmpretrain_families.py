"""mmpretrain's transformers under the heads of this package, and bad input."""

import copy

import numpy as np
import pytest
import torch
from contract_rows import EVERY, ROWS
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models import T2T_ViT
from mmpretrain.structures import DataSample

from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import start_share, token_grid, trace

GAP = dict(type='GlobalAveragePooling')
CLASS, LINEAR = 'VisionTransformerClsHead', 'LinearClsHead'

# Row of the contract, head, its channels, and neck.
MODELS_WITH_HEADS = {
    'PCPVT': (LINEAR, 32, GAP),
    'SVT, padded windows': (LINEAR, 32, GAP),
    'BEiT': (LINEAR, 32, None),
    'BEiT, shared bias': (CLASS, 32, None),
    'EVA-02': (CLASS, 32, None),
    'XCiT': (LINEAR, 32, None),
    'T2T-ViT': (CLASS, 32, None),
    'T2T-ViT, mean of tokens': (LINEAR, 32, None),
    'DeiT III': (CLASS, 32, None),
    'DaViT': (LINEAR, 64, GAP),
    'HiViT': (LINEAR, 32, GAP),
    'MixMIM': (LINEAR, 32, None),
}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def backbone(row, **changes):
    return MODELS.build(dict(copy.deepcopy(ROWS[row].config), **changes))


def classifier(row, method, changes=None, **options):
    head, channels, neck = MODELS_WITH_HEADS[row]
    head = dict(type=f'mmtlalign.{method}{head}', num_classes=4, in_channels=channels)
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(copy.deepcopy(ROWS[row].config), **(changes or {})),
            neck=neck,
            head=dict(head, **options),
            train_cfg=dict(augments=dict(type='mmtlalign.CutMix')),
        )
    )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    model.train()
    return model


def step(model, size):
    """Loss of one step, the share that each output was given, and the area's."""
    seen = []
    partner_shares = model.head.partner_shares

    def remember(mix, reader):
        seen.append((partner_shares(mix, reader), mix.area()))
        return seen[-1][0]

    model.head.partner_shares = remember
    np.random.seed(0)
    torch.manual_seed(0)
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    images = torch.randint(0, 255, (4, 3, *size))
    inputs = model.data_preprocessor(
        dict(inputs=images, data_samples=samples), training=True
    )
    loss = model(**inputs, mode='loss')['loss']
    ((shares, area),) = seen
    return loss, torch.stack(shares), area


@pytest.mark.parametrize('method', ['TLAlign', 'TransMix'])
@pytest.mark.parametrize('row', MODELS_WITH_HEADS)
def test_heads_learn(row, method):
    mean = ROWS[row].output == 'mean'
    columns = dict(attention='received') if mean and method == 'TransMix' else {}
    model = classifier(row, method, **columns)
    loss, shares, area = step(model, ROWS[row].size)
    loss.backward()
    assert torch.isfinite(loss)
    assert shares.shape == (1, 4)
    assert 0 < area.min() and area.max() < 1
    assert (shares >= 0).all() and (shares <= 1).all()
    # The target is not plain CutMix's, and differs between images.
    assert (shares - area).abs().min() > 1e-5
    assert shares.std() > 1e-5
    without = {n for n, p in model.named_parameters() if p.grad is None}
    assert not {n for n in without if 'backbone' not in n}
    assert any(p.grad is not None for p in model.backbone.parameters())


def test_transmix_without_class_token_names_the_ways_out():
    with pytest.raises(ValueError, match="PCPVT does not output a class.*'received'"):
        classifier('PCPVT', 'TransMix')


@pytest.mark.parametrize('row', ['XCiT', 'T2T-ViT', 'DeiT III'])
def test_columns_are_not_for_a_class_token(row):
    with pytest.raises(ValueError, match="leave it at 'cls'"):
        classifier(row, 'TransMix', attention='received')


@pytest.mark.parametrize(
    'row, changes, said',
    [
        ('PCPVT', dict(out_indices=(0,)), 'must be 1'),
        ('SVT', dict(out_indices=(0,)), 'must be 1'),
        ('BEiT', dict(out_indices=1), 'must be 2'),
        ('BEiT', dict(out_type='raw'), "out_type='raw'"),
        ('EVA-02', dict(out_indices=0), 'must be 2'),
        ('XCiT', dict(out_indices=3), 'must be 4'),
        ('XCiT', dict(out_type='avg_featmap'), 'no attention of XCiT moves a patch'),
        ('XCiT', dict(out_type='raw'), 'no attention of XCiT moves a patch'),
        ('T2T-ViT', dict(out_indices=0), 'must be 1'),
        ('T2T-ViT', dict(out_type='raw'), "out_type='raw'"),
        ('DaViT', dict(out_indices=(1,)), 'must be 2'),
        ('HiViT', dict(inner_patches=8), 'inner_patches=4'),
    ],
)
def test_outputs_that_cannot_be_read(row, changes, said):
    net = backbone(row, **changes)
    with pytest.raises(ValueError, match=said):
        backbone_spec(net).output(net)


@pytest.mark.parametrize('row', ['BEiT', 'BEiT, shared bias'])
def test_wrong_image_size_for_a_fixed_bias(row):
    model = classifier(row, 'TLAlign')
    with pytest.raises(ValueError, match='37 tokens, but the relative .* for 1[67]'):
        step(model, (48, 48))


PADDING = [dict(padding='same'), dict(padding=1), dict(padding=0, stride=9)]


@pytest.mark.parametrize('row', ['ViT', 'Swin', 'BEiT', 'MLP-Mixer'])
@pytest.mark.parametrize('patch_cfg', PADDING)
def test_patches_that_do_not_contain_their_cells_are_refused(row, patch_cfg):
    net = MODELS.build(dict(copy.deepcopy(EVERY[row].config), patch_cfg=patch_cfg))
    with pytest.raises(ValueError, match="do not contain .*padding='corner'"):
        token_grid(net, (30, 45))


@pytest.mark.parametrize('patch_cfg', [dict(stride=5), dict(stride=5, padding=0)])
def test_overlapping_patches_start_with_their_own_cells(patch_cfg):
    net = backbone('ViT', patch_cfg=patch_cfg)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 10:15, 5:10] = 1
    images, partner = torch.randn(2, 3, 32, 32), torch.tensor([1, 0])
    mix = Mix(images, torch.eye(2), partner, mask)
    with trace(net, mix) as tracer:
        net(images)
    rows, columns = tracer.grids[0]
    share = start_share(net, mix)[0, 1:, 0].unflatten(0, (rows, columns))
    assert share.nonzero().tolist() == [[2, 1]] and share[2, 1] == 1


def test_unknown_attention_inside_a_t2t_layer():
    net = backbone('T2T-ViT')
    net.encoder[1].attn.scaled_dot_product_attention = torch.matmul
    with pytest.raises(TypeError, match='T2TTransformerLayer calls .*matmul'):
        attach(net)


def test_unknown_class_attention_inside_xcit():
    class OddClassAttention(torch.nn.Module):
        pass

    net = backbone('XCiT')
    net.ca_layers[0].attn = OddClassAttention()
    with pytest.raises(TypeError, match='ClassAttentionBlock with a OddClass'):
        attach(net)


def test_attention_over_channels_is_not_counted():
    for row, attentions in {'XCiT': 3, 'DaViT': 3}.items():
        assert attach(backbone(row)).attentions == attentions


def test_stock_xcit_without_class_attention_has_nothing_to_trace():
    with pytest.raises(TypeError, match='no attention that can be traced'):
        attach(backbone('XCiT', cls_attn_layers=0))


def test_t2t_multiplies_its_logits_by_the_root():
    """mmpretrain divides them by 1 / sqrt(D), so shares move with the scale sqrt(D)."""
    net = T2T_ViT(img_size=32, embed_dims=24, num_layers=1)
    stock = net.encoder[0].attn.scaled_dot_product_attention.keywords['scale']
    assert stock == 4**-0.5
    attach(net)
    assert net.encoder[0].attn.scaled_dot_product_attention.scale == 2


def test_first_tokens_are_the_patches_of_all_families():
    """Hierarchies start at their finest tokens; class tokens that join are not in."""
    mix = CutMix().mix(torch.rand(2, 3, 64, 96), torch.eye(2))
    sizes = {'PCPVT': (16, 24), 'T2T-ViT': (16, 24), 'HiViT': (4, 6), 'XCiT': (8, 12)}
    for row, (high, wide) in sizes.items():
        assert start_share(backbone(row), mix).shape == (2, high * wide, 1)
