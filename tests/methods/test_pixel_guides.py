"""Input gradient and OpenCV's saliency: what they say, and that they leave no trace."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from batch_mode import images as small_images
from batch_mode import samples
from guide_nets import K, batch, build
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.errors import InputError
from mmtlalign.methods.pixel_guides import (
    SURROUNDS,
    FineGrainedSaliency,
    fine_grained_saliency,
)

GRADIENT = dict(type='mmtlalign.InputGradient')
SALIENT = dict(type='mmtlalign.FineGrainedSaliency')
MIX = dict(type='mmtlalign.SaliencyMix')
PUZZLE = dict(type='mmtlalign.PuzzleMix', blocks=(2, 4))
every_guide = pytest.mark.parametrize('guide', [GRADIENT, SALIENT])
every_network = pytest.mark.parametrize('name', ['vit', 'swin', 'pvt'])


@every_guide
@every_network
def test_a_look_changes_nothing(guide, name):
    model = build(name, MIX, guide=guide)
    images, labels = batch(name)
    if guide is SALIENT:
        images = 60 * images + 120  # pixels: there is no normalisation
    # A batch norm is a buffer that training would change.
    model.backbone.add_module('extra', torch.nn.BatchNorm1d(3))
    model.backbone.extra.eval()
    flags = {n: m.training for n, m in model.named_modules()}
    state = {k: v.clone() for k, v in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    random = torch.get_rng_state(), np.random.get_state()[1].copy()
    before = images.clone()
    with torch.no_grad():
        looked = model.mixer.guide(images, labels)
    assert torch.equal(torch.get_rng_state(), random[0])
    assert np.array_equal(np.random.get_state()[1], random[1])
    assert {n: m.training for n, m in model.named_modules()} == flags
    assert any(flags.values()) and not flags['backbone.extra']
    now = model.state_dict()
    assert now.keys() == state.keys()
    assert all(torch.equal(now[k], v) for k, v in state.items())
    assert all((p.grad == 0.5).all() for p in model.parameters())
    assert torch.equal(images, before) and not images.requires_grad
    assert looked.saliency.shape == images[:, 0].shape
    assert looked.saliency.min() >= 0 and looked.saliency.std() > 0
    assert looked.saliency.dtype is torch.float32
    assert not looked.saliency.requires_grad
    # In evaluation mode: twice the same, whatever is dropped in training.
    assert torch.equal(looked.saliency, model.mixer.guide(images, labels).saliency)


@every_network
def test_the_gradient_is_that_of_a_plain_backward_pass(name):
    model = build(name, MIX, guide=GRADIENT)
    images, labels = batch(name)
    looked = model.mixer.guide(images, labels)
    model.eval()
    pixels = images.clone().requires_grad_()
    scores = model.head(model.extract_feat(pixels))
    F.cross_entropy(scores, labels.argmax(1), reduction='sum').backward()
    expected = pixels.grad.pow(2).mean(1).sqrt()
    torch.testing.assert_close(looked.saliency, expected)
    torch.testing.assert_close(looked.scores, scores.detach())
    # Of each image alone.
    one = build(name, MIX, guide=GRADIENT).mixer.guide(images[:1], labels[:1])
    torch.testing.assert_close(one.saliency, expected[:1], rtol=1e-4, atol=1e-7)


def test_flags_are_restored_after_an_error():
    model = build(augment=MIX, guide=GRADIENT)
    flags = {n: m.training for n, m in model.named_modules()}
    model.backbone.layers[1].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.mixer.guide(*batch())
    assert {n: m.training for n, m in model.named_modules()} == flags


def test_recomputed_activations_are_refused():
    backbone = dict(with_cp=True)
    with pytest.raises(InputError, match='InputGradient with with_cp=True.*False'):
        build('swin', MIX, guide=GRADIENT, backbone=backbone)


@every_guide
def test_they_are_in_no_checkpoint(guide):
    plain = build(guide=None, augment=dict(type='mmtlalign.CutMix'))
    model = build(augment=MIX, guide=guide)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert len(list(model.parameters())) == len(list(plain.parameters()))


@every_guide
@pytest.mark.parametrize('mode', ['batch', 'elem', 'puzzle'])
@pytest.mark.parametrize('amp', [False, True])
def test_a_step(guide, mode, amp):
    augment = PUZZLE if mode == 'puzzle' else dict(MIX, mode=mode)
    model = build(augment=augment, guide=guide)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        losses = model(small_images(), samples(), mode='loss')
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.head.parameters())


def test_a_compiled_step_is_the_same():
    losses = []
    for compiled in (False, True):
        rates = dict(drop_rate=0.0, drop_path_rate=0.0)
        model = build(augment=MIX, guide=GRADIENT, backbone=rates)
        if compiled:
            model.backbone.compile(backend='eager')
        np.random.seed(1)
        torch.manual_seed(1)
        losses.append(model(small_images(), samples(), mode='loss')['loss_cls'])
    torch.testing.assert_close(losses[0], losses[1])


# ------------------------------------------------------------------ OpenCV's saliency


def surroundings(grey):
    """The formula once more, pixel by pixel, in whole numbers."""
    height, width = grey.shape
    on, off = np.zeros(grey.shape, int), np.zeros(grey.shape, int)
    for row in range(height):
        for column in range(width):
            middle = float(grey[row, column])
            for side in SURROUNDS:
                window = grey[
                    max(row + 1 - side, 0) : row + 1 + side,
                    max(column + 1 - side, 0) : column + 1 + side,
                ]
                others = (window.astype(float).sum() - middle) / (window.size - 1)
                on[row, column] += int(max(middle - others, 0))
                off[row, column] += int(max(others - middle, 0))
    return on, off


@pytest.mark.parametrize('size', [(20, 33), (40, 28)])
def test_the_map_is_that_of_the_formula(size):
    draw = np.random.RandomState(3)
    image = cv2.GaussianBlur(
        draw.randint(0, 256, (*size, 3)).astype(np.uint8), (7, 7), 0
    )
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    for _ in range(2):
        grey = cv2.GaussianBlur(grey, (3, 3), 0)
    on, off = (255 * part // part.max() for part in surroundings(grey))
    found = fine_grained_saliency(image).astype(int)
    # The sum of both parts may overflow, as in OpenCV.
    distance = np.abs(found - (on + off) % 256)
    assert np.minimum(distance, 256 - distance).max() <= 2


def test_what_stands_out_is_found_and_flat_images_say_nothing():
    image = np.full((32, 48, 3), 60, np.uint8)
    assert not fine_grained_saliency(image).any()
    image[20:26, 10:16] = 230
    row, column = np.unravel_index(fine_grained_saliency(image).argmax(), (32, 48))
    assert 20 <= row < 26 and 10 <= column < 16


def test_the_normalisation_is_taken_back():
    init_default_scope('mmpretrain')
    pictures = torch.randint(0, 256, (2, 3, 24, 24)).float()
    found = []
    for options in (dict(), dict(mean=[99.0, 120, 130], std=[51.0, 60, 70])):
        for to_rgb in (False, True):
            pre = dict(num_classes=K, to_rgb=to_rgb, **options)
            model = MODELS.build(
                dict(
                    type='mmtlalign.MixClassifier',
                    backbone=dict(type='VisionTransformer', arch='deit-tiny'),
                    head=dict(
                        type='VisionTransformerClsHead', num_classes=K, in_channels=192
                    ),
                    data_preprocessor=pre,
                    train_cfg=dict(augments=[MIX], guide=SALIENT),
                )
            )
            inputs = model.data_preprocessor(dict(inputs=list(pictures)))['inputs']
            found.append(model.mixer.guide(inputs, None).saliency)
    assert all(torch.equal(found[0], other) for other in found[1:])
    expected = fine_grained_saliency(
        pictures[0].permute(1, 2, 0).numpy().astype('uint8')
    )
    assert np.array_equal(found[0][0].numpy(), expected)


def test_floats_are_read_as_opencv_reads_them():
    """The maps of the official code differ from those of the pictures."""
    images = torch.randn(2, 3, 24, 24)
    legacy = FineGrainedSaliency(legacy_floats=True)(images, None).saliency
    plain = FineGrainedSaliency()(255 * torch.rand(2, 3, 24, 24), None).saliency
    assert legacy.shape == plain.shape and legacy.max() <= 255
    again = FineGrainedSaliency(legacy_floats=True)(images * 1.001, None).saliency
    # Bytes of a float change wholly where its value hardly does.
    assert (legacy - again).abs().max() > 50


try:
    OFFICIAL = cv2.saliency.StaticSaliencyFineGrained_create()
except AttributeError:
    OFFICIAL = None


@pytest.mark.skipif(OFFICIAL is None, reason='this OpenCV has no saliency module')
@pytest.mark.parametrize('kind', [np.uint8, np.float32])
def test_the_map_is_that_of_opencv(kind):
    draw = np.random.RandomState(0)
    image = cv2.GaussianBlur(draw.randint(0, 256, (60, 90, 3)).astype(kind), (9, 9), 0)
    image = image if kind is np.uint8 else image / 60 - 2
    _, theirs = OFFICIAL.computeSaliency(image)
    ours = fine_grained_saliency(image)
    assert np.array_equal(np.round(theirs * 255).astype(np.uint8), ours)


# ------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: build(augment=MIX, guide=None), 'SaliencyMix needs the saliency'),
        (
            lambda: build(augment=dict(MIX, mode='pair'), guide=GRADIENT),
            "mode='pair'.*has batch and elem",
        ),
        (
            lambda: build(augment=MIX, guide=GRADIENT, mode='elem'),
            "train_cfg.mode='elem'.*SaliencyMix cannot draw the mask",
        ),
        (
            lambda: build(augment=PUZZLE),
            r"\['pictures', 'saliency'\] and the guide OwnAttention.*InputGradient",
        ),
        (
            lambda: build(augment=PUZZLE, guide=None),
            'PuzzleMix needs the pictures and saliency.*InputGradient',
        ),
        (
            lambda: build(augment=dict(PUZZLE, blocks=(3,)), guide=GRADIENT),
            '3 blocks per side do not divide images of 32x32',
        ),
        (
            lambda: build(
                augment=dict(type='mmtlalign.AttentiveCutMix', cells=(3, 3)),
                guide=SALIENT,
            ),
            'a map of 32x32 cells, and AttentiveCutMix draws its mask on 3x3',
        ),
    ],
)
def test_what_cannot_be_is_said_when_the_model_is_built(make, message):
    with pytest.raises(InputError, match=message):
        make()
