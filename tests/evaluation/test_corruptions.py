"""Corruptions on the fly are repeatable; errors of ImageNet-C."""

import sys

import numpy as np
import pytest
from conftest import needs_corruptions

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation import corruptions
from mmtlalign.evaluation.corruptions import (
    ALEXNET_ERRORS,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    corrupt,
    corruption_errors,
)

ALL = CORRUPTIONS + EXTRA_CORRUPTIONS
DRAWN = set(ALL) - set(
    'defocus_blur zoom_blur brightness contrast pixelate jpeg_compression saturate '
    'gaussian_blur'.split()
)


def picture(height=40, width=56):
    """Smooth colours and an edge, no noise."""
    y, x = np.mgrid[:height, :width]
    planes = [255 * x / width, 255 * y / height, 120 + 100 * (x > y)]
    return np.stack(planes, axis=2).astype(np.uint8)


def state():
    kind, numbers, *rest = np.random.get_state()
    return kind, numbers.tolist(), rest


@needs_corruptions
@pytest.mark.parametrize('name', ALL)
def test_the_same_seed_gives_the_same_image(name):
    image, before = picture(), state()
    own = image.copy()
    first = corrupt(image, name, 3, seed=1)
    np.random.seed(77)
    second = corrupt(image, name, 3, seed=1)
    assert np.array_equal(first, second)
    assert np.array_equal(image, own)
    assert first.shape == image.shape and first.dtype == np.uint8
    assert not np.array_equal(first, image)
    np.random.set_state((before[0], np.array(before[1], np.uint32), *before[2]))
    corrupt(image, name, 1, seed=2)
    assert state() == before
    other = corrupt(image, name, 3, seed=2**32 - 1)
    assert np.array_equal(first, other) == (name not in DRAWN)


@needs_corruptions
@pytest.mark.parametrize('name', ALL)
def test_severities_rise_and_small_images_pass(name):
    image = picture(32, 32)
    for severity in (1, 5):
        assert corrupt(image, name, severity, 0).shape == image.shape
    assert corrupt(image[..., ::-1], name, 2, 0).shape == image.shape


@needs_corruptions
def test_the_state_is_restored_after_an_error(monkeypatch):
    library = corruptions._library()
    monkeypatch.setattr(library, 'corrupt', lambda *args, **kwargs: 1 / 0)
    before = state()
    with pytest.raises(ZeroDivisionError):
        corrupt(picture(), 'fog', 1, 0)
    assert state() == before


@pytest.mark.parametrize(
    'image, name, severity, words',
    [
        (picture(31, 64), 'fog', 1, '64 x 31 pixels.*32 x 32 or more'),
        (picture()[..., 0], 'fog', 1, r'RGB \(H, W, 3\)'),
        (picture() / 255, 'fog', 1, 'uint8, before normalisation'),
        (picture(), 'rain', 1, "no corruption 'rain': choose from gaussian_noise"),
        (picture(), 'fog', 6, 'severities are 1 to 5'),
        (picture(), 'fog', 0, 'severities are 1 to 5'),
    ],
)
def test_what_does_not_fit_is_refused(image, name, severity, words):
    with pytest.raises(InputError, match=words):
        corrupt(image, name, severity, 0)


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'imagecorruptions', None)
    corruptions._library.cache_clear()
    with pytest.raises(UnsupportedError, match='pip install imagecorruptions-imaug'):
        corrupt(picture(), 'fog', 1, 0)
    corruptions._library.cache_clear()


@needs_corruptions
def test_names_are_the_package_s():
    from imagecorruptions import get_corruption_names

    assert get_corruption_names() == list(CORRUPTIONS)
    assert get_corruption_names('validation') == list(EXTRA_CORRUPTIONS)


def test_alexnet_has_a_mean_corruption_error_of_100():
    errors = {name: [error] * 5 for name, error in ALEXNET_ERRORS.items()}
    found = corruption_errors(errors, 0.43478, 0.43478)
    assert found.mce == pytest.approx(100)
    assert found.relative_mce == pytest.approx(100)
    assert found.mean_error == pytest.approx(np.mean(list(ALEXNET_ERRORS.values())))
    assert corruption_errors(errors).relative_mce is None


@pytest.mark.parametrize(
    'change, words',
    [(dict(fog=[0.1] * 4), 'fog have fewer'), (dict(fog=[50] * 5), 'give fractions')],
)
def test_errors_that_lack_or_are_percent_are_refused(change, words):
    errors = {name: [0.5] * 5 for name in CORRUPTIONS} | change
    with pytest.raises(InputError, match=words):
        corruption_errors(errors)
