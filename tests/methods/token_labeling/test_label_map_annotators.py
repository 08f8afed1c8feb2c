"""Annotators of every kind: their own head reads each cell, computed independently."""

import functools

import pytest
import timm
import torch
from label_map_files import draw_pictures, run_tool
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.annotators import build_annotator

SIZE, K = (64, 96), 9
VIT = dict(embed_dim=32, depth=1, num_heads=2)
# Model: what makes it small, its grid, and the logits of the features of one cell.
TIMM = {
    'deit_tiny_patch16_224': (VIT, (4, 6), lambda net, x: net.head(x)),
    'deit_tiny_distilled_patch16_224': (
        VIT,
        (4, 6),
        lambda net, x: (net.head(x) + net.head_dist(x)) / 2,
    ),
    'vit_base_patch16_siglip_224': (  # pools by attention
        VIT,
        (4, 6),
        lambda net, x: net.head(net.attn_pool(x[:, None])),
    ),
    'xcit_nano_12_p16_224': (VIT, (4, 6), lambda net, x: net.head(x)),
    'volo_d1_224': ({}, (4, 6), lambda net, x: net.aux_head(x)),
    'swin_tiny_patch4_window7_224': (
        dict(embed_dim=16, depths=(1,) * 4, num_heads=(1, 2, 4, 8)),
        (2, 3),
        lambda net, x: net.head.fc(x),
    ),
    'resnet18': (dict(layers=(1,) * 4), (2, 3), lambda net, x: net.fc(x)),
}
PREFIX = dict(
    deit_tiny_patch16_224=1,
    deit_tiny_distilled_patch16_224=2,
    xcit_nano_12_p16_224=1,
    volo_d1_224=1,
)
TOKENS = """
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='VisionTransformer',
        img_size=64,
        patch_size=16,
        out_type='raw',
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
    ),
    head=dict(
        type='mmtlalign.TokenLabelClsHead',
        num_classes=9,
        in_channels=16,
        {head}
    ),
    data_preprocessor=dict(
        mean=[100, 110, 120], std=[50, 60, 70], to_rgb={to_rgb}, num_classes=9
    ),
    train_cfg=dict(augments=dict(type='mmtlalign.MixToken')),
)
"""


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp('pictures'))


def randomise(net):
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def draw(size=SIZE):
    return torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)


@pytest.mark.parametrize('name', TIMM)
def test_timm(name, tmp_path, monkeypatch):
    small, grid, logits_of = TIMM[name]
    monkeypatch.setattr(
        timm, 'create_model', functools.partial(timm.create_model, **small)
    )
    sized = {} if name == 'resnet18' else dict(img_size=SIZE)
    net = randomise(timm.create_model(name, num_classes=K, **sized))
    torch.save(net.state_dict(), tmp_path / 'weights.pth')
    # The file says how many classes there are.
    file = str(tmp_path / 'weights.pth')
    annotator = build_annotator(f'timm:{name}', file, size=SIZE)
    images = draw()
    logits = annotator(images)
    assert logits.shape == (2, K, *grid)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (annotator.mean, annotator.std))
    with torch.no_grad():
        feats = net.forward_features((images / 255 - mean) / std)
        for row, column in [(0, 0), (1, 2), (grid[0] - 1, grid[1] - 1)]:
            if feats.ndim == 3:
                at = PREFIX.get(name, 0) + row * grid[1] + column
                cell = feats[:, at]
            elif name == 'resnet18':
                cell = feats[:, :, row, column]
            else:
                cell = feats[:, row, column]
            ours = logits[..., row, column]
            torch.testing.assert_close(ours, logits_of(net, cell), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('to_rgb', [True, False])
@pytest.mark.parametrize('dense', [True, False])
def test_network_trained_by_token_labels(tmp_path, to_rgb, dense):
    """Its classifier of tokens, or without one that of the class token."""
    config = tmp_path / 'config.py'
    rest = (
        '' if dense else "loss=dict(type='mmtlalign.TokenLabelLoss', dense_weight=0),"
    )
    config.write_text(TOKENS.format(head=rest, to_rgb=to_rgb))
    init_default_scope('mmpretrain')
    model = {}
    exec(config.read_text(), model)
    net = randomise(MODELS.build(model['model']))
    torch.save(dict(state_dict=net.state_dict()), tmp_path / 'epoch_1.pth')
    annotator = build_annotator(f'mmpretrain:{config}', str(tmp_path / 'epoch_1.pth'))
    images = draw((64, 64))
    # The host reads BGR.
    ready = net.data_preprocessor(dict(inputs=images.flip(1)))['inputs']
    classifier = net.head.layers.aux_head if dense else net.head.layers.head
    with torch.no_grad():
        tokens = net.backbone(ready)[-1][:, 1:]
        expected = classifier(tokens).unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    torch.testing.assert_close(annotator(images), expected, rtol=1e-4, atol=1e-4)


POOLED = """
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        img_size=64,
        patch_size=16,
        out_type='avg_featmap',
        final_norm={final_norm},
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
    ),
    head=dict(type='LinearClsHead', num_classes=9, in_channels=16),
)
"""


@pytest.mark.parametrize('final_norm', [True, False])
def test_network_with_a_norm_after_its_pooling(tmp_path, final_norm):
    """Each cell is normalised as the mean of the tokens would be."""
    config = tmp_path / 'config.py'
    config.write_text(POOLED.format(final_norm=final_norm))
    init_default_scope('mmpretrain')
    model = {}
    exec(config.read_text(), model)
    net = randomise(MODELS.build(model['model']))
    torch.save(net.state_dict(), tmp_path / 'weights.pth')
    annotator = build_annotator(f'mmpretrain:{config}', str(tmp_path / 'weights.pth'))
    images = draw((64, 64))
    with torch.no_grad():
        net.backbone.out_type = 'raw'
        tokens = net.backbone(images.flip(1).float())[-1][:, 1:]
        # What the classifier does if all tokens are like this one.
        cells = net.head.fc(net.backbone.ln2(tokens))
    expected = cells.unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    torch.testing.assert_close(annotator(images), expected, rtol=1e-4, atol=1e-4)


def test_without_statistics(tmp_path):
    """A network that is trained on pixels from 0 to 255 gets them."""
    config = tmp_path / 'config.py'
    config.write_text(
        "model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18, "
        "base_channels=4, stem_channels=4), neck=dict(type='GlobalAveragePooling'),\n"
        "    head=dict(type='LinearClsHead', num_classes=9, in_channels=32))\n"
    )
    init_default_scope('mmpretrain')
    model = {}
    exec(config.read_text(), model)
    net = MODELS.build(model['model']).eval()
    torch.save(net.state_dict(), tmp_path / 'weights.pth')
    annotator = build_annotator(f'mmpretrain:{config}', str(tmp_path / 'weights.pth'))
    images = draw()
    with torch.no_grad():
        whole = net(images.flip(1).float())
    torch.testing.assert_close(annotator(images).mean((2, 3)), whole)


def test_weights_that_do_not_fit(tmp_path):
    config, file = tmp_path / 'config.py', tmp_path / 'weights.pth'
    config.write_text(TOKENS.format(head='', to_rgb=True))
    torch.save({'backbone.cls_token': torch.zeros(1, 1, 16)}, file)
    with pytest.raises(InputError, match=r'weights\.pth lacks .* and \d+ more of'):
        build_annotator(f'mmpretrain:{config}', str(file))
    torch.save({'backbone.cls_token': torch.zeros(1, 1, 17)}, file)
    with pytest.raises(InputError, match=r'weights\.pth does not fit mmpretrain:'):
        build_annotator(f'mmpretrain:{config}', str(file))
    with pytest.raises(InputError, match='no published weights: give a file'):
        build_annotator(f'mmpretrain:{config}')
    with pytest.raises(InputError, match=r'weights\.pth does not fit'):
        build_annotator('timm:test_efficientnet', str(file))
    with pytest.raises(InputError, match='timm:lcnet_035: no weights'):
        build_annotator('timm:lcnet_035')


def test_network_without_classifier(tmp_path, monkeypatch):
    config, file = tmp_path / 'config.py', str(tmp_path / 'weights.pth')
    config.write_text(
        "model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18, "
        'base_channels=4, stem_channels=4))\n'
    )
    init_default_scope('mmpretrain')
    model = {}
    exec(config.read_text(), model)
    torch.save(MODELS.build(model['model']).state_dict(), file)
    with pytest.raises(InputError, match='has no classifier'):
        build_annotator(f'mmpretrain:{config}', file)
    monkeypatch.setattr(
        timm, 'create_model', functools.partial(timm.create_model, **VIT)
    )
    name = 'vit_small_patch14_dinov2'
    torch.save(timm.create_model(name, img_size=SIZE).state_dict(), file)
    with pytest.raises(InputError, match='timm:vit_small.* has no classifier'):
        build_annotator(f'timm:{name}', file, size=SIZE)


def test_annotator_of_other_classes_than_those_of_the_store(pictures, tmp_path):
    def weights(name, classes=1000):
        file = tmp_path / f'{classes}.pth'
        torch.save(timm.create_model(name, num_classes=classes).state_dict(), file)
        return str(file)

    run_tool(pictures, tmp_path / 'out', weights)
    nine = functools.partial(weights, classes=9)
    with pytest.raises(InputError, match='other settings.*num_classes: 1000, now 9'):
        run_tool(pictures, tmp_path / 'out', nine)
    names = tmp_path / 'classes.txt'
    names.write_text('cat\ndog\n')
    with pytest.raises(InputError, match='has 9 classes, but 2 names are given'):
        run_tool(pictures, tmp_path / 'other', nine, '--classes', names)
