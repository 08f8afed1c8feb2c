"""Pixel steps draw for each picture alone, whatever the batch, worker and order."""

import numpy as np
import pytest
import torch
from conftest import needs_corruptions
from imagenet_files import fill, write_picture
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope
from mmengine.runner import Runner

from mmtlalign.datasets.imagenet_classes import subset_labels
from mmtlalign.errors import InputError
from mmtlalign.evaluation.corruptions import corrupt, corruption_seed

CORRUPT = 'mmtlalign.Corrupt'
STEPS = {
    'noise': dict(type=CORRUPT, name='impulse_noise', severity=4),
    'glass': dict(type=CORRUPT, name='glass_blur', severity=1),
    'drop': dict(type='mmtlalign.PatchDrop', ratio=0.5, grid=4),
    'shuffle': dict(type='mmtlalign.GridShuffle', grid=(2, 4)),
}
RUNNABLE = [
    pytest.param(name, marks=needs_corruptions if step['type'] == CORRUPT else ())
    for name, step in STEPS.items()
]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def picture(size=64):
    rng = np.random.default_rng(1)
    return rng.integers(1, 255, (size, size, 3), np.uint8)


def changed(step, index=0, image=None, **options):
    image = picture() if image is None else image
    results = dict(img=image.copy(), sample_idx=index)
    made = TRANSFORMS.build(dict(step, **options))(results)
    assert made['img'].dtype == np.uint8 and made['img'].flags.c_contiguous
    return made['img']


# ------------------------------------------------------------------------ pixels


@needs_corruptions
@pytest.mark.parametrize('name', ['saturate', 'brightness', 'gaussian_noise'])
def test_pictures_of_a_pipeline_are_bgr(name):
    rgb, seed = picture(), corruption_seed(7, name, 2, 5)
    expected = corrupt(rgb, name, 2, seed)
    step = dict(type=CORRUPT, name=name, severity=2, seed=7)
    bgr = changed(step, 5, np.ascontiguousarray(rgb[..., ::-1]))
    np.testing.assert_array_equal(bgr[..., ::-1], expected)
    np.testing.assert_array_equal(changed(step, 5, channel_order='rgb'), expected)


@needs_corruptions
def test_a_step_draws_what_the_tool_draws():
    from tools.evaluation.robustness import _corrupt

    rgb = picture()
    step = dict(type=CORRUPT, name='gaussian_noise', severity=2)
    expected = _corrupt(rgb, 5, 'gaussian_noise', 2)
    found = changed(step, 5, rgb, channel_order='rgb')
    np.testing.assert_array_equal(found, expected)


@needs_corruptions
def test_a_corrupted_sample_says_how():
    results = dict(img=picture(), sample_idx=0)
    made = TRANSFORMS.build(dict(STEPS['noise']))(results)
    assert (made['corruption'], made['severity']) == ('impulse_noise', 4)


@pytest.mark.parametrize('ratio', [0, 0.3, 0.5, 1])
def test_a_share_of_the_patches_is_black(ratio):
    step = dict(type='mmtlalign.PatchDrop', ratio=ratio, grid=(4, 8))
    cells = changed(step).reshape(4, 16, 8, 8, 3).swapaxes(1, 2).reshape(32, -1)
    black = (cells == 0).all(1)
    assert black.sum() == int(32 * ratio)
    kept = picture().reshape(4, 16, 8, 8, 3).swapaxes(1, 2).reshape(32, -1)
    np.testing.assert_array_equal(cells[~black], kept[~black])


def test_more_patches_hold_the_fewer():
    few, many = (changed(STEPS['drop'], ratio=r) == 0 for r in (0.25, 0.5))
    assert (few <= many).all() and few.sum() < many.sum()


def test_cells_of_a_shuffled_picture_are_its_own():
    cells = [
        {cell.tobytes() for cell in image.reshape(2, 32, 4, 16, 3).swapaxes(1, 2)
         .reshape(8, -1)}
        for image in (picture(), changed(STEPS['shuffle']))
    ]  # fmt: skip
    assert cells[0] == cells[1] and len(cells[0]) == 8
    assert (changed(STEPS['shuffle']) != picture()).any()


# ------------------------------------------------------------------------- draws


@pytest.mark.parametrize('name', RUNNABLE)
def test_index_and_seed_are_all_that_counts(name):
    step = STEPS[name]
    state = np.random.get_state()[1].copy()
    first = changed(step, 3)
    changed(step, 9)
    np.testing.assert_array_equal(changed(step, 3), first)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert (changed(step, 4) != first).any()
    assert (changed(step, 3, seed=1) != first).any()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('a')
    picture = write_picture(root / 'one.jpg', 64)
    return str(fill(root / 'imagenet-a', subset_labels('a'), picture))


@pytest.mark.parametrize('name', RUNNABLE)
def test_batches_workers_and_order_do_not_matter(root, name):
    pipeline = [dict(type='LoadImageFromFile'), STEPS[name], dict(type='PackInputs')]
    dataset = DATASETS.build(
        dict(
            type='mmtlalign.ImageNetSubset',
            which='a',
            data_root=root,
            pipeline=pipeline,
            indices=7,
        )
    )
    seen = []
    for size, workers, shuffle in ((7, 0, False), (2, 2, False), (3, 0, True)):
        loader = Runner.build_dataloader(
            dict(
                batch_size=size,
                num_workers=workers,
                dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=shuffle),
                collate_fn=dict(type='default_collate'),
            ),
            seed=size,
        )
        found = {}
        for batch in loader:
            for pixels, sample in zip(batch['inputs'], batch['data_samples']):
                found[sample.sample_idx] = pixels
        seen.append(torch.stack([found[index] for index in range(7)]))
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])
    assert len(seen[0].flatten(1).unique(dim=0)) == 7


# --------------------------------------------------------------------- bad input

WRONG = {
    'name': (dict(STEPS['noise'], name='rain'), "There is no corruption 'rain'"),
    'severity': (dict(STEPS['noise'], severity=6), 'severity=6: severities are 1 to 5'),
    'order': (dict(STEPS['noise'], channel_order='gbr'), "choose 'bgr' or 'rgb'"),
    'ratio': (
        dict(STEPS['drop'], ratio=1.5),
        'ratio=1.5: give the fraction of patches',
    ),
    'grid': (dict(STEPS['drop'], grid=0), 'grid=0: give the number of cells'),
    'pair': (dict(STEPS['shuffle'], grid=(2, 2, 2)), r'grid=\(2, 2, 2\): give the nu'),
    'divides': (dict(STEPS['drop'], grid=5), 'grid of 5 x 5 does not divide an image'),
}


@pytest.mark.parametrize('name', WRONG)
def test_wrong_settings(name):
    step, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        changed(step)


@pytest.mark.parametrize(
    'results',
    [
        dict(img=picture().astype(np.float32), sample_idx=0),
        dict(img=picture()[..., 0], sample_idx=0),
        dict(inputs=torch.zeros(3, 8, 8), sample_idx=0),
        dict(img=picture()),
    ],
)
def test_steps_in_the_wrong_place(results):
    message = 'place it after the crop and before PackInputs|needs sample_idx'
    with pytest.raises(InputError, match=message):
        TRANSFORMS.build(dict(STEPS['drop']))(results)
