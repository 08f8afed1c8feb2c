"""What DHVT's head tokens attend to, and how far patches look."""

import pytest
import torch
from contract_rows import ROWS
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.errors import InputError
from mmtlalign.evaluation.head_tokens import (
    attention_distance,
    figures_by_layer,
    head_token_attention,
    head_token_maps,
)
from mmtlalign.evaluation.regions import match_images, query_masks


def built(name):
    init_default_scope('mmpretrain')
    backbone = MODELS.build(dict(ROWS[name].config))
    backbone.eval()
    return backbone, torch.randn(2, 3, *ROWS[name].size)


def test_of_a_network():
    backbone, images = built('DHVT')
    attention, grid = head_token_attention(backbone, images)
    layers, batch, heads, tokens, _ = attention.shape
    assert batch == 2 and tokens == 1 + grid[0] * grid[1] + heads
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))
    maps = head_token_maps(attention, grid)
    assert maps.shape == (layers, 2, heads, *grid)
    own = head_token_maps(attention, grid, own_head=True)
    torch.testing.assert_close(
        own[0, 0, 1].flatten(), attention[0, 0, 1, -heads + 1, 1:-heads]
    )
    figures = figures_by_layer(attention, grid)
    assert all(values.shape == (layers,) for values in figures)
    assert (figures.mass > 0).all() and (figures.distance > 0).all()


def test_uniform_attention():
    heads, grid = 3, (2, 2)
    attention = torch.full((1, 1, heads, 8, 8), 1 / 8)
    figures = figures_by_layer(attention, grid)
    torch.testing.assert_close(figures.mass, torch.tensor([heads / 8]))
    torch.testing.assert_close(figures.class_mass, torch.tensor([heads / 8]))
    # To itself, two neighbours, and across.
    torch.testing.assert_close(figures.distance, torch.tensor([(2 + 2**0.5) / 4]))
    still = torch.eye(5).expand(2, 5, 5)
    assert attention_distance(still, grid) == 0


def test_wrong_networks_and_shapes():
    with pytest.raises(InputError, match='no head tokens'):
        head_token_attention(*built('ViT'))
    with pytest.raises(InputError, match='it must have 8'):
        head_token_maps(torch.zeros(1, 3, 9, 9), (2, 2))
    with pytest.raises(InputError, match='all patches attend to all patches'):
        attention_distance(torch.zeros(1, 5, 4), (2, 2))


def test_images_are_matched_both_ways():
    first = torch.eye(4)
    second = torch.eye(4)[[2, 0, 0]] + 0.1 * torch.tensor([0.0, 0.0, 1.0])[:, None]
    found = match_images(first, second)
    assert found.nearest[0] == 1 and found.nearest[2] == 0
    assert found.mutual[[0, 2]].all()
    assert set(found.best(2).tolist()) == {0, 2}
    assert set(found.best(4, mutual=True).tolist()) <= set(found.best(4).tolist())


def test_masks_of_a_query_stay_in_its_window():
    rows = torch.full((2, 4, 4), torch.nan)
    rows[:, :2, :2] = 0.25
    assert query_masks(rows, 0.6).sum((-1, -2)).tolist() == [3, 3]
    assert not query_masks(rows, 1.0)[:, 2:].any()
