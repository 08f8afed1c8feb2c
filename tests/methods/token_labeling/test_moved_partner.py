"""Label maps follow a partner that is pasted at another place or another size."""

import numpy as np
import pytest
import torch
from token_label_heads import GRID, SIZE, B, K, N, head_of, model_of, samples_of

from mmtlalign.methods.token_labeling.head import MixedTokens
from mmtlalign.methods.token_labeling.loss import mix_tokens
from mmtlalign.mixing.cutmix import ResizeMix
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.salient import SMMix

MODEL = dict(backbone=dict(out_type='raw'))


def mixed(augment):
    np.random.seed(2)
    torch.manual_seed(2)
    return augment.mix(
        torch.randn(B, 3, *SIZE),
        torch.eye(K)[:B],
        guide=lambda images, labels: GuideOutput(torch.rand(len(images), *GRID)),
    )


@pytest.mark.parametrize('topk', [None, 4])
def test_smmix_is_a_paste_of_the_maps(topk):
    mix, model = mixed(SMMix(patch_size=8)), model_of(**MODEL)
    samples = samples_of(topk)[0]
    with model.head.trace(model.backbone, mix, samples) as trace:
        pass
    labels = model.head.smooth_labels(mix.labels)
    own = model.head.token_labels(samples, labels, N, trace)
    found = mix_tokens(own, mix.partner, trace.share, trace.source)
    dense = own if topk is None else own.dense(K)
    expected = dense.clone().view(B, *GRID, K)
    maps = dense.view(B, *GRID, K)
    moved = 0
    for i, (top, bottom, left, right) in enumerate((mix.source // 8).tolist()):
        mask = mix.token_mask(GRID)[i].view(GRID) > 0
        part = maps[mix.partner[i], top:bottom, left:right]
        expected[i][mask] = part.flatten(0, 1)
        moved += int((mix.token_source(GRID)[i].view(GRID)[mask] % GRID[1] != 0).any())
    found = found if topk is None else found.dense(K)
    torch.testing.assert_close(found.view_as(expected), expected)
    in_place = mix_tokens(own, mix.partner, trace.share)
    in_place = in_place if topk is None else in_place.dense(K)
    assert (in_place - found).abs().max() > 0.01 and moved


@pytest.mark.parametrize('mode', ['batch', 'elem', 'pair'])
def test_a_resized_partner_is_read_at_the_nearest_token(mode):
    mix = mixed(ResizeMix(scale=(0.4, 0.9), mode=mode))
    assert mix.source.shape == (B, 4)
    index = mix.token_source(GRID)
    masks = mix.mask.expand(B, -1, -1, -1)[:, 0]
    for i, mask in enumerate(masks):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        for token in range(N):
            row, column = divmod(token, GRID[1])
            at = []
            for first, pixels, cells, side in (
                (8 * row, rows, GRID[0], SIZE[0]),
                (8 * column, columns, GRID[1], SIZE[1]),
            ):
                inside = pixels[(pixels >= first) & (pixels < first + 8)]
                if len(inside):
                    place = float(inside[0] - pixels[0] + 0.5) / len(pixels)
                    at.append(int(place * side) // (side // cells))
            expected = at[0] * GRID[1] + at[1] if len(at) == 2 else token
            assert int(index[i, token]) == expected
    # The whole partner is given.
    torch.testing.assert_close(mix.pasted_share(GRID), torch.ones(B, N))


@pytest.mark.parametrize('kind', ['TokenLabel', 'TLAlignTokenLabel'])
@pytest.mark.parametrize('traced', ['share', 'labels'])
@pytest.mark.parametrize('augment', ['SMMix', 'ResizeMix'])
def test_a_step(kind, traced, augment):
    if kind == 'TokenLabel' and traced == 'labels':
        return
    head = dict(type=f'mmtlalign.{kind}ClsHead')
    if kind == 'TLAlignTokenLabel':
        head.update(traced=traced)
    train_cfg = dict(
        augments=[dict(type=f'mmtlalign.{augment}')],
        guide=dict(type='mmtlalign.OwnAttention'),
    )
    model = model_of(head=head, train_cfg=train_cfg, **MODEL).train()
    losses = model(torch.randn(B, 3, *SIZE), samples_of(4, scores=True)[0], mode='loss')
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())


def test_one_label_for_all_tokens_needs_no_place():
    head, mix = head_of(missing='hard label'), mixed(SMMix(patch_size=8))
    labels = torch.eye(K)[:B][:, None]
    trace = MixedTokens(
        GRID, mix.token_share(GRID)[..., 0], source=mix.token_source(GRID)
    )
    found = mix_tokens(labels, mix.partner, trace.share, trace.source)
    expected = torch.lerp(labels, labels[mix.partner], trace.share[..., None])
    torch.testing.assert_close(found, expected)
    assert head.maps.missing == 'hard label'
