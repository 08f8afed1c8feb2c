"""ReLabel: a map gives the label of the crop, to any classifier of mmpretrain."""

import numpy as np
import pytest
import torch
from label_map_files import NAMES, draw_map, fill, load_step, metadata_of
from label_map_steps import STEPS, build, compass
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from PIL import Image

from mmtlalign.errors import InputError
from mmtlalign.methods.relabel import ReLabel

K = 12  # classes of the store
CNN = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=4, base_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=K,
        in_channels=32,
        loss=dict(type='CrossEntropyLoss', use_soft=True),
    ),
    data_preprocessor=dict(num_classes=K),
)
TRANSFORMER = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
        img_size=32,
        patch_size=8,
    ),
    head=dict(
        type='mmtlalign.TLAlignVisionTransformerClsHead', num_classes=K, in_channels=16
    ),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', patch_size=8)], probs=[1.0]
    ),
)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def pictures(tmp_path):
    """A pipeline to the packed sample, and the paths it takes."""
    fill(tmp_path / 'maps')
    for name in NAMES:
        file = tmp_path / 'images' / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.randint(0, 255, (40, 56, 3), np.uint8)
        Image.fromarray(pixels).save(file)
    steps = [
        dict(type='LoadImageFromFile'),
        dict(
            type='mmtlalign.LoadLabelMap',
            root=str(tmp_path / 'maps'),
            image_root=str(tmp_path / 'images'),
            num_classes=K,
        ),
        dict(type='mmtlalign.FlipWithMap', prob=0.5),
        dict(
            type='mmtlalign.RandAugmentWithMap',
            policies='timm_increasing',
            num_policies=2,
            magnitude_level=9,
        ),
        dict(type='mmtlalign.RandomResizedCropWithMap', scale=32),
        dict(type='mmtlalign.ReLabel', num_classes=K),
        dict(type='RandomErasing', erase_prob=0.25, mode='rand'),
        dict(type='PackInputs'),
    ]
    pipeline = Compose([TRANSFORMS.build(step) for step in steps])

    def sample(number):
        path = tmp_path / 'images' / NAMES[number]
        return pipeline(dict(img_path=str(path), gt_label=number % K))

    return sample


def soft(logits):
    return np.exp(logits) / np.exp(logits).sum()


@pytest.mark.parametrize('order', ['crop', 'crop flip', 'flip crop', 'crop upright'])
def test_label_is_that_of_what_the_image_shows(order):
    """Two classes whose logits grow downwards and to the right."""
    pipeline = Compose([TRANSFORMS.build(STEPS[step]) for step in order.split()])
    for _ in range(10):
        results = ReLabel(2)(pipeline(compass(18, 18)))
        shown = results['img'][..., :2].mean(axis=(0, 1))
        np.testing.assert_allclose(results['gt_score'], soft(shown), atol=0.02)
        assert results['gt_score'].dtype == np.float32


def test_flip_after_it_changes_nothing():
    sample = TRANSFORMS.build(STEPS['crop'])(compass(18, 18))
    ours = ReLabel(2)(dict(sample))['gt_score']
    flipped = build('mmtlalign.FlipWithMap', prob=1.0)(dict(sample))
    np.testing.assert_allclose(ReLabel(2)(flipped)['gt_score'], ours, atol=1e-6)


def test_softmax_is_over_the_classes_of_the_data_set(tmp_path):
    fill(tmp_path)
    ids = [7, 2, 11]
    sample = load_step(tmp_path, class_ids=ids)(
        dict(img_path=f'data/pictures/{NAMES[0]}')
    )
    logits = draw_map(NAMES[0], metadata_of()).dense(12)[ids].mean(axis=(1, 2))
    # A crop of all has the mean of the cells, but for those at the border.
    step = build('mmtlalign.ReLabel', num_classes=3)
    np.testing.assert_allclose(step(sample)['gt_score'], soft(logits), atol=0.05)
    with pytest.raises(InputError, match=r'picture 0\.JPEG.*ReLabel has num_classes=2'):
        ReLabel(2)(sample)


def test_map_without_any_class_of_the_data_set_says_nothing():
    sample = compass(4, 4)
    sample['label_map_values'] *= 0  # as `class_ids` leaves it
    np.testing.assert_allclose(ReLabel(5)(sample)['gt_score'], 0.2)


@pytest.mark.parametrize('class_ids', [None, [7, 2, 11, 0, 3, 5]])
def test_hard_label_is_one_hot(tmp_path, class_ids):
    fill(tmp_path)
    sample = dict(
        img=np.zeros((30, 50, 3), np.uint8),
        img_path='data/pictures/a/none.JPEG',
        gt_label=5,
    )
    step = load_step(tmp_path, missing='hard label', class_ids=class_ids)
    sample = TRANSFORMS.build(STEPS['crop'])(step(sample))
    count = len(class_ids or range(K))
    score = ReLabel(count)(sample)['gt_score']
    np.testing.assert_array_equal(score, np.eye(count)[5])
    smooth = ReLabel(count, smoothing=0.1)(sample)['gt_score']
    np.testing.assert_allclose(smooth.max(), 0.9 + 0.2 / count, rtol=1e-6)


@pytest.mark.parametrize(
    ('model', 'augment'),
    [(CNN, None), (CNN, 'CutMix'), (TRANSFORMER, None)],
    ids=['stock', 'stock CutMix', 'TL-Align'],
)
def test_a_training_step(pictures, model, augment):
    model = dict(model, data_preprocessor=dict(num_classes=K))
    if augment:
        augments = [dict(type=augment, alpha=1.0)]
        model['train_cfg'] = dict(augments=augments, probs=[1.0])
    net = MODELS.build(model).train()
    net.init_weights()
    samples = [pictures(i) for i in range(8)]
    labels = torch.stack([s['data_samples'].gt_score for s in samples])
    assert labels.shape == (8, K) and labels.dtype == torch.float32
    assert (labels.max(dim=1).values < 0.9).all()  # soft, not one-hot
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(8))

    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    seen = []
    stock = net.head.loss

    def watch(feats, data_samples, *rest, **more):
        mix = rest[0] if rest else None
        seen.append(
            mix.labels
            if mix is not None
            else torch.stack([sample.gt_score for sample in data_samples])
        )
        return stock(feats, data_samples, *rest, **more)

    net.head.loss = watch
    before = [p.detach().clone() for p in net.parameters()]
    data = net.data_preprocessor(pseudo_collate(samples), training=True)
    loss = net(**data, mode='loss')['loss']
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert any((a != b).any() for a, b in zip(before, net.parameters()))
    if augment:  # mixed with one another in the stock preprocessor
        assert (seen[0] != labels).any()
        torch.testing.assert_close(seen[0].sum(dim=1), torch.ones(8))
    else:
        torch.testing.assert_close(seen[0], labels)


def test_a_stock_loss_is_the_cross_entropy_with_the_soft_label(pictures):
    net = MODELS.build(CNN).eval()
    samples = [pictures(i) for i in range(3)]
    labels = torch.stack([s['data_samples'].gt_score for s in samples])
    data = net.data_preprocessor(pseudo_collate(samples), training=True)
    expected = -(labels * net(**data).log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(net(**data, mode='loss')['loss'], expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_classes=0), 'num_classes=0'),
        (dict(num_classes=3, smoothing=1.0), 'smoothing=1.0'),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(InputError, match=message):
        ReLabel(**options)


def test_no_map():
    with pytest.raises(InputError, match='ReLabel finds no .*LoadLabelMap'):
        ReLabel(3)(dict(img=np.zeros((4, 4, 3))))
