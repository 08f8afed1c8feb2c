"""Masks of shifted windows: the stock ones, made once for each size."""

import copy
import pickle

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models.utils import ShiftWindowMSA

from mmtlalign.fast import windows
from mmtlalign.fast.modules import share_windows
from mmtlalign.fast.windows import WindowMasks

SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=8, depths=[2, 2], num_heads=[1, 2]),
    img_size=32,
    patch_size=4,
    window_size=4,
    pad_small_map=True,
    out_indices=(1,),
)


@pytest.fixture
def made(monkeypatch):
    """Sizes of the masks that the stock module is asked for."""
    sizes, stock = [], ShiftWindowMSA.get_attn_mask

    def count(hw_shape, window_size, shift_size, device=None):
        if shift_size:
            sizes.append(tuple(hw_shape))
        return stock(hw_shape, window_size, shift_size, device)

    monkeypatch.setattr(ShiftWindowMSA, 'get_attn_mask', staticmethod(count))
    return sizes


def build():
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(SWIN))
    model.eval()  # which returns nothing
    return model


def test_each_size_once_and_outputs_of_the_stock_model(made):
    stock, ours = build(), build()
    share_windows(ours)
    assert ours.state_dict().keys() == stock.state_dict().keys()
    for size in ((32, 32), (24, 40), (32, 32), (24, 40)):
        images = torch.randn(2, 3, *size)
        before = list(made)
        wanted = stock(images)[-1]
        made[:] = before  # what the stock model made
        assert torch.equal(ours(images)[-1], wanted)
    # Maps of 8x8 and 6x10, then half of that; padded to whole windows.
    assert sorted(made) == [(4, 4), (4, 8), (8, 8), (8, 12)]


def test_the_oldest_are_forgotten(made, monkeypatch):
    monkeypatch.setattr(windows, 'KEPT', 2)
    masks = WindowMasks()
    for size in ((8, 8), (12, 12), (8, 8), (16, 16), (8, 8), (12, 12)):
        masks(size, window_size=4, shift_size=2)
    assert made == [(8, 8), (12, 12), (16, 16), (12, 12)]
    assert masks((8, 8), window_size=4, shift_size=0) is None


def test_copies_and_files_have_none_of_their_own(made):
    model = build()
    share_windows(model)
    model(torch.zeros(1, 3, 32, 32))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        (masks,) = {
            id(m.get_attn_mask): m.get_attn_mask
            for m in twin.modules()
            if isinstance(m, ShiftWindowMSA)
        }.values()
        assert not masks.known
        assert masks is not model.stages[0].blocks[0].attn.get_attn_mask
        images = torch.randn(1, 3, 32, 32)
        assert torch.equal(twin(images)[-1], model(images)[-1])


def test_a_mask_of_inference_mode_serves_training():
    model = build()
    share_windows(model)
    with torch.inference_mode():
        model(torch.zeros(1, 3, 32, 32))
    model.train()
    model(torch.zeros(1, 3, 32, 32))[-1].sum().backward()
    assert model.patch_embed.projection.weight.grad is not None
