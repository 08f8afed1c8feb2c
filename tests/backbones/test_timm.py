"""What timm models give as backbones, and what their wrapper says to bad input."""

import pytest
import timm
import torch
from contract_rows.timm import SwinTransformerBlock
from mmengine.registry import MODELS, init_default_scope
from timm_parts import DEIT, SMALL, SWIN, bare, build

from mmtlalign.backbones import timm_backbone
from mmtlalign.backbones.timm_backbone import TIMMBackbone
from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.validation.data import find_other_normalisation


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


@pytest.mark.parametrize('name', ['vit', 'mean', 'swin', 'swinv2', 'pvt'])
def test_features_are_what_timm_gives_to_its_classifier(name):
    images = torch.randn(2, 3, 32, 32)
    ours = build(SMALL[name]).eval()
    theirs = bare(SMALL[name]).eval()
    theirs.load_state_dict(ours.timm_model.state_dict(), strict=False)
    expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
    (out,) = ours(images)
    assert torch.equal(out, expected)
    assert out.shape == (2, *ours.channels)


def test_distilled_model_gives_both_tokens():
    backbone = build(SMALL['distilled']).eval()
    images = torch.randn(2, 3, 32, 32)
    ((token, dist),) = backbone(images)
    tokens = backbone.timm_model.forward_features(images)
    assert torch.equal(token, tokens[:, 0])
    assert torch.equal(dist, tokens[:, 1])


@pytest.mark.parametrize('name', SMALL)
def test_parameters_are_named_as_in_mmpretrain(name):
    stock = build(SMALL[name], type='TIMMBackbone').state_dict()
    assert list(build(SMALL[name]).state_dict()) == list(stock)
    dense = build(SMALL[name], out_indices=(0, 1))
    dense.load_state_dict(stock, strict=True)


def test_classification_checkpoint_goes_into_the_dense_backbone(tmp_path):
    given = build(SMALL['swin'])
    for tensor in given.parameters():
        tensor.data.normal_()
    state = {f'backbone.{k}': v for k, v in given.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'epoch_1.pth')
    own = build(SMALL['swin'], out_indices=(0, 1))
    lines = load_backbone(own, tmp_path / 'epoch_1.pth')
    assert f'{len(state)} of {len(state)} tensors' in lines[0]
    for key, tensor in given.state_dict().items():
        assert torch.equal(own.state_dict()[key], tensor)


MAPS = [
    ('vit', (0, 1, 2), (8, 8, 8), (32, 32, 32)),
    ('mean', (0, 2), (8, 8), (32, 32)),
    ('distilled', (1, -1), (8, 8), (32, 32)),
    ('swin', (0, 1), (4, 8), (16, 32)),
    ('swinv2', (0, 1), (4, 8), (16, 32)),
    ('pvt', (0, 1), (4, 8), (16, 32)),
]


@pytest.mark.parametrize('name, indices, strides, channels', MAPS)
@pytest.mark.parametrize('size', [(32, 32), (45, 71), (24, 20)])
def test_maps_of_images_of_any_size(name, indices, strides, channels, size):
    backbone = build(SMALL[name], out_indices=indices).eval()
    assert backbone.strides == strides
    assert backbone.channels == channels
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, *size))
        again = backbone(torch.randn(2, 3, 32, 32))
    assert len(maps) == len(again) == len(indices)
    for out, width, stride in zip(maps, channels, strides):
        assert out.shape == (2, width, *(-(-side // stride) for side in size))
        assert out.is_contiguous()


@pytest.mark.parametrize('name, indices, strides, channels', MAPS)
def test_every_parameter_of_a_dense_network_learns(name, indices, strides, channels):
    backbone = build(SMALL[name], out_indices=indices)
    sum(out.square().sum() for out in backbone(torch.randn(2, 3, 32, 32))).backward()
    assert not [n for n, p in backbone.named_parameters() if p.grad is None]


@pytest.mark.parametrize(
    'name, reason',
    [
        ('resnet18', 'it has no attention between tokens'),
        ('convnext_atto', 'mmpretrain has a class of this name that can be traced'),
    ],
)
def test_other_models_of_timm_are_backbones_too(name, reason):
    images = torch.randn(2, 3, 64, 96)
    pooled = TIMMBackbone(name).eval()
    assert pooled(images)[0].shape == (2, *pooled.channels)
    dense = TIMMBackbone(name, out_indices=(-2, -1)).eval()
    dense.load_state_dict(pooled.state_dict())
    for out, width, stride in zip(dense(images), dense.channels, dense.strides):
        assert out.shape == (2, width, 64 // stride, 96 // stride)
    with pytest.raises(TypeError, match=reason):
        backbone_spec(dense).output(dense)


def test_an_image_of_another_size_than_the_position_embeddings():
    with pytest.raises(AssertionError, match="height .40. doesn't match model .32."):
        build(SMALL['vit'])(torch.randn(1, 3, 40, 32))


@pytest.mark.parametrize('name', ['vit', 'mean', 'swin', 'pvt'])
def test_maps_are_those_of_timm_and_the_last_one_is_normed(name):
    dense = build(SMALL[name], out_indices=(0, -1)).eval()
    images = torch.randn(2, 3, 32, 32)
    model = dense.timm_model
    first, last = dense(images)
    _, maps = model.forward_intermediates(images, indices=list(dense.out_indices))
    assert torch.equal(first, maps[0])
    tokens = model.forward_features(images)
    if tokens.ndim == 3:
        tokens = model.fc_norm(tokens)[:, model.num_prefix_tokens :]
        tokens = tokens.unflatten(1, (4, 4))
    if name != 'pvt':
        tokens = tokens.permute(0, 3, 1, 2)
        assert not torch.allclose(last, maps[-1])
    assert torch.equal(last, tokens)


def test_channel_order_of_maps_is_that_of_the_image():
    """A change at the right edge of a wide image changes the right of the maps."""
    for name in ('vit', 'swin', 'pvt'):
        backbone = build(SMALL[name], out_indices=(0,)).eval()
        images = torch.randn(1, 3, 32, 64)
        changed = images.clone()
        changed[..., :4, 60:] += 1
        (before,), (after,) = backbone(images), backbone(changed)
        change = (after - before).abs().amax(1)[0]
        assert change.argmax() == change.shape[1] - 1, name


def test_swin_shifts_every_stage_of_a_dense_network():
    blocks = [
        module
        for module in build(SMALL['swin'], out_indices=(0, 1)).modules()
        if isinstance(module, SwinTransformerBlock)
    ]
    assert [b.shift_size for b in blocks] == [(0, 0), (2, 2)] * 2
    assert build(SMALL['swin']).timm_model.layers[1].blocks[1].shift_size == (0, 0)


def test_loaded_weights_are_not_started_anew(tmp_path):
    model = bare(SMALL['vit'])
    torch.nn.init.normal_(model.pos_embed)
    file = tmp_path / 'vit.pth'
    torch.save(model.state_dict(), file)
    loaded = build(SMALL['vit'], checkpoint_path=str(file))
    loaded.init_weights()
    assert torch.equal(loaded.timm_model.pos_embed, model.pos_embed)
    fresh = build(SMALL['vit'])
    before = fresh.timm_model.pos_embed.detach().clone()
    fresh.init_weights()
    assert not torch.equal(fresh.timm_model.pos_embed, before)


@pytest.mark.parametrize(
    'options, words',
    [
        (
            dict(model_name='vit_tiny_patch16_225'),
            'similar names are vit_tiny_patch16_224',
        ),
        (dict(out_indices=(0, 3)), r'out_indices=\(0, 3\).*maps 0 to 2 \(-3 to -1'),
        (dict(out_indices=(-4,)), 'maps 0 to 2'),
        (dict(out_indices=3), 'maps 0 to 2'),
        (dict(out_indices=()), 'at least one'),
        (dict(out_indices=(2, 0)), 'ascending'),
        (dict(out_indices=(2, -1)), 'each once'),
        (dict(out_type='map'), "out_type='map': choose one"),
        (
            dict(out_type='cls_token', out_indices=(0,)),
            'out_indices selects feature maps',
        ),
        (dict(out_type='cls_token', model_name=SWIN), 'has no class token'),
        (dict(out_type='avg_featmap', model_name=DEIT), 'class and distillation'),
        (dict(global_pool='map'), "global_pool='map'"),
        (dict(pretrained='file.pth'), 'checkpoint_path'),
        (dict(features_only=True), 'features_only is not an option.*: set out_indices'),
        (dict(num_classes=10), 'the head sets the number of classes'),
    ],
)
def test_impossible_arguments(options, words):
    config = SMALL['vit'] if options.get('model_name') != SWIN else SMALL['swin']
    with pytest.raises(ValueError, match=words):
        build(config, **options)


@pytest.mark.parametrize('mean, told', [(123.675, True), (127.5, False)])
def test_weights_of_another_normalisation_are_told(monkeypatch, mean, told):
    create = timm.create_model
    monkeypatch.setattr(timm_backbone, 'check_timm_download', lambda *given: None)
    monkeypatch.setattr(
        timm,
        'create_model',
        lambda name, pretrained, **options: create(name, **options),
    )
    name = 'vit_tiny_patch16_224.augreg_in21k_ft_in1k'  # trained with 0.5
    backbone = dict(type='mmtlalign.TIMMBackbone', model_name=name, depth=1)
    model = dict(
        type='ImageClassifier',
        backbone=dict(backbone, pretrained=True),
        data_preprocessor=dict(mean=[mean] * 3, std=[127.5] * 3),
    )
    lines = list(find_other_normalisation(MODELS.build(model)))
    assert [line.startswith('TIMMBackbone: its weights were') for line in lines] == (
        [True] if told else []
    )
    # Random weights expect nothing.
    model['backbone'] = backbone
    assert not list(find_other_normalisation(MODELS.build(model)))
