"""Golden numbers of contribution and presence: matrices, a convolution, chains."""

import torch
from golden_esvit import Arrays
from golden_files import close

from mmtlalign.evaluation.presence import (
    contribution,
    convolution_presence,
    presence,
)
from mmtlalign.tracing.tracer import Tracer

DOUBLE, SINGLE = 1e-12, 1e-6


def check_presence(path):
    golden = Arrays(path)
    signed = golden['signed/weights_out_in']
    close(contribution(signed), golden['signed/contribution_out_in'], DOUBLE)
    close(presence(signed), golden['signed/presence'], DOUBLE)

    heads = golden['attention/heads'].double()
    by_head = golden['attention/presence_per_layer_and_head']
    close(presence(heads), by_head, SINGLE)
    close(presence(heads.mean(2)), golden['attention/presence_per_layer'], SINGLE)
    check_chain(golden)
    check_merging(golden)

    kernel, grid = golden['conv/kernel'], tuple(golden['conv/grid'].tolist())
    ours = convolution_presence(kernel, grid)
    close(ours, golden['conv/presence'], DOUBLE)
    inner = golden['conv/inner_is_one'].bool()
    assert ((ours[inner] - 1).abs() < DOUBLE).all()
    # 2r steps from each border, r on either side of a kernel's middle.
    sides = [max(g - 4 * (k // 2), 0) for g, k in zip(grid, kernel.shape)]
    assert inner.sum() == sides[0] * sides[1]


def check_chain(golden):
    """The tracer, started from the identity, on attention that is at hand."""
    heads = golden['attention/heads']
    layers, batch, _, tokens, _ = heads.shape
    eye = torch.eye(tokens).expand(batch, -1, -1)
    grid, prefix = tuple(golden['attention/grid'].tolist()), golden['attention/prefix']
    tracer = Tracer(eye, grid, int(prefix), layers)
    for weights in heads:
        tracer.weigh(weights)
    close(tracer.share, golden['attention/chain'], SINGLE)
    sums = torch.stack([share.sum(1) for share in tracer.history])
    close(sums, golden['attention/presence_accumulated'], SINGLE)
    rows = torch.stack([share[:, 0] for share in tracer.history])
    close(rows, golden['attention/class_row_accumulated'], SINGLE)


def check_merging(golden):
    """One attention in windows with a residual, then a merging."""
    grid, side = tuple(golden['merge/grid'].tolist()), int(golden['merge/window'])
    weights = golden['merge/window_attention_heads'].float()
    tracer = Tracer(torch.eye(grid[0] * grid[1])[None], grid, 0, 1)
    tracer.enter_windows(grid, (side, side))
    tracer.weigh(weights)
    tracer.leave_windows()
    tracer.merge_tokens((2, 2), (2, 2))
    close(tracer.share[0], golden['merge/chain_out_in'], SINGLE)
    raw = tracer.share[0].sum(0)
    close(raw, golden['merge/presence_raw'], SINGLE)
    scaled = raw * (len(raw) / tracer.share.shape[1])
    close(scaled, golden['merge/presence_mean_one'], SINGLE)
