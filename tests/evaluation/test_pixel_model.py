"""A model that takes pixels gives the scores of prediction, and gradients."""

import copy

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from timm_parts import DEIT, SMALL, VIT, bare
from tiny_configs import tiny

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.pixel_model import PixelModel, evaluating
from mmtlalign.tracing.support import backbone_spec

STATS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
CONFIGS = [
    'transmix/transmix_deit-small-p16_1xb128-coslr-200e_cifar10-224px.py',
    'tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py',
    'tlalign/tlalign_swin-tiny-p4-w7_16xb64-coslr-300e_in1k.py',
    'tlalign/tlalign_caswin-tiny-p4-w7_16xb64-coslr-300e_in1k.py',
    'tlalign/tlalign_dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px.py',
    'tlalign/tlalign_timm-deit3-base-p16_in1k-pre_8xb64-20e_in1k.py',
    'cutmix/cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py',
    'token_labeling/tlalign-token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py',
    'token_labeling/token-label_dhvt-small-p16_2xb128-coslr-300e_in1k.py',
]


def classifier(head, backbone, **options):
    """A small classifier of mmpretrain, whose weights are far from uniform."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type=backbone, arch=arch, img_size=32, patch_size=8),
            head=dict(type=head, num_classes=7, in_channels=16),
            data_preprocessor=dict(dict(STATS, to_rgb=True), **options),
        )
    )
    return stir(model)


def stir(model):
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def pictures(size):
    return torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8)


def check_same(model, size):
    """Scores of pixels are those of the pipeline's images; gradients arrive."""
    rgb = pictures(size)
    samples = [DataSample() for _ in rgb]
    given = dict(inputs=list(rgb.flip(1)), data_samples=samples)
    # PyTorch's linear layers round differently where weights learn.
    with evaluating(model):
        expected = torch.stack([s.pred_score for s in model.test_step(given)])
    wrapped = PixelModel.of(model)
    model.train()
    flags = [m.training for m in model.modules()], list(model.parameters())
    pixels = (rgb.float() / 255).requires_grad_()
    scores = wrapped(pixels)
    assert torch.equal(scores.softmax(1), expected)
    assert [m.training for m in model.modules()] == flags[0]
    assert all(p.requires_grad for p in flags[1])
    scores.logsumexp(1).sum().backward()
    assert pixels.grad.isfinite().all()
    assert (pixels.grad.flatten(1).abs().amax(1) > 0).all()
    assert all(p.grad is None for p in model.parameters())
    assert wrapped.num_classes == scores.shape[1]
    return wrapped


@pytest.mark.parametrize('name', CONFIGS)
def test_scores_of_every_head_are_those_of_prediction(name, tmp_path):
    cfg = tiny(name, tmp_path)
    init_default_scope('mmpretrain')
    preprocessor = dict(cfg.get('data_preprocessor') or {})
    model = stir(MODELS.build(dict(dict(data_preprocessor=preprocessor), **cfg.model)))
    size = 32 if '32px' in name else 56
    wrapped = check_same(model, (size, size))
    assert backbone_spec(wrapped.backbone)


@pytest.mark.parametrize(
    'head, backbone',
    [
        ('DeiTClsHead', 'DistilledVisionTransformer'),
        ('mmtlalign.TLAlignDeiTClsHead', 'DistilledVisionTransformer'),
        ('VisionTransformerClsHead', 'VisionTransformer'),
    ],
)
@pytest.mark.filterwarnings('ignore')
def test_distilled_and_stock_heads(head, backbone):
    check_same(classifier(head, backbone), (32, 32))


def test_a_network_that_reads_bgr_and_pads():
    options = dict(to_rgb=False, pad_size_divisor=32, pad_value=1)
    model = classifier('VisionTransformerClsHead', 'VisionTransformer', **options)
    wrapped = check_same(model, (32, 24))
    black = wrapped.normalise(torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(
        black[0, :, 0, 0], -torch.tensor(STATS['mean']) / torch.tensor(STATS['std'])
    )
    grey = wrapped.mean_colour.float().expand(1, 3, 32, 32)
    assert wrapped.normalise(grey).abs().max() < 1e-5


def test_mmpretrain_s_own_timm_classifier():
    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='TimmClassifier',
            model_name=VIT,
            num_classes=5,
            depth=1,
            img_size=32,
            data_preprocessor=dict(STATS, to_rgb=True),
        )
    )
    wrapped = check_same(stir(model), (32, 32))
    assert wrapped.backbone is model.model


@pytest.mark.parametrize('name', ['vit', 'distilled', 'swin'])
def test_timm_models(name):
    model = stir(bare(dict(SMALL[name], num_classes=6)))
    size = model.patch_embed.img_size
    rgb = pictures(size).float() / 255
    wrapped = PixelModel.of(model)
    cfg = model.pretrained_cfg
    mean, std = (torch.tensor(cfg[key]).view(3, 1, 1) for key in ('mean', 'std'))
    with torch.no_grad():
        expected = model.eval()((rgb - mean) / std)
    torch.testing.assert_close(wrapped(rgb), expected, rtol=1e-4, atol=1e-4)
    assert wrapped.num_classes == 6
    assert wrapped.backbone is model


def test_own_network_and_forward():
    network = torch.nn.Conv2d(3, 4, 8)
    wrapped = PixelModel(
        network, [0] * 3, [255] * 3, forward=lambda x: network(x).flatten(2).mean(2)
    )
    assert wrapped(torch.rand(2, 3, 16, 16)).shape == (2, 4)
    with pytest.raises(UnsupportedError, match=r'shape \(2, 4, 9, 9\).*forward='):
        PixelModel(network, [0] * 3, [255] * 3)(torch.rand(2, 3, 16, 16))


def test_a_copy_runs_on_its_own_weights():
    model = classifier('VisionTransformerClsHead', 'VisionTransformer')
    wrapped = PixelModel.of(model)
    images = torch.rand(1, 3, 32, 32)
    before = wrapped(images)
    other = copy.deepcopy(wrapped).double()
    torch.testing.assert_close(other(images.double()).float(), before)
    stir(other)
    assert torch.equal(wrapped(images), before)


def test_autocast_does_not_reach_it():
    model = classifier('VisionTransformerClsHead', 'VisionTransformer')
    wrapped, images = PixelModel.of(model), torch.rand(1, 3, 32, 32)
    with torch.autocast('cpu', torch.bfloat16):
        inside = wrapped(images)
    assert torch.equal(inside, wrapped(images))


@pytest.mark.parametrize(
    'make, words',
    [
        (lambda m: setattr(m, 'data_preprocessor', torch.nn.Identity()), 'no mean'),
        (lambda m: m.half(), 'float16.*float32'),
    ],
)
def test_models_without_pixels_are_refused(make, words):
    model = classifier('VisionTransformerClsHead', 'VisionTransformer')
    make(model)
    with pytest.raises(InputError, match=words):
        PixelModel.of(model)


def test_models_that_say_nothing_are_refused():
    with pytest.raises(UnsupportedError, match='pretrained_cfg'):
        PixelModel.of(torch.nn.Linear(3, 3))
    model = bare(SMALL['distilled'])
    model.pretrained_cfg = {'architecture': DEIT}
    with pytest.raises(InputError, match='no mean or std'):
        PixelModel.of(model)


@pytest.mark.parametrize(
    'mean, std, words',
    [
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 'multiply both by 255'),
        ([1, 2], [1, 2, 3], 'one number for each'),
        ([120, 120, 120], [0, 1, 1], 'above 0'),
    ],
)
def test_statistics_of_other_units_are_refused(mean, std, words):
    with pytest.raises(InputError, match=words):
        PixelModel(torch.nn.Linear(1, 1), mean, std)


@pytest.mark.parametrize(
    'images, words',
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 'divided by 255'),
        (torch.full((2, 3, 8, 8), 200.0), 'neither 0...255'),
        (torch.full((2, 3, 8, 8), -1.0), 'nor normalised'),
        (torch.full((2, 3, 8, 8), torch.nan), 'nan'),
        (torch.zeros(3, 8, 8), r'give \(B, 3, H, W\)'),
    ],
)
def test_images_of_other_ranges_are_refused(images, words):
    model = PixelModel(torch.nn.Conv2d(3, 4, 8), [0] * 3, [255] * 3)
    with pytest.raises(InputError, match=words):
        model(images)
