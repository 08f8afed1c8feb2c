"""Attention that image tokens receive, in windows with padding."""

import pytest
import torch

from mmtlalign.evaluation.attention_maps import LayerAttention
from mmtlalign.tracing.attention_readers import ReceivedAttention

GRID = (3, 3)
WINDOWS = GRID, (2, 2), (0, 0), True


@pytest.fixture
def masked():
    """Queries, keys and a mask by which padding attends to padding alone.

    As with Swin's -100, whose softmax underflows to 0 in half precision.
    """
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 2, 4, 8)
    # 1 is a real token, 0 padding.
    real = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    same = real[:, :, None] == real[:, None]
    return query, key, torch.where(same, 0, -torch.inf)[:, None], real.bool()


def test_padding_that_sees_only_padding_counts_nothing(masked):
    query, key, mask, real = masked
    weights = (query @ key.mT * 0.5 + mask).softmax(-1)
    columns = (weights * real[:, None, :, None]).sum(-2)
    # Tokens 0, 1, 3, 4 of the map are in the first window, and so on.
    places = [[0, 1, 3, 4], [2, 5], [6, 7], [8]]
    expected = torch.zeros(2, 9)
    for window, at in enumerate(places):
        expected[:, at] = columns[window][:, real[window]]
    for read in ('read', 'read_weights'):
        reader = ReceivedAttention(torch.rand(1, 9), GRID, 0, 1)
        reader.enter_windows(*WINDOWS)
        if read == 'read':
            reader.read(query, key, 0.5, mask)
        else:
            reader.read_weights(weights.mean(1))
        torch.testing.assert_close(reader.columns[0], expected.mean(0))
    maps = LayerAttention(weights, GRID, 0, windows=WINDOWS).column_map()
    torch.testing.assert_close(maps[0].flatten(1), expected / 4)
