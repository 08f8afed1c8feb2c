"""Image and map move together, and tokens get the labels of what they show."""

import numpy as np
import pytest
import torch
from label_map_files import NAMES, fill, load_step
from label_map_steps import STEPS, build, compass
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS, init_default_scope

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.geometry import LabelMap, pool_label_maps

GRID, CELL = (5, 8), 9
GEOMETRIC = [
    dict(type='Rotate', angle=17.0),
    dict(type='Rotate', angle=12.0, center=(10.0, 3.0), scale=1.2),
    dict(type='Shear', magnitude=0.23),
    dict(type='Shear', magnitude=0.23, direction='vertical'),
    dict(type='Translate', magnitude=0.3),
    dict(type='Translate', magnitude=0.27, direction='vertical'),
]


def numbered():
    """An image of flat cells, each with a number; the map names the same number."""
    numbers = 1 + np.arange(GRID[0] * GRID[1]).reshape(GRID)
    picture = numbers.repeat(CELL, axis=0).repeat(CELL, axis=1).astype(np.uint8)
    return dict(
        img=np.stack([picture] * 3, axis=-1),
        label_map_values=np.ones((1, *GRID), np.float16),
        label_map_indices=numbers[None].astype(np.int16),
        label_map_box=np.array([0, 0, 1, 1], np.float32),
    )


def agreement(results):
    """Share of cells in which the map names what the image shows in the middle."""
    middle = results['img'][CELL // 2 :: CELL, CELL // 2 :: CELL, 0]
    named = results['label_map_indices'][0] * (results['label_map_values'][0] > 0)
    return (middle == named).mean()


def rand_augment(policy, **options):
    # Sharp cells, black outside.
    policy = dict(prob=1.0, interpolation='nearest', pad_val=0) | policy
    return build(
        'mmtlalign.RandAugmentWithMap',
        policies=[policy],
        num_policies=1,
        magnitude_level=9,
        **options,
    )


@pytest.mark.parametrize('sign', [0.0, 1.0])
@pytest.mark.parametrize(
    'policy', GEOMETRIC, ids=lambda p: '-'.join(map(str, p.values()))
)
def test_rand_augment_takes_the_map_along(policy, sign):
    results = rand_augment(dict(policy, random_negative_prob=sign))(numbered())
    before = numbered()
    assert (results['img'] != before['img']).any()
    assert agreement(results) == 1
    # The opposite way would be seen.
    before['img'] = results['img']
    other = rand_augment(dict(policy, random_negative_prob=1 - sign))(numbered())
    assert agreement(dict(other, img=results['img'])) < 0.8


@pytest.mark.parametrize(
    'policy', [GEOMETRIC[0], GEOMETRIC[2], GEOMETRIC[4]], ids=lambda p: p['type']
)
def test_legacy_geometry_is_near(policy):
    ahead, back = (
        rand_augment(dict(policy, random_negative_prob=sign), legacy_geometry=True)(
            numbered()
        )
        for sign in (0.0, 1.0)
    )
    # Not the same, but the same way.
    assert agreement(dict(back, img=ahead['img'])) < agreement(ahead) - 0.3
    assert agreement(ahead) < 1


def test_policies_draw_as_the_hosts_do():
    policies = 'timm_increasing'
    options = dict(num_policies=2, magnitude_level=9, magnitude_std=0.5)
    stock = build('RandAugment', policies=policies, **options)
    ours = build('mmtlalign.RandAugmentWithMap', policies=policies, **options)
    moved = 0
    for seed in range(40):
        np.random.seed(seed)
        expected = stock(dict(img=numbered()['img']))['img']
        np.random.seed(seed)
        results = ours(numbered())
        np.testing.assert_array_equal(results['img'], expected)
        moved += (results['label_map_indices'] != numbered()['label_map_indices']).any()
    assert 5 < moved < 35


def test_steps_run_as_often_as_they_are_asked_to():
    # mmcv's own cache of random parameters ends in a RecursionError.
    crop = build('mmtlalign.RandomResizedCropWithMap', scale=8)
    rotate = rand_augment(dict(type='Rotate', angle=20.0))
    small = dict(numbered(), img=np.zeros((8, 8, 3), np.uint8))
    for _ in range(1200):
        crop(rotate(dict(small)))
    for step in (crop, rotate.transforms[0]):
        assert not any(map(callable, vars(step).values()))


def test_policy_that_is_not_applied_moves_nothing():
    results = rand_augment(dict(GEOMETRIC[0], prob=0.0))(numbered())
    assert agreement(results) == 1
    np.testing.assert_array_equal(results['img'], numbered()['img'])


def test_unknown_policy_is_refused():
    with pytest.raises(InputError, match='not support policy RandomFlip'):
        build(
            'mmtlalign.RandAugmentWithMap',
            policies=[dict(type='RandomFlip', prob=0.5)],
            num_policies=1,
            magnitude_level=9,
        )


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_flip(direction):
    results = build('mmtlalign.FlipWithMap', prob=1.0, direction=direction)(numbered())
    assert (results['img'] != numbered()['img']).any()
    assert agreement(results) == 1
    still = build('mmtlalign.FlipWithMap', prob=0.0)(numbered())
    np.testing.assert_array_equal(still['img'], numbered()['img'])
    assert agreement(still) == 1


@pytest.mark.parametrize(
    'order', ['crop', 'flip crop', 'crop flip', 'upright crop flip', 'crop crop']
)
@pytest.mark.parametrize('grid', [(18, 18), (12, 20)])
@pytest.mark.parametrize('size', [(10, 14), 6, 1])
def test_tokens_are_labelled_from_what_they_show(order, grid, size):
    init_default_scope('mmpretrain')
    pipeline = Compose([TRANSFORMS.build(STEPS[step]) for step in order.split()])
    pool = build('mmtlalign.PoolLabelMap', size=size, num_classes=2)
    rows, columns = pool.size
    for _ in range(5):
        results = pool(pipeline(compass(*grid)))
        assert results['img'].shape[:2] == (60, 84)
        # (60, 84, 2): the image's own account, averaged over each token.
        shown = torch.from_numpy(results['img'][..., :2].copy()).permute(2, 0, 1)
        shown = torch.nn.functional.interpolate(
            shown[None], (rows, columns), mode='area'
        )
        ours = torch.from_numpy(results['gt_label_map'])
        # Near its edge a map knows no better than its outermost cells.
        edge = 0.5 / min(grid)
        torch.testing.assert_close(ours, shown[0], rtol=0, atol=edge)
        inner = (shown[0] > edge).all(0) & (shown[0] < 1 - edge).all(0)
        if size != 1:
            torch.testing.assert_close(
                ours[:, inner], shown[0][:, inner], rtol=0, atol=0.012
            )
        whole = torch.from_numpy(results['gt_map_label'])
        torch.testing.assert_close(whole, shown[0].mean((1, 2)), rtol=0, atol=edge)


def test_legacy_axis_order_looks_at_the_mirrored_box():
    sample = compass(18, 18)
    values, indices = (
        torch.from_numpy(sample[f'label_map_{key}'])[None]
        for key in ('values', 'indices')
    )
    # Rows 10 % to 40 %, columns 50 % to 90 %.
    box = torch.tensor([[0.1, 0.5, 0.3, 0.4]])
    (right,) = pool_label_maps(values, indices, box, 2, [1])
    (legacy,) = pool_label_maps(values, indices, box, 2, [1], legacy_axis_order=True)
    right = right.flatten()
    torch.testing.assert_close(right, torch.tensor([0.25, 0.7]), rtol=0, atol=0.01)
    torch.testing.assert_close(legacy.flatten(), right.flip(0), rtol=0, atol=0.01)


@pytest.mark.parametrize('legacy', [False, True])
def test_pooled_in_the_pipeline_as_in_a_batch(tmp_path, legacy):
    """Named classes alone or all of them, one image or several, whole or top-k."""
    store = fill(tmp_path)
    crop = np.array([0.2, 0.4, 0.5, 0.3], np.float32)
    options = dict(size=(3, 4), num_classes=12, legacy_axis_order=legacy)
    boxes = torch.from_numpy(crop).expand(len(NAMES), 4)
    values, indices = (
        torch.from_numpy(np.stack(planes))
        for planes in zip(*(store[name] for name in NAMES))
    )
    (batch,) = pool_label_maps(
        values, indices, boxes, 12, [(3, 4)], legacy_axis_order=legacy
    )
    for name, expected in zip(NAMES, batch.numpy()):
        sample = load_step(tmp_path)(dict(img_path=f'data/pictures/{name}'))
        sample['label_map_box'] = crop
        ours = build('mmtlalign.PoolLabelMap', **options)(dict(sample))
        np.testing.assert_allclose(ours['gt_label_map'], expected, atol=1e-6)
        top = build('mmtlalign.PoolLabelMap', topk=12, **options)(dict(sample))
        # The label of the crop names all classes, however few the tokens keep.
        few = build('mmtlalign.PoolLabelMap', topk=1, **options)(dict(sample))
        np.testing.assert_array_equal(few['gt_map_label'], ours['gt_map_label'])
        label_map = LabelMap(
            np.where(top['gt_label_map_index'] < 0, 0, top['gt_label_map']),
            top['gt_label_map_index'],
        )
        assert (np.diff(label_map.values.clip(0), axis=0) <= 0).all()
        np.testing.assert_allclose(label_map.dense(12), expected, atol=1e-6)


def test_less_than_k_named_classes():
    sample = compass(4, 4)
    pool = build('mmtlalign.PoolLabelMap', size=2, num_classes=9, topk=3)
    results = pool(sample)
    assert (results['gt_label_map_index'][2] == -1).all()
    assert results['gt_label_map'].shape == (3, 2, 2)


def test_hard_label_stays_certain(tmp_path):
    fill(tmp_path)
    init_default_scope('mmpretrain')
    sample = dict(
        img=np.zeros((30, 50, 3), np.uint8),
        img_path='data/pictures/a/none.JPEG',
        gt_label=5,
    )
    sample = load_step(tmp_path, missing='hard label')(sample)
    sample = TRANSFORMS.build(STEPS['crop'])(sample)
    results = build('mmtlalign.PoolLabelMap', size=4, num_classes=12)(sample)
    chance = torch.from_numpy(results['gt_label_map']).softmax(0)
    torch.testing.assert_close(chance[5], torch.ones(4, 4))


@pytest.mark.parametrize(
    'kind',
    ['FlipWithMap', 'RandomResizedCropWithMap', 'RandAugmentWithMap', 'PoolLabelMap'],
)
def test_step_without_a_map_says_so(kind):
    options = dict(
        FlipWithMap=dict(prob=1.0),
        RandomResizedCropWithMap=dict(scale=8),
        RandAugmentWithMap=dict(
            policies='timm_increasing', num_policies=2, magnitude_level=9
        ),
        PoolLabelMap=dict(size=2, num_classes=3),
    )
    with pytest.raises(InputError, match=rf'{kind} finds no .*LoadLabelMap'):
        build(f'mmtlalign.{kind}', **options[kind])(dict(img=numbered()['img']))


def test_rand_augment_after_the_crop_is_refused():
    init_default_scope('mmpretrain')
    sample = TRANSFORMS.build(STEPS['crop'])(numbered())
    with pytest.raises(InputError, match='before the crop'):
        rand_augment(GEOMETRIC[0])(sample)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size=0), 'size=0'),
        (dict(size=(1, 2, 3)), 'rows and columns'),
        (dict(size=2, topk=4), 'topk=4'),
    ],
)
def test_wrong_settings_of_pooling(options, message):
    with pytest.raises(InputError, match=message):
        build('mmtlalign.PoolLabelMap', num_classes=3, **options)


def test_map_of_more_classes_is_named():
    pool = build('mmtlalign.PoolLabelMap', size=2, num_classes=3)
    with pytest.raises(InputError, match=r'a\.JPEG has a label map with class 40'):
        pool(dict(numbered(), img_path='a.JPEG'))
