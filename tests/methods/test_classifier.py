"""MixClassifier, its heads, and what they say to bad input."""

import copy
import re

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from no_sync import NoSync
from repository import ROOT

from mmtlalign.errors import InputError
from mmtlalign.methods import base, classifier, smmix
from mmtlalign.methods.mixer import BatchMixer
from mmtlalign.methods.preprocessor import batch_labels
from mmtlalign.mixing.augments import Mixup
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.token_mix import TokenCutMix

VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32),
    img_size=32,
    patch_size=8,
)
SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=16, depths=[2, 2], num_heads=[1, 2]),
    out_indices=(1,),
    window_size=4,
)
LOSS = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
AUGMENTS = [dict(type='mmtlalign.TokenCutMix', patch_size=8)]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def build(head='mmtlalign.TLAlignVisionTransformerClsHead', backbone=VIT, **options):
    model = dict(
        type='mmtlalign.MixClassifier',
        backbone=backbone,
        head=dict(type=head, num_classes=7, in_channels=16, loss=LOSS),
        train_cfg=dict(augments=AUGMENTS),
    )
    model['head'].update(options.pop('head_options', {}))
    model.update(options)
    return MODELS.build(copy.deepcopy(model)).train()


def data(labels=(0, 1, 2, 6, 6), size=32):
    torch.manual_seed(0)
    samples = [DataSample().set_gt_label(y) for y in labels]
    for index, sample in enumerate(samples):
        sample.set_field(f'{index}.png', 'img_path', field_type='metainfo')
    images = torch.randint(0, 255, (len(labels), 3, size, size))
    return dict(inputs=images, data_samples=samples)


def losses(model, batch):
    return model(**model.data_preprocessor(batch, training=True), mode='loss')


HEADS = [
    ('mmtlalign.TLAlignVisionTransformerClsHead', VIT, {}),
    ('mmtlalign.TransMixVisionTransformerClsHead', VIT, {}),
    ('mmtlalign.TLAlignLinearClsHead', VIT, {}),
    ('mmtlalign.TransMixLinearClsHead', VIT, {}),
    ('mmtlalign.TLAlignLinearClsHead', dict(VIT, out_type='avg_featmap'), {}),
    (
        'mmtlalign.TLAlignLinearClsHead',
        dict(VIT, out_type='featmap'),
        dict(neck=dict(type='GlobalAveragePooling')),
    ),
    (
        'mmtlalign.TLAlignDeiTClsHead',
        dict(VIT, type='DistilledVisionTransformer'),
        {},
    ),
    (
        'mmtlalign.TransMixDeiTClsHead',
        dict(VIT, type='DistilledVisionTransformer'),
        {},
    ),
    (
        'mmtlalign.TLAlignLinearClsHead',
        SWIN,
        dict(
            neck=dict(type='GlobalAveragePooling'),
            head_options=dict(in_channels=32),
        ),
    ),
    ('VisionTransformerClsHead', VIT, {}),
    ('LinearClsHead', VIT, {}),
]


@pytest.mark.parametrize('head, backbone, options', HEADS)
def test_every_head_trains_and_predicts(head, backbone, options):
    np.random.seed(4)
    model = build(head, backbone, **copy.deepcopy(options))
    loss = losses(model, data())['loss']
    assert loss.isfinite()
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.eval()
    with torch.no_grad():
        batch = model.data_preprocessor(data(), training=False)
        predictions = model(**batch, mode='predict')
    assert predictions[0].pred_score.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize('head, backbone, options', HEADS)
def test_state_dict_is_that_of_the_stock_classifier(head, backbone, options):
    ours = build(head, backbone, **copy.deepcopy(options))
    stock = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=copy.deepcopy(backbone),
            neck=copy.deepcopy(options.get('neck')),
            head=dict(
                type=head.removeprefix('mmtlalign.')
                .removeprefix('TLAlign')
                .removeprefix('TransMix'),
                num_classes=7,
                in_channels=options.get('head_options', {}).get('in_channels', 16),
            ),
        )
    )
    stock.load_state_dict(ours.state_dict(), strict=True)
    with torch.no_grad():
        ours.eval(), stock.eval()
        images = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(ours(images), stock(images))


def test_outputs_read_their_own_share():
    """Class and distillation token get different targets from one forward."""
    distilled = dict(VIT, type='DistilledVisionTransformer')
    for method in ('TLAlign', 'TransMix'):
        model = build(f'mmtlalign.{method}DeiTClsHead', distilled)
        for parameter in model.backbone.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        images = torch.randn(4, 3, 32, 32)
        mask = torch.zeros(1, 1, 32, 32)
        mask[..., :16, 8:] = 1
        mix = Mix(images, torch.eye(7)[:4], torch.tensor([3, 2, 1, 0]), mask)
        with model.head.trace(model.backbone, mix) as seen:
            feats = model.extract_feat(images)
        own, dist = model.head.partner_shares(mix, seen)
        assert (own - dist).abs().max() > 1e-4
        scores = model.head.output_scores(feats)
        expected = sum(
            model.head.loss_module(score, mix.target(share))
            for score, share in zip(scores, (own, dist))
        )
        got = model.head.loss(feats, None, mix, seen)['loss']
        torch.testing.assert_close(got, expected / 2)


def test_mixup_is_left_as_it_is():
    """A constant mask is a fixed point of every layer, for both methods."""
    np.random.seed(3)
    for method in ('TLAlign', 'TransMix'):
        model = build(f'mmtlalign.{method}VisionTransformerClsHead')
        images = torch.randn(4, 3, 32, 32)
        mix = Mixup(0.8).mix(images, torch.eye(7)[:4])
        with model.head.trace(model.backbone, mix) as seen:
            model.extract_feat(mix.images)
        (share,) = model.head.partner_shares(mix, seen)
        torch.testing.assert_close(share, mix.area())


@pytest.mark.parametrize('ratio', [0.0, 0.5, 1.0])
def test_transmix_ratio_lies_between_area_and_attention(ratio):
    np.random.seed(5)
    model = build(
        'mmtlalign.TransMixVisionTransformerClsHead', head_options=dict(ratio=ratio)
    )
    images = torch.randn(4, 3, 32, 32)
    mix = CutMix().mix(images, torch.eye(7)[:4])
    with model.head.trace(model.backbone, mix) as seen:
        model.extract_feat(mix.images)
    (share,) = model.head.partner_shares(mix, seen)
    looked = seen.output_shares()[0]
    torch.testing.assert_close(share, ratio * mix.area() + (1 - ratio) * looked)


def test_transmix_uniform_attention_gives_the_area():
    model = build('mmtlalign.TransMixVisionTransformerClsHead')
    for layer in model.backbone.layers:
        torch.nn.init.zeros_(layer.attn.qkv.weight)
    np.random.seed(6)
    images = torch.randn(4, 3, 32, 32)
    mix = TokenCutMix(patch_size=8).mix(images, torch.eye(7)[:4])
    with model.head.trace(model.backbone, mix) as seen:
        model.extract_feat(mix.images)
    torch.testing.assert_close(model.head.partner_shares(mix, seen)[0], mix.area())


def test_ablation_options_reach_the_trace():
    np.random.seed(3)
    images = torch.randn(4, 3, 32, 32)
    mix = TokenCutMix(patch_size=8).mix(images, torch.eye(7)[:4])
    shares = {}
    for key, options in {
        'all': {},
        'last': dict(layers=[-1]),
        'plain': dict(residual=False),
    }.items():
        torch.manual_seed(0)
        model = build(head_options=options)
        for parameter in model.backbone.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        with model.head.trace(model.backbone, mix) as seen:
            model.extract_feat(images)
        (shares[key],) = model.head.partner_shares(mix, seen)
        if key == 'last':
            assert torch.equal(seen.history[0], seen.history[1])
            assert not torch.equal(seen.history[1], seen.history[2])
    assert (shares['all'] - shares['last']).abs().max() > 1e-4
    assert (shares['all'] - shares['plain']).abs().max() > 1e-4


def test_no_mixing_in_validation():
    model = build().eval()
    batch = model.data_preprocessor(data(), training=False)
    first = model(**copy.deepcopy(batch), mode='loss')['loss']
    np.random.seed(99)
    assert model(**batch, mode='loss')['loss'] == first


def test_own_and_stock_augments_in_one_list():
    """mmpretrain's batches get the ordinary mixed target."""
    mixer = BatchMixer(
        [dict(type='Mixup', alpha=0.8), dict(type='mmtlalign.CutMix')], [0.4, 0.4]
    )
    images, labels = torch.randn(4, 3, 32, 32), torch.eye(4)
    kinds = {'stock': 0, 'ours': 0, 'none': 0}
    np.random.seed(0)
    for _ in range(600):
        mix = mixer(images.clone(), labels)
        assert isinstance(mix, Mix)
        torch.testing.assert_close(mix.target(mix.area()).sum(1), torch.ones(4))
        if not torch.equal(mix.labels, labels):
            kinds['stock'] += 1
        elif mix.mask.any():
            kinds['ours'] += 1
        else:
            kinds['none'] += 1
    assert abs(kinds['stock'] - 240) < 50 and abs(kinds['ours'] - 240) < 50
    model = build(train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8)]))
    assert losses(model, data())['loss'].isfinite()


def test_augments_serve_a_stock_classifier():
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=copy.deepcopy(VIT),
            head=dict(
                type='VisionTransformerClsHead',
                num_classes=7,
                in_channels=16,
                loss=copy.deepcopy(LOSS),
            ),
            data_preprocessor=dict(num_classes=7),
            train_cfg=dict(
                augments=[
                    dict(type='mmtlalign.TokenCutMix', patch_size=8),
                    dict(type='mmtlalign.CutMix'),
                    dict(type='mmtlalign.Mixup', alpha=0.8),
                    dict(type='ResizeMix', alpha=1.0),
                ]
            ),
        )
    )
    for _ in range(6):
        batch = model.data_preprocessor(data(), training=True)
        target = torch.stack([s.gt_score for s in batch['data_samples']])
        torch.testing.assert_close(target.sum(1), torch.ones(5))
        assert model(**batch, mode='loss')['loss'].isfinite()


def test_config_is_not_changed_by_building():
    """mmpretrain appends to the list of probabilities; a second build then fails."""
    model = dict(
        type='mmtlalign.MixClassifier',
        backbone=dict(VIT),
        head=dict(type='mmtlalign.TLAlignLinearClsHead', num_classes=7, in_channels=16),
        train_cfg=dict(augments=AUGMENTS, probs=[0.5]),
    )
    before = copy.deepcopy(model)
    for _ in range(2):
        MODELS.build(model)
        assert model == before


@pytest.mark.parametrize('head', ['TLAlign', 'TransMix'])
@pytest.mark.parametrize(
    'loss, message',
    [
        (dict(LOSS, mode='multi_label'), 'LabelSmoothLoss ignores the shares'),
        (
            dict(LOSS, num_classes=1000),
            'LabelSmoothLoss.*7 classes: num_classes should',
        ),
        (dict(type='CrossEntropyLoss', class_weight=[1.0, 5.0]), '7 classes: .*weight'),
        (dict(type='SeesawLoss', num_classes=7), 'SeesawLoss fails for mixed labels'),
    ],
)
def test_losses_that_cannot_learn_mixed_labels(head, loss, message):
    with pytest.raises(InputError, match=message):
        build(f'mmtlalign.{head}VisionTransformerClsHead', head_options=dict(loss=loss))


@pytest.mark.parametrize(
    'loss',
    [
        dict(LOSS, mode='classy_vision', num_classes=7),
        dict(LOSS, class_weight=[0.0, 0, 0, 0, 0, 0, 2]),
        dict(type='CrossEntropyLoss'),
        dict(type='CrossEntropyLoss', use_soft=True),
        dict(type='CrossEntropyLoss', use_sigmoid=True),
        dict(type='FocalLoss'),
        dict(type='AsymmetricLoss'),
    ],
)
def test_losses_that_learn_mixed_labels(loss):
    assert losses(build(head_options=dict(loss=loss)), data())['loss'].isfinite()


@pytest.mark.parametrize(
    'options, message',
    [
        (
            dict(data_preprocessor=dict(num_classes=10)),
            'data_preprocessor.num_classes=10 but head.num_classes=7',
        ),
        (
            dict(data_preprocessor=dict(batch_augments=dict(augments=[]))),
            'move the augments to train_cfg',
        ),
        (dict(train_cfg=dict(augment=AUGMENTS)), "reads 'augments'"),
        (dict(train_cfg=dict(augments=[])), 'name at least one'),
        (dict(train_cfg=dict(augments=AUGMENTS, probs=[0.5, 0.5])), 'for 1 augments'),
        (dict(train_cfg=dict(augments=AUGMENTS, probs=[1.5])), 'sum to 1.5'),
        (dict(head_options=dict(cal_acc=True)), 'cal_acc=True'),
        (dict(head_options=dict(layers=[3])), r'layers=\[3\].*attentions 0 to 2'),
        (
            dict(head='mmtlalign.TransMixLinearClsHead', backbone=SWIN),
            'SwinTransformer does not output a class token',
        ),
        (
            dict(
                head='mmtlalign.TransMixLinearClsHead',
                backbone=dict(VIT, out_type='avg_featmap'),
            ),
            'does not output a class token',
        ),
        (dict(backbone=dict(VIT, out_type='raw')), "out_type='raw'"),
        (dict(backbone=dict(VIT, out_indices=[0])), r'out_indices=\(0,\).*last layer'),
        (
            dict(
                head='mmtlalign.TLAlignLinearClsHead',
                backbone=dict(SWIN, out_indices=(0,)),
            ),
            r'out_indices=\(0,\).*stage, so',
        ),
        (
            dict(head='mmtlalign.TLAlignDeiTClsHead'),
            r'has 1 output\(s\).*scores 2',
        ),
        (
            dict(backbone=dict(VIT, type='DistilledVisionTransformer')),
            r'has 2 output\(s\).*scores 1',
        ),
        (
            dict(
                head='mmtlalign.TransMixVisionTransformerClsHead',
                head_options=dict(ratio=2),
            ),
            'ratio=2.*from 0 to 1',
        ),
    ],
)
def test_what_cannot_be_built_says_why(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_unknown_backbone_cannot_be_built():
    with pytest.raises(TypeError, match='ResNet cannot be traced'):
        build(backbone=dict(type='ResNet', depth=18))


def test_head_option_that_does_not_exist():
    with pytest.raises(TypeError, match='lairs'):
        build(head_options=dict(lairs=[1]))


@pytest.mark.parametrize('label', [7, -1])
def test_label_out_of_range_names_the_image(label):
    model = build()
    with pytest.raises(
        ValueError, match=rf'2.png has label \[{label}\].*from 0 to .*6'
    ):
        losses(model, data((0, 1, label, 3)))


def test_missing_labels_name_the_image():
    model = build()
    batch = data()
    del batch['data_samples'][1].gt_label
    with pytest.raises(ValueError, match='1.png has no label'):
        losses(model, batch)
    with pytest.raises(ValueError, match='no data_samples'):
        losses(model, dict(inputs=batch['inputs']))


def test_patch_that_does_not_divide_the_image_stops_training():
    model = build(train_cfg=dict(augments=[dict(AUGMENTS[0], patch_size=24)]))
    with pytest.raises(ValueError, match='patch_size=24 does not divide.*32x32'):
        losses(model, data())


def test_learns_with_each_method():
    """A tiny model overfits four images, whichever target it is given."""
    for head in (
        'mmtlalign.TLAlignVisionTransformerClsHead',
        'mmtlalign.TransMixVisionTransformerClsHead',
        'VisionTransformerClsHead',
    ):
        torch.manual_seed(0)
        np.random.seed(0)
        model = build(head, data_preprocessor=dict(mean=[128] * 3, std=[64] * 3))
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        history = []
        for _ in range(60):
            loss = losses(model, data((0, 1, 2, 3)))['loss']
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
        assert np.mean(history[-10:]) < 0.8 * np.mean(history[:5]), head


def test_labels_travel_as_one_tensor():
    model = build()
    batch = model.data_preprocessor(data((0, 6, 2, 3)), training=True)
    samples = batch['data_samples']
    wanted = torch.eye(7)[[0, 6, 2, 3]]
    assert torch.equal(batch_labels(samples), wanted)
    assert batch_labels(samples).dtype == torch.float32
    assert not any('gt_score' in sample for sample in samples)
    # DistributedDataParallel hands on a new list of the same samples.
    assert torch.equal(batch_labels(list(samples)), wanted)
    with pytest.raises(ValueError, match='Labels of 4 images for a batch of 2'):
        batch_labels(samples[:2])
    assert model(**batch, mode='loss')['loss'].isfinite()


def test_images_arrive_as_with_the_stock_preprocessor():
    settings = dict(
        num_classes=7, mean=[1.0, 2, 3], std=[4.0, 5, 6], to_rgb=True, to_onehot=True
    )
    ours = MODELS.build(dict(settings, type='mmtlalign.MixDataPreprocessor'))
    stock = MODELS.build(dict(settings, type='ClsDataPreprocessor'))
    for batch in (data(), dict(data(), inputs=list(data()['inputs']))):
        wanted = stock(copy.deepcopy(batch), training=True)
        found = ours(copy.deepcopy(batch), training=True)
        assert torch.equal(found['inputs'], wanted['inputs'])
        labels = torch.stack([s.gt_score for s in wanted['data_samples']])
        assert torch.equal(batch_labels(found['data_samples']), labels)
    # Of several sizes they are padded, as there.
    batch = dict(data(), inputs=list(data()['inputs']))
    batch['inputs'][0] = batch['inputs'][0][:, :20]
    wanted = stock(copy.deepcopy(batch), training=True)['inputs']
    assert torch.equal(ours(copy.deepcopy(batch), training=True)['inputs'], wanted)


def test_images_of_several_classes_and_soft_labels():
    preprocessor = MODELS.build(
        dict(type='mmtlalign.MixDataPreprocessor', num_classes=3)
    )
    images = [torch.zeros(3, 4, 4, dtype=torch.uint8)] * 2
    several = [DataSample().set_gt_label(x) for x in ([0, 2], [1])]
    found = preprocessor(dict(inputs=images, data_samples=several), training=True)
    expected = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    assert torch.equal(batch_labels(found['data_samples']), expected)
    soft = torch.tensor([[0.5, 0.25, 0.25], [0, 1, 0]])
    samples = [DataSample().set_gt_score(score) for score in soft]
    found = preprocessor(dict(inputs=images, data_samples=samples), training=True)
    assert torch.equal(batch_labels(found['data_samples']), soft)
    samples[1] = several[1]
    with pytest.raises(ValueError, match='1 of 2 images of a batch have no gt_score'):
        preprocessor(dict(inputs=images, data_samples=samples), training=True)


@pytest.mark.parametrize(
    'lists', [[[], [3, 5]], [[], [1], []], [[], []], [[1, 4, 5], [], [], [2]]]
)
def test_images_without_a_class_keep_their_place(lists):
    preprocessor = MODELS.build(
        dict(type='mmtlalign.MixDataPreprocessor', num_classes=6)
    )
    images = [torch.zeros(3, 4, 4, dtype=torch.uint8)] * len(lists)
    samples = [DataSample().set_gt_label(label) for label in lists]
    found = preprocessor(dict(inputs=images, data_samples=samples), training=True)
    expected = torch.zeros(len(lists), 6)
    for row, label in zip(expected, lists):
        row[label] = 1
    assert torch.equal(batch_labels(found['data_samples']), expected)


@pytest.mark.parametrize(
    'head', ['VisionTransformerClsHead', 'LinearClsHead', 'MultiLabelLinearClsHead']
)
def test_stock_heads_get_the_loss_of_the_stock_classifier(head):
    # The last one reads its target in a way of its own.
    sigmoid = dict(loss=dict(type='CrossEntropyLoss', use_sigmoid=True))
    model = build(head, head_options=sigmoid if 'Multi' in head else {})
    np.random.seed(1)
    batch = model.data_preprocessor(data(), training=True)
    mix = model._mix(batch['inputs'], batch['data_samples'])
    feats = model.extract_feat(mix.images)
    target = mix.target(mix.area())
    found = model._plain_loss(feats, batch['data_samples'], target)
    samples = [DataSample().set_gt_score(score) for score in target]
    assert found.keys() == model.head.loss(feats, samples).keys()
    assert torch.equal(found['loss'], model.head.loss(feats, samples)['loss'])


@pytest.mark.parametrize('number', [1, 3])
def test_what_would_wait_for_a_gpu_is_found(number):
    with pytest.raises(AssertionError, match='_local_scalar_dense'), NoSync():
        torch.ones(number).sum().item()


@pytest.mark.parametrize('head, backbone, options', HEADS)
def test_a_step_waits_for_no_number(head, backbone, options):
    model = build(head, backbone, **copy.deepcopy(options))
    # Labels are checked where they come from, on the CPU.
    batch = model.data_preprocessor(data(), training=True)
    with NoSync():
        model(**batch, mode='loss')['loss'].backward()


@pytest.mark.parametrize('folder', ['mixing', 'methods', 'tracing', 'fast'])
def test_copies_to_a_gpu_are_those_that_do_not_wait(folder):
    """A CPU cannot notice them: numbers go to the device by ``to_device``."""
    waits = re.compile(
        r'(?<!to_device\()torch\.(?:as_)?tensor\(.*device|from_numpy\(.*\)\.to\('
    )
    for path in (ROOT / 'mmtlalign' / folder).rglob('*.py'):
        assert waits.findall(path.read_text(encoding='utf-8')) == [], path


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('head, backbone, options', HEADS)
def test_a_gpu_is_not_waited_for(head, backbone, options):
    model = build(head, backbone, **copy.deepcopy(options)).cuda()
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), fused=True))
    model.train_step(data(), wrapper)  # makes states and masks
    torch.cuda.set_sync_debug_mode('error')
    try:
        model.train_step(data(), wrapper)
    finally:
        torch.cuda.set_sync_debug_mode('default')


# -------------------------------------------------- what a user leaves out, or mixes


@pytest.mark.parametrize('method', ['TLAlign', 'TransMix'])
def test_a_head_of_ours_asks_for_our_classifier(method):
    head = dict(type=f'mmtlalign.{method}VisionTransformerClsHead', loss=LOSS)
    head.update(num_classes=7, in_channels=16)
    model = MODELS.build(dict(type='ImageClassifier', backbone=VIT, head=head))
    samples = [DataSample().set_gt_label(y) for y in (0, 1)]
    with pytest.raises(InputError, match='mmtlalign.MixClassifier'):
        model.loss(torch.rand(2, 3, 32, 32), samples)


@pytest.fixture
def warned(monkeypatch):
    """What was logged as a warning."""
    found = []
    for module in (base, classifier, smmix):
        monkeypatch.setattr(module, 'print_log', lambda text, *_: found.append(text))
    return found


@pytest.mark.parametrize(
    'augments, named',
    [
        ([dict(type='CutMix', alpha=1.0)], ['mmtlalign.CutMix']),
        ([dict(type='ResizeMix', alpha=1.0), *AUGMENTS], ['mmtlalign.ResizeMix']),
        ([dict(type='Mixup', alpha=0.8), *AUGMENTS], []),
        (AUGMENTS, []),
    ],
)
@pytest.mark.parametrize('method', ['TLAlign', 'TransMix'])
def test_augments_that_nothing_can_trace_are_told(warned, method, augments, named):
    head = f'mmtlalign.{method}VisionTransformerClsHead'
    build(head, train_cfg=dict(augments=augments))
    assert len(warned) == len(named)
    assert all(f'Use {name}.' in text for name, text in zip(named, warned))


def test_smmix_without_its_head_or_its_augment_is_told(warned):
    guide = dict(type='mmtlalign.OwnAttention')
    train_cfg = dict(augments=[dict(type='mmtlalign.SMMix')], guide=guide)
    build(train_cfg=train_cfg)
    (text,) = warned
    assert 'mmtlalign.SMMix…ClsHead' in text
    head = 'mmtlalign.SMMixVisionTransformerClsHead'
    backbone = dict(VIT, out_type='raw')
    build(head, backbone, train_cfg=train_cfg)
    assert len(warned) == 1
    build(head, backbone)
    assert len(warned) == 2 and 'no augment of train_cfg does so' in warned[1]


def test_boxes_that_cut_through_tokens_are_refused():
    for patch in (8, 16):
        build(train_cfg=dict(augments=[dict(AUGMENTS[0], patch_size=patch)]))
    with pytest.raises(InputError, match='tokens of 8 x 8 pixels'):
        build(train_cfg=dict(augments=[dict(AUGMENTS[0], patch_size=4)]))


def test_saliency_mix_without_guide_names_that_of_its_paper():
    with pytest.raises(InputError, match='mmtlalign.FineGrainedSaliency'):
        build(train_cfg=dict(augments=[dict(type='mmtlalign.SaliencyMix')]))
