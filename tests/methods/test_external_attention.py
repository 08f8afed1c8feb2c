"""TransMix by the attention of another network: frozen, averaged, of another family."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from batch_mode import images as small_images
from batch_mode import samples
from guide_nets import BACKBONES, K
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS, init_default_scope
from small_backbones import randomise

from mmtlalign.errors import InputError
from mmtlalign.methods.guides import EMAGuideHook
from mmtlalign.methods.transmix import share_of_map
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.attention_readers import attention_reader
from mmtlalign.tracing.trace import trace_forward

VIT = dict(BACKBONES['vit'], out_type='cls_token', drop_rate=0.0, drop_path_rate=0.0)
CONVOLUTIONS = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)
AVERAGE = dict(type='mmtlalign.EMAAttention', attention='cls')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A file with the weights of a network like the students."""
    init_default_scope('mmpretrain')
    torch.manual_seed(5)
    file = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save(dict(state_dict=randomise(MODELS.build(VIT)).state_dict()), file)
    return file


def teacher(file, backbone=VIT, **options):
    return dict(
        type='mmtlalign.TeacherAttention',
        backbone=backbone,
        checkpoint=str(file),
        **options,
    )


def build(teacher, backbone=VIT, augment='CutMix', pre=None, **options):
    init_default_scope('mmpretrain')
    convolutions = backbone['type'] == 'ResNet'
    kind = 'Linear' if convolutions else 'VisionTransformer'
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=copy.deepcopy(backbone),
            neck=dict(type='GlobalAveragePooling') if convolutions else None,
            head=dict(
                type=f'mmtlalign.TransMix{kind}ClsHead',
                num_classes=K,
                in_channels=64 if convolutions else 16,
                loss=dict(type='CrossEntropyLoss', use_soft=True),
                teacher=copy.deepcopy(teacher),
                **options,
            ),
            data_preprocessor=pre and dict(num_classes=K, **pre),
            train_cfg=dict(augments=[dict(type=f'mmtlalign.{augment}')]),
        )
    )
    return randomise(model).train()


def mixed(count=5, size=32):
    torch.manual_seed(3)
    np.random.seed(3)
    return CutMix().mix(torch.randn(count, 3, size, size), torch.eye(K)[:count])


def weights_of(model, mix):
    with model.head.trace(model.backbone, mix) as seen:
        scores = (model.head(model.extract_feat(mix.images)),)
    return model.head.label_weights(mix, seen, scores)


@pytest.mark.parametrize('ratio', [0.0, 0.5, 1.0, 'confidence'])
def test_the_network_as_its_own_teacher_is_plain_transmix(weights, ratio):
    plain, taught = build(None, ratio=ratio), build(teacher(weights), ratio=ratio)
    file = torch.load(weights, weights_only=True)['state_dict']
    plain.backbone.load_state_dict(file)
    taught.load_state_dict(plain.state_dict())
    mix = mixed()
    ((_, expected),) = weights_of(plain, mix)
    ((_, found),) = weights_of(taught, mix)
    torch.testing.assert_close(found, expected)
    if ratio != 1.0:
        assert (found - mix.area()).abs().max() > 1e-4


def test_the_share_is_that_of_the_teachers_attention(weights):
    model, mix = build(teacher(weights)), mixed()
    ((_, share),) = weights_of(model, mix)
    network = MODELS.build(VIT)
    network.load_state_dict(torch.load(weights, weights_only=True)['state_dict'])
    attach(network.eval() or network)
    with trace_forward(network, attention_reader(network, mix)) as reader:
        network(mix.images)
    (looked,) = reader.output_shares()
    torch.testing.assert_close(share, (looked + mix.area()) / 2)
    assert not any(p.requires_grad for p in model.head.teacher.network.parameters())


@pytest.mark.parametrize('side', [1, 3, 4, 5, 32])
def test_a_map_of_any_grid_reads_the_nearest_pixel(side):
    mix, maps = mixed(), torch.rand(5, side, side)
    mask = mix.mask[0, 0]
    for found, grid in zip(share_of_map(maps, mix), maps):
        paid = sum(
            float(grid[r, c] * mask[r * 32 // side, c * 32 // side])
            for r in range(side)
            for c in range(side)
        )
        np.testing.assert_allclose(float(found), paid / float(grid.sum()), rtol=1e-5)


def test_empty_and_full_masks():
    mix, maps = mixed(), torch.rand(5, 4, 4)
    for share in (0.0, 1.0):
        mix.mask.fill_(share)
        torch.testing.assert_close(share_of_map(maps, mix), torch.full((5,), share))


@pytest.mark.parametrize('backbone', [VIT, CONVOLUTIONS], ids=['vit', 'resnet'])
@pytest.mark.parametrize('amp', [False, True])
def test_a_step_of_any_network(weights, backbone, amp):
    model = build(teacher(weights), backbone)
    state = list(model.state_dict())
    assert state == list(build(None).state_dict()) or backbone is CONVOLUTIONS
    assert not any('teacher' in name for name in state)
    assert not any('teacher' in name for name, _ in model.named_parameters())
    random = torch.get_rng_state()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        losses = model(small_images(), samples(), mode='loss')
    assert torch.equal(torch.get_rng_state(), random)
    losses['loss'].backward()
    assert losses['loss'].isfinite()
    before = {k: v.clone() for k, v in model.head.teacher.network.state_dict().items()}
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    after = model.head.teacher.network.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_a_distilled_teacher_loses_both_special_columns(tmp_path):
    backbone = dict(VIT, type='DistilledVisionTransformer')
    init_default_scope('mmpretrain')
    torch.save(dict(state_dict=MODELS.build(backbone).state_dict()), tmp_path / 't.pth')
    model, mix = build(teacher(tmp_path / 't.pth', backbone)), mixed()
    assert model.head.teacher(mix.images, mix.labels).saliency.shape == (5, 4, 4)
    ((_, share),) = weights_of(model, mix)
    assert ((share >= 0) & (share <= 1)).all()


def test_both_outputs_of_a_distilled_student_have_the_share(weights):
    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(VIT, type='DistilledVisionTransformer'),
            head=dict(
                type='mmtlalign.TransMixDeiTClsHead',
                num_classes=K,
                in_channels=16,
                loss=dict(type='CrossEntropyLoss', use_soft=True),
                teacher=teacher(weights),
            ),
            train_cfg=dict(augments=[dict(type='mmtlalign.CutMix')]),
        )
    ).train()
    first, second = weights_of(model, mixed())
    assert torch.equal(first[1], second[1])


def test_the_averaged_copy_teaches(weights):
    model = build(AVERAGE)
    mix = mixed()
    with pytest.raises(InputError, match='no averaged model.*EMAGuideHook'):
        weights_of(model, mix)
    ema = EMAHook(momentum=0.5)
    runner = SimpleNamespace(model=model, hooks=[ema], iter=0)
    ema.before_run(runner)
    EMAGuideHook().before_train(runner)
    ((_, before),) = weights_of(model, mix)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    ((_, after),) = weights_of(model, mix)
    torch.testing.assert_close(before, after)
    assert model(small_images(), samples(), mode='loss')['loss'].isfinite()


def test_the_file_is_read_when_a_training_begins_and_not_for_a_test(tmp_path):
    model = build(teacher(tmp_path / 'nowhere.pth')).eval()
    assert model(small_images(), mode='tensor').shape == (len(small_images()), K)
    with pytest.raises(InputError, match=r'nowhere\.pth'):
        model.init_weights()
    with pytest.raises(InputError, match=r'nowhere\.pth'):
        model.train()(small_images(), samples(), mode='loss')


IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
HALF = dict(mean=[127.5] * 3, std=[127.5] * 3)


def test_the_normalisation_is_compared(weights, tmp_path):
    with pytest.raises(InputError, match=r'teacher was trained .*mean=\[127.5'):
        build(teacher(weights, **HALF), pre=IMAGENET)
    build(teacher(weights, **HALF), pre=HALF)
    # Or with that of the config in the file, when the training begins.
    content = torch.load(weights, weights_only=True)
    for text, fits in (
        (f'data_preprocessor = {HALF}', False),
        (f'model = dict(data_preprocessor={HALF})', False),
        (f'data_preprocessor = {IMAGENET}', True),
        ('import os', True),
    ):
        content['meta'] = dict(cfg=text)
        torch.save(content, tmp_path / 'with_config.pth')
        model = build(teacher(tmp_path / 'with_config.pth'), pre=IMAGENET)
        if fits:
            model.init_weights()
            continue
        with pytest.raises(InputError, match='the same normalisation'):
            model.init_weights()


@pytest.mark.parametrize(
    'make, message',
    [
        (
            lambda file: build(teacher(file), augment='MixToken'),
            'MixToken with a teacher.*TokenCutMix',
        ),
        (
            lambda file: build(teacher(file), attention='received'),
            "attention='received', layer=-1 with a teacher",
        ),
        (
            lambda file: build(dict(type='mmtlalign.OwnAttention')),
            'teacher=OwnAttention: choose',
        ),
        (
            lambda file: build(teacher(file, BACKBONES['swin'])),
            "attention='cls' needs a class token, which SwinTransformer",
        ),
        (
            lambda file: build(None, CONVOLUTIONS),
            'ResNet',
        ),
    ],
)
def test_what_cannot_be_is_said_when_the_model_is_built(weights, make, message):
    with pytest.raises((InputError, TypeError), match=message):
        make(weights)


def test_a_switch_to_what_a_teacher_cannot_see_is_refused(weights):
    from mmpretrain.models.utils.batch_augments import RandomBatchAugment

    model = build(teacher(weights))
    with pytest.raises(InputError, match='MixToken with a teacher'):
        model.switch_augments(
            RandomBatchAugment([dict(type='mmtlalign.MixToken', patch_size=8)])
        )
