"""Rows of the tracing contract: TransMix reads the last attention, written densely."""

import oracles
import torch
from contract_rows import HOOKS, ROWS
from contract_steps import attached, every_row, mixed, stock

from mmtlalign.tracing.attention_readers import attention_reader
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import trace_forward


@every_row
def test_looks_of_the_last_attention_equal_the_dense_ones(row):
    mix, backbone = mixed(row), attached(row)
    kind = 'cls' if ROWS[row].output == 'class' else 'received'
    torch.manual_seed(5)
    with trace_forward(backbone, attention_reader(backbone, mix, kind)) as seen:
        backbone(mix.images)
    torch.manual_seed(5)  # the same dropout
    events = oracles.dense_events(stock(row), mix.images, HOOKS)
    if kind == 'received':
        events = [event for event in events if event[0] != 'look']
    look, merges = oracles.last_look(events)
    spec = backbone_spec(backbone)
    prefix = spec.prefix(backbone) + spec.late_tokens(backbone)
    # Merging halves both sides; a token is known by its first pixel.
    step = ROWS[row].patch * 2**merges
    mask = mix.mask[0, 0, ::step, ::step][: seen.grid[0], : seen.grid[1]]
    mask = mask.double().flatten()
    if kind == 'cls':
        rows = look[:, :prefix, prefix:]
    else:
        rows = look[:, prefix:, prefix:].mean(dim=1, keepdim=True)
    # Tokens that no key is made of are looked at by nobody.
    expected = (rows * mask).sum(-1) / rows.sum(-1)
    found = torch.stack(seen.output_shares(), dim=1).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    # One token is all that is left of a small image; with more, looks differ.
    assert len(mask) == 1 or (expected - mask.mean()).abs().max() > 1e-4
