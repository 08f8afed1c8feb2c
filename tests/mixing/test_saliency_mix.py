"""SaliencyMix: a box around what stands out of the partner."""

import numpy as np
import pytest
import torch

from mmtlalign.mixing.cutmix import box_mask
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.salient import SaliencyMix


def brute_force(peak, lam, size):
    """The box of CutMix around a point, clipped."""
    half = [int(side * np.sqrt(1 - lam)) // 2 for side in size]
    top, left = (max(at - h, 0) for at, h in zip(peak, half))
    bottom, right = (min(at + h, side) for at, h, side in zip(peak, half, size))
    return box_mask((top, bottom, left, right), size)


@pytest.mark.parametrize('size', [(32, 32), (24, 40)])
@pytest.mark.parametrize('count', [1, 4, 5])
@pytest.mark.parametrize('mode', ['batch', 'elem'])
@pytest.mark.parametrize('pairing', ['flip', 'random'])
def test_boxes_lie_around_the_strongest_point(mode, count, size, pairing):
    torch.manual_seed(0)
    images, labels = torch.randn(count, 3, *size), torch.eye(7)[:count]
    before = images.clone()
    for seed in range(8):
        np.random.seed(seed)
        maps = torch.rand(count, *size)
        asked = []

        def guide(images, labels, maps=maps, asked=asked):
            asked.append(images)
            found = [(one == before).flatten(1).all(1) for one in images]
            return GuideOutput(torch.stack([maps[f.nonzero()[0, 0]] for f in found]))

        augment = SaliencyMix(mode=mode, pairing=pairing)
        lams = []
        draw = augment.draw_lams
        augment.draw_lams = lambda n, draw=draw, lams=lams: (
            lams.append(draw(n)) or lams[0]
        )
        mix = augment.mix(images, labels, guide=guide)
        assert torch.equal(images, before)
        assert len(asked) == 1 and len(asked[0]) == (1 if mode == 'batch' else count)
        assert len(mix.mask) == (1 if mode == 'batch' else count)
        assert (mix.guide_output is None) == (mode == 'batch')
        for i, mask in enumerate(mix.mask):
            at = int(maps[mix.partner[i]].argmax())
            peak = divmod(at, size[1])
            expected = brute_force(peak, lams[0][i], size)
            assert np.array_equal(mask[0].numpy(), expected)
        inside = mix.mask.expand_as(images) > 0
        assert torch.equal(mix.images[inside], images[mix.partner][inside])
        assert torch.equal(mix.images[~inside], images[~inside])
        target = mix.target(mix.area())
        torch.testing.assert_close(target.sum(1), torch.ones(count))


def test_a_coarse_map_is_read_at_the_middle_of_its_cells():
    coarse = torch.zeros(2, 4, 4)
    coarse[:, 1, 2] = 1
    augment = SaliencyMix(mode='elem', pairing='flip')
    drawn = augment.draw_masks(
        (32, 32), np.array([0.75, 0.75]), GuideOutput(coarse), torch.tensor([1, 0])
    )
    assert np.array_equal(drawn.mask[0].numpy(), brute_force((12, 20), 0.75, (32, 32)))


def test_an_image_that_is_not_drawn_stays():
    saliency = torch.rand(3, 8, 8)
    drawn = SaliencyMix(mode='elem').draw_masks(
        (8, 8),
        np.array([1.0, 0.0, 0.3]),
        GuideOutput(saliency),
        torch.tensor([2, 1, 0]),
    )
    assert drawn.mask[0].sum() == 0 < drawn.mask[2].sum()


@pytest.mark.parametrize('prob, calls', [(0.0, 0), (1.0, 1)])
def test_the_guide_is_asked_for_a_mixed_batch_alone(prob, calls):
    asked = []

    def guide(images, labels):
        asked.append(1)
        return GuideOutput(torch.rand(len(images), 8, 8))

    SaliencyMix(prob=prob).mix(torch.randn(4, 3, 8, 8), torch.eye(4), guide=guide)
    assert len(asked) == calls
