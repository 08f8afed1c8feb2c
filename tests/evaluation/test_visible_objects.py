"""The empty box: visible objects, and what labels say of them."""

import numpy as np
import pytest
from golden_emptybox import count_in_masks
from scipy import stats

from mmtlalign.datasets.segmented_objects import SegmentedObjects
from mmtlalign.errors import InputError
from mmtlalign.evaluation.correlation import (
    bootstrap_images,
    pearson,
    slope,
    spearman,
)
from mmtlalign.evaluation.empty_box import compare_shares, describe_share
from mmtlalign.evaluation.visible_objects import VisibleObjects, other_images
from mmtlalign.mixing.cutmix import clipped_box


@pytest.fixture
def pairs():
    """Masks of 8 images, 200 pairs of these, boxes."""
    random = np.random.default_rng(0)
    masks = random.random((8, 12, 10)) < 0.3
    own = random.integers(8, size=200)
    partner = (own + random.integers(1, 8, size=200)) % 8
    boxes = np.array([clipped_box((12, 10), random.random()) for _ in own])
    return masks, own, partner, boxes


def test_sums_over_boxes_equal_masks(pairs):
    masks, own, partner, boxes = pairs
    fast = VisibleObjects.from_images(masks, own, partner, boxes)
    slow = count_in_masks(masks[own], masks[partner], boxes)
    for ours, other in zip(vars(fast).values(), vars(slow).values()):
        np.testing.assert_allclose(ours, other)


def test_correlations_equal_scipy():
    random = np.random.default_rng(1)
    x = random.integers(0, 20, 300) / 7
    y = 0.3 * x + random.normal(size=300).round(1)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-12)
    assert slope(x, y) == pytest.approx(stats.linregress(x, y)[0], abs=1e-12)
    # The mean of three times 0.1 is not 0.1.
    for same in (np.ones(5), np.full(3, 0.1)):
        ours = (f(same, y[: len(same)]) for f in (pearson, spearman, slope))
        assert all(np.isnan(value) for value in ours)


def test_the_ideal_label_has_no_phantom_mass(pairs):
    visible = VisibleObjects.from_images(*pairs)
    ideal = np.where(np.isfinite(visible.ideal), visible.ideal, 0.5)
    defined = np.isfinite(visible.ideal)
    figures = describe_share(visible.take(defined), ideal[defined])
    assert figures['phantom_mass@0'] == figures['rmse_to_ideal'] == 0
    assert figures['spearman'] == pytest.approx(1)
    assert figures['slope_beyond_area'] == pytest.approx(1)
    # More counts as empty the more may be visible.
    phantom = [describe_share(visible, visible.area)[f'phantom_mass@{t}']
               for t in ('0', '0.05', '0.1')]  # fmt: skip
    assert phantom == sorted(phantom)


def test_the_area_knows_nothing_beyond_itself(pairs):
    visible = VisibleObjects.from_images(*pairs)
    single = visible.area.astype(np.float32)  # as a network has it
    figures = describe_share(visible, single)
    assert np.isnan(figures['spearman_beyond_area'])
    assert np.isnan(figures['slope_beyond_area'])
    same = compare_shares(visible, single, visible.area, *pairs[1:3], draws=20)
    assert all(abs(x) < 1e-6 for interval in same.values() for x in interval)


def test_intervals_are_over_images(pairs):
    _, own, partner, _ = pairs
    visible = VisibleObjects.from_images(*pairs)
    share = np.where(np.isfinite(visible.ideal), visible.ideal, visible.area)
    found = compare_shares(visible, share, visible.area, own, partner, draws=200)
    ours, plain = (describe_share(visible, q) for q in (share, visible.area))
    for name, key in (('rmse_to_ideal',) * 2, ('phantom_mass', 'phantom_mass@0.05')):
        interval = found[name]
        assert interval.value == pytest.approx(ours[key] - plain[key])
        assert interval.low < interval.value < interval.high <= 0
    # Pairs that repeat tell nothing new.
    values = np.random.default_rng(2).normal(size=200)
    once = bootstrap_images(lambda i: values[i].mean(), own, partner)
    twice = bootstrap_images(
        lambda i: np.tile(values, 5)[i].mean(), np.tile(own, 5), np.tile(partner, 5)
    )
    assert np.allclose(once, twice)


def test_other_images_are_others():
    for count in (2, 5, 100):
        found = other_images(count)
        assert sorted(found) == list(range(count))
        assert (found != np.arange(count)).all()
    with pytest.raises(InputError, match='give two or more'):
        other_images(1)


def test_masks_of_another_size_are_refused(pairs):
    masks, own, partner, boxes = pairs
    with pytest.raises(InputError, match=r'give \(I, H, W\)'):
        VisibleObjects.from_images(masks, own, partner[:3], boxes)
    visible = VisibleObjects.from_images(masks, own, partner, boxes)
    with pytest.raises(InputError, match='for pairs of shape'):
        describe_share(visible, np.zeros(3))


# Measured beforehand on COCO-200's validation images, without a model: area, empty box
# at 0, 0.05, 0.1, share given it, empty rest at 0.05, phantom mass, RMSE, Spearman.
TABLE = {
    1: '.319 .16 .24 .30 .20 .18 .18 .06 .052 .072 .088 .297 .52',
    16: '.279 .19 .29 .35 .17 .16 .16 .05 .050 .069 .084 .293 .52',
}


@pytest.mark.real_data
@pytest.mark.parametrize('unit', TABLE)
def test_the_table_of_coco(unpack, unit):
    data = SegmentedObjects(
        'annotations/instances_val2017.json',
        str(unpack('coco200seg')),
        dict(img_path='val2017'),
        resize=256,
        crop=224,
    )
    masks = np.stack([data[i]['object_mask'] for i in range(len(data))])
    assert masks.shape == (100, 224, 224) and masks.any((1, 2)).all()
    count, random = 60_000, np.random.default_rng(0)
    own = random.integers(100, size=count)
    partner = (own + random.integers(1, 100, size=count)) % 100
    boxes = unit * np.array(
        [clipped_box((224 // unit,) * 2, np.random.beta(1, 1)) for _ in own]
    )
    visible = VisibleObjects.from_images(masks, own, partner, boxes)
    found = describe_share(visible, visible.area)
    thresholds = ('0', '0.05', '0.1')
    ours = [visible.area[visible.usable].mean()]
    ours += [found[f'empty_partner@{t}'] for t in thresholds]
    ours += [found[f'share_given_empty@{t}'] for t in thresholds]
    ours += [found['empty_own@0.05']]
    ours += [found[f'phantom_mass@{t}'] for t in thresholds]
    ours += [found['rmse_to_ideal'], found['spearman']]
    given = [float(value) for value in TABLE[unit].split()]
    assert np.abs(np.subtract(ours, given)).max() <= 0.01
