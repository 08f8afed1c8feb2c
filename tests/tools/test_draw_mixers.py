"""The figure of all mixers shows what each does to the same pair."""

import numpy as np
import pytest
import torch
from PIL import Image

import mmtlalign.mixing
from tools.analysis_tools import draw_mixers

# Whose pixels are the own image's or the partner's, at their places.
IN_PLACE = [
    *('CutMix', 'TokenCutMix', 'FMix', 'GridMix', 'TokenMix', 'MaskMix'),
    'Attentive CutMix',
]


@pytest.fixture(scope='module')
def pair():
    return draw_mixers.paint_pair()


def test_every_mixer_of_two_images_is_in_the_figure():
    names = {type(mixer).__name__ for mixer in draw_mixers.mixers().values()}
    bases = {'BatchMix', 'TokenBatchMix'}
    known = {
        name
        for name in mmtlalign.mixing.__all__
        if isinstance(getattr(mmtlalign.mixing, name), type)
        and issubclass(getattr(mmtlalign.mixing, name), mmtlalign.mixing.BatchMix)
    }
    # MixToken mixes tokens inside the network, so that there is no picture.
    assert known - bases - {'MixToken'} <= names


@pytest.mark.parametrize('name', IN_PLACE)
def test_pixels_are_of_one_image_or_the_other(name, pair):
    images, ink = pair
    mix = draw_mixers.mix_pair(draw_mixers.mixers()[name], images, ink)
    own, partner = (mix.images[0] == images[i] for i in (0, 1))
    assert (own | partner).all()
    mask = mix.mask.expand(2, -1, -1, -1)[0, 0]
    assert torch.equal(mix.images[0], torch.where(mask > 0, images[1], images[0]))


def test_what_looks_at_the_images_shows_the_partner_s_ink(pair):
    images, ink = pair
    for name in ('Attentive CutMix', 'SMMix'):
        mix = draw_mixers.mix_pair(draw_mixers.mixers()[name], images, ink)
        given = mix.pasted_share((7, 7))[0]
        seen = ink[1].flatten()
        # More of the ink than of the image is taken.
        assert (given * seen).sum() / seen.sum() > given.mean() + 0.2


def test_the_figure_is_drawn_and_says_the_shares(tmp_path, capsys):
    path = tmp_path / 'mixers.png'
    draw_mixers.main([str(path)])
    printed = dict(
        line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()
    )
    low, high = draw_mixers.SHARES
    assert {name.strip() for name in printed} == set(draw_mixers.mixers())
    assert all(low <= float(share) <= high for share in printed.values())
    assert np.asarray(Image.open(path)).std() > 20


def test_another_file_is_refused(capsys):
    with pytest.raises(SystemExit):
        draw_mixers.main(['mixers.pdf'])
    assert 'ends with .png' in capsys.readouterr().err
