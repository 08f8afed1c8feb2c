"""Pages of the label microscope, and one browser for all tests that look at them."""

import numpy as np
import pytest
import torch
from chromium import Chromium, find_chromium
from microscope_page import LARGE, READY, complaints, resize
from microscope_parts import (
    CLASSES,
    DHVT,
    DISTILLED,
    SWIN,
    VIT,
    Pictures,
    classifier,
    collate,
    page,
)

from mmtlalign.evaluation.microscope import collect_pairs, make_pairs
from mmtlalign.evaluation.microscope.write import write_page
from mmtlalign.mixing.augments import Mixup
from mmtlalign.mixing.fmix import FMix

HOSTILE = '</script><img src=x onerror="document.title=\'bad\'">'


def small_pairs(backbone, size, width=16, augments=None):
    model = classifier(backbone, width=width, augments=augments)
    return make_pairs(model, Pictures(size), collate, 4)


def masked_pairs():
    """Boxes aside: a mask of single pixels, and one share everywhere."""
    model, geometry, pairs = classifier(), None, []
    pre = model.data_preprocessor
    pixels = np.stack(Pictures().pixels[:2])[:, ::-1].copy()
    images = (torch.from_numpy(pixels).float() - pre.mean) / pre.std
    for augment in (FMix(), Mixup(1.0)):
        np.random.seed(1)
        mix = augment.mix(images, torch.eye(CLASSES)[:2])
        geometry, both = collect_pairs(model, mix, images)
        pairs += both
    return geometry, pairs


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    """Name to path and page."""
    folder, found = tmp_path_factory.mktemp('pages'), {}
    made = dict(
        vit=small_pairs(VIT, (32, 32)),
        distilled=small_pairs(DISTILLED, (32, 48)),
        swin=small_pairs(SWIN, (32, 32), 64),
        dhvt=small_pairs(DHVT, (18, 26), augments=dict(type='mmtlalign.CutMix')),
        masks=masked_pairs(),
    )
    for name, (geometry, pairs) in made.items():
        shown = page(geometry, pairs, config=f'{name}.py')
        found[name] = write_page(shown, folder / f'{name}.html'), shown
    long = [f'{HOSTILE} {number} ' + 'longname' * 12 for number in range(CLASSES)]
    shown = page(*made['distilled'], long, config=HOSTILE, weights='w' * 90)
    found['hostile'] = write_page(shown, folder / 'hostile.html'), shown
    return found


@pytest.fixture(scope='module')
def process(tmp_path_factory):
    program = find_chromium()
    if program is None:
        pytest.skip('no chromium here: apt-get install chromium')
    browser = Chromium(program, tmp_path_factory.mktemp('profile'))
    yield browser
    browser.close()


@pytest.fixture
def show(process, pages):
    """Open a page by name; afterwards nothing may have gone wrong in it."""

    def call(name, view='', size=LARGE):
        resize(process, size)
        process.open(pages[name][0].as_uri() + view, READY)
        return process

    yield call
    process.call('Emulation.setEmulatedMedia', media='', features=[])
    assert complaints(process) == []
