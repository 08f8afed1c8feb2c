"""The golden checks read their files: other settings pass, a wrong number does not."""

import numpy as np
import pytest
from golden_labelmap import check_labelmap_crop
from golden_lvvit import check_lvvit, check_lvvit_mixtoken, check_lvvit_single_precision
from golden_tokenlabel import check_tokenlabel_loss
from golden_writers import write_label_maps, write_losses
from golden_writers_lvvit import write_lvvit
from mmengine.registry import init_default_scope

LOSSES = [
    dict(
        seed=1,
        batch=3,
        classes=7,
        grid=(4, 4),
        box=(1, 0, 4, 3),
        dense_weight=0.25,
        smoothing=0.1,
    ),
    dict(
        seed=2,
        batch=6,
        classes=23,
        grid=(3, 5),
        box=(0, 1, 2, 5),
        dense_weight=1.7,
        smoothing=0.3,
    ),
    dict(
        seed=3,
        batch=2,
        classes=5,
        grid=(6, 6),
        box=(2, 4, 2, 6),  # empty
        dense_weight=0.0,
        smoothing=0.0,
    ),
]
MAPS = [
    dict(
        seed=1,
        classes=9,
        side=12,
        topk=3,
        sides=(7, 1),
        smoothings=(0.0, 0.25),
        lam=0.6,
        warps=[('rotate', 33.0), ('shear_x', -0.4), ('translate_y', 0.21)],
    ),
    dict(
        seed=2,
        classes=31,
        side=15,
        topk=6,
        sides=(10, 4),
        smoothings=(0.05, 0.15),
        lam=0.9,
        warps=[('rotate', -77.5), ('shear_y', 0.35), ('translate_x', -0.3)],
    ),
]
SIZES = [
    dict(size=32, patch=8, width=24, depth=2, classes=6, ratio=2.0, stem=5),
    dict(size=48, patch=16, width=36, depth=1, classes=11, ratio=4.0, stem=8),
]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def refused(check, file, change):
    """Whether the check of a file fails when an array of it is changed."""
    arrays = dict(np.load(file))
    change(arrays)
    other = file.with_name('changed.npz')
    np.savez(other, **arrays)
    try:
        check(other)
    except (AssertionError, RuntimeError):  # numbers, or sizes that do not fit
        return True
    return False


def off_by(key, amount):
    """A change of the last number of an array."""

    def change(arrays):
        array = np.array(arrays[key])
        array[(-1,) * array.ndim] += amount
        arrays[key] = array

    return change


@pytest.mark.parametrize('settings', LOSSES)
def test_losses_of_other_settings(tmp_path, settings):
    check_tokenlabel_loss(write_losses(tmp_path / 'file.npz', **settings))


def test_wrong_losses_are_found(tmp_path):
    file = write_losses(tmp_path / 'file.npz', **LOSSES[0])
    inputs = ('soft/target_B_C_2', 'ste/logits_rep2')
    results = [k for k in np.load(file) if '/' in k and k not in inputs]
    assert len(results) > 30
    for key in [*results, 'lam']:
        assert refused(check_tokenlabel_loss, file, off_by(key, 1e-4)), key
    for key, amount in dict(
        dense_weight=0.01,
        box=-1,
        gt_index=-1,
        agree=1,
        cls_logits=0.1,
        aux_logits=0.1,
        target_dense=0.1,
        target_2d=0.1,
    ).items():
        assert refused(check_tokenlabel_loss, file, off_by(key, amount)), key


@pytest.mark.parametrize('settings', MAPS)
def test_label_maps_of_other_settings(tmp_path, settings):
    check_labelmap_crop(write_label_maps(tmp_path / 'file.npz', **settings))


def test_wrong_label_maps_are_found(tmp_path):
    file = write_label_maps(tmp_path / 'file.npz', **MAPS[0])
    results = [k for k in np.load(file) if '/' in k and not k.startswith('meta/')]
    assert len(results) > 15
    for key in [*results, 'coords_top_left_h_w', 'maps_after_flip']:
        assert refused(check_labelmap_crop, file, off_by(key, 1e-4)), key
    for key in ('flip', 'gt', 'crop_i_j_h_w'):
        assert refused(check_labelmap_crop, file, off_by(key, 1)), key

    # Crops that are labelled from the mirror image across the diagonal.
    def exchange(arrays):
        for key in [k for k in arrays if k.startswith('official/size')]:
            other = key.replace('official', 'corrected')
            arrays[key], arrays[other] = arrays[other], arrays[key]

    assert refused(check_labelmap_crop, file, exchange)


@pytest.mark.parametrize('weight', [0.3, 1.0])
@pytest.mark.parametrize('size', SIZES)
def test_lvvit_of_other_settings(tmp_path, size, weight):
    file = write_lvvit(tmp_path / 'file.npz', 1, weight, **size)
    check_lvvit(file)
    check_lvvit_single_precision(file)


def test_wrong_numbers_of_lvvit_are_found(tmp_path):
    file = write_lvvit(tmp_path / 'file.npz', 2, 0.3, lam=2.0, **SIZES[0])
    results = [k for k in np.load(file) if k.startswith(('eval/', 'train/'))]
    for key in [k for k in results if 'gradnorm' not in k or 'fc1' in k]:
        assert refused(check_lvvit, file, off_by(key, 1e-3)), key

    def rename(arrays):
        arrays['train/loss_dense0.31'] = arrays.pop('train/loss_dense0.3')

    assert refused(check_lvvit, file, rename)
    assert refused(check_lvvit, file, off_by('meta/skip_lam', 0.01))


@pytest.mark.parametrize('size', SIZES)
def test_mixtoken_of_other_settings(tmp_path, size):
    boxes = [(0, 1, 2, 2), (1, 1, 1, 3), (0, 0, 3, 2)]  # the second is empty
    file = write_lvvit(tmp_path / 'file.npz', 3, 0.5, boxes=boxes, batch=3, **size)
    check_lvvit_mixtoken(file)
    check_lvvit_single_precision(file)
    results = [k for k in np.load(file) if k.startswith(('s10', 's12'))]
    for key in [*results, 'eval/combined', 'bbox/box_r1_c1_r2_c2']:
        amount = 1 if 'box' in key else 1e-3
        assert refused(check_lvvit_mixtoken, file, off_by(key, amount)), key
