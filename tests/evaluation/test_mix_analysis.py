"""One pass over a mixed batch: what TL-Align, TransMix and the features say."""

import numpy as np
import pytest
import torch
from contract_rows import ROWS
from mmengine.registry import MODELS, init_default_scope
from small_backbones import vit

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.label_shares import pearson_of
from mmtlalign.evaluation.mix_analysis import analyse_mix, summarise
from mmtlalign.mixing.augments import Mixup
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.mixtoken import MixToken
from mmtlalign.tracing.attach import attach, detach
from mmtlalign.tracing.attention_readers import attention_reader
from mmtlalign.tracing.trace import trace, trace_forward

KINDS = [
    'ViT',
    'ViT, mean of tokens',
    'DeiT, distilled',
    'Swin',
    'Swin, any size',
    'PVT',
    'DHVT',
    'XCiT',
    'timm ViT, registers',
    'timm Swin, padded windows',
]


def built(name, batch=3):
    init_default_scope('mmpretrain')
    row = ROWS[name]
    backbone = MODELS.build(dict(row.config))
    backbone.eval()
    images = torch.randn(batch, 3, *row.size)
    return backbone, images, torch.eye(4)[[0, 1, 2, 2, 3][:batch]]


@pytest.mark.parametrize('name', KINDS)
def test_shares_are_those_of_the_methods(name):
    backbone, images, labels = built(name)
    mix = CutMix().mix(images, labels)
    found = analyse_mix(backbone, mix, images)
    assert not hasattr(backbone, 'trace_context')
    with trace(backbone, mix) as traced, torch.no_grad():
        backbone(mix.images)
    assert found.grids == traced.grids and found.prefixes == traced.prefixes
    for ours, share in zip(found.shares, traced.history):
        torch.testing.assert_close(ours, share[..., 0])
    torch.testing.assert_close(found.share_by_layer[-1], traced.partner_shares()[0])
    torch.testing.assert_close(found.area, mix.area())

    attach(backbone)
    kind = 'cls' if found.output == 'class' else 'received'
    reader = attention_reader(backbone, mix, kind)
    with trace_forward(backbone, reader), torch.no_grad():
        backbone(mix.images)
    detach(backbone)
    official = (mix.area() + reader.output_shares()[0]) / 2
    torch.testing.assert_close(found.transmix_by_layer[-1], official)

    assert len(found.similarity['projection']) == len(found.shares)
    for values, share in zip(found.similarity['cosine'], found.shares):
        assert values.shape == share.shape
        assert ((0 <= values) & (values <= 1)).all()
    assert found.variation.shape == found.shares[-1].shape
    grid = found.grids[-1]
    assert found.maps(-1).shape == (3, *grid)


def test_box_at_rest_merges_with_the_tokens():
    backbone, images, labels = built('Swin')
    mix = CutMix().mix(images, labels)
    found = analyse_mix(backbone, mix)
    for area, grid in zip(found.areas, found.grids):
        torch.testing.assert_close(area, mix.token_share(grid)[..., 0])


def test_nothing_differs_where_nothing_can():
    for name in ('ViT', 'Swin', 'PVT'):
        backbone, images, labels = built(name)
        mix = Mixup(1.0).mix(images, labels)
        figures = summarise([analyse_mix(backbone, mix)])
        assert max(figures['rmse_share']) < 1e-6  # of Mixup
        mix = CutMix().mix(images, labels)
        figures = summarise([analyse_mix(backbone, mix)])
        assert figures['rmse_share'][0] < 1e-6 < figures['rmse_share'][1]
        same = Mix(mix.images, labels[:1].expand(3, -1), mix.partner, mix.mask)
        figures = summarise([analyse_mix(backbone, same)])
        assert max(figures['rmse_vector']) == 0  # of one class
        unmixed = Mix.unmixed(images, labels)
        found = analyse_mix(backbone, unmixed)
        assert found.share_by_layer.abs().max() == 0


def test_variation_sums_the_steps():
    backbone, images, labels = built('ViT')
    found = analyse_mix(backbone, CutMix().mix(images, labels))
    history = torch.stack([found.start, *found.shares])
    torch.testing.assert_close(found.variation, history.diff(dim=0).abs().sum(0))


def test_similarity_of_a_linear_network_is_the_share():
    """With all weights of blocks 0 a token is the projection of its pixels."""
    backbone = vit()
    for layer in backbone.layers:
        for parameter in layer.parameters():
            torch.nn.init.zeros_(parameter)
    backbone.eval()
    images = torch.randn(4, 3, 32, 32)
    mix = CutMix().mix(images, torch.eye(4))
    whole = mix.token_mask((4, 4)).expand(4, -1)
    found = analyse_mix(backbone, mix, images)
    clear = (mix.token_share((4, 4))[..., 0] == whole).expand(4, -1)
    projected = found.similarity['projection'][-1][:, 1:]
    torch.testing.assert_close(projected[clear], whole[clear])
    assert clear.any()


def test_head_gives_options_and_output():
    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(ROWS['ViT'].config),
            head=dict(
                type='mmtlalign.TLAlignVisionTransformerClsHead',
                num_classes=4,
                in_channels=32,
                layers=[-1],
                residual=2.0,
            ),
        )
    ).eval()
    images, labels = torch.randn(3, 3, 32, 32), torch.eye(4)[:3]
    mix = CutMix().mix(images, labels)
    with model.head.trace(model.backbone, mix) as traced, torch.no_grad():
        model.backbone(mix.images)
    shares = model.head.partner_shares(mix, traced)
    found = analyse_mix(model, mix)
    torch.testing.assert_close(found.share_by_layer[-1], shares[0])
    assert torch.equal(found.share_by_layer[0], found.share_by_layer[1])
    assert hasattr(model.backbone, 'trace_context')  # as the head left it
    found = analyse_mix(model, mix, layers=None, residual=True)
    assert not torch.allclose(found.share_by_layer[-1], shares[0])


def test_tokens_mixed_in_the_backbone():
    backbone, images, labels = built('LV-ViT', batch=4)
    np.random.seed(1)
    mix = MixToken(patch_size=8).mix(images, labels)
    with trace(backbone, mix) as traced, torch.no_grad():
        backbone(mix.images)
    found = analyse_mix(backbone, mix)
    torch.testing.assert_close(found.share_by_layer[-1], traced.partner_shares()[0])


def test_summary_of_parts_is_that_of_the_whole():
    backbone, images, labels = built('Swin', batch=4)
    images = torch.randn(4, 3, *images.shape[2:])
    found = []
    for seed in range(3):
        np.random.seed(seed)
        mix = CutMix(pairing='random').mix(images, torch.eye(4))
        found.append(analyse_mix(backbone, mix, images))
    figures = summarise(iter(found))
    shares = torch.cat([one.share_by_layer for one in found], dim=1).double()
    area = torch.cat([one.area for one in found]).double()
    expected = (shares - area).square().mean(1).sqrt().tolist()
    assert figures['pairs'] == 12 and figures['rmse_share'] == pytest.approx(expected)
    assert figures['rmse_vector'] <= figures['rmse_share']
    assert sum(figures['by_area']['count']) == 12
    assert len(figures['transmix']) == len(figures['similarity']['cosine'])
    sums = sum(one.moments['tlalign'] for one in found)
    assert figures['correlation']['tlalign'] == pearson_of(sums)
    assert set(figures['correlation']) == {
        'tlalign',
        'token_area',
        'cutmix',
        'transmix',
    }
    with pytest.raises(InputError, match='no mixed batch'):
        summarise([])


def test_late_class_token_has_no_row_before_it_joins():
    backbone, images, labels = built('PVT')
    found = analyse_mix(backbone, CutMix().mix(images, labels))
    prefixes = torch.tensor(found.prefixes)
    assert (prefixes == 0).any() and (prefixes == 1).any()
    assert torch.equal(found.transmix_by_layer.isnan().any(1), prefixes == 0)


def test_wrong_input_is_refused():
    backbone, images, labels = built('ViT')
    mix = CutMix().mix(images, labels)
    with pytest.raises(InputError, match='the same batch before mixing'):
        analyse_mix(backbone, mix, images[:2])
    with pytest.raises(InputError, match='choose from projection, cosine'):
        analyse_mix(backbone, mix, images, similarities=['angle'])
    backbone.train()
    with pytest.raises(InputError, match='training mode'):
        analyse_mix(backbone, mix)
    other, images, labels = built('T2T-ViT')
    with pytest.raises(UnsupportedError, match='omit the argument images'):
        analyse_mix(other, CutMix().mix(images, labels), images)
    assert not hasattr(other, 'trace_context')
