"""Rows of the tracing contract: TransMix reads the last attention, written densely."""

import oracles
import torch
from contract_rows import HOOKS, ROWS
from contract_steps import every_row, mixed, stock, tapped

from mmtlalign.methods.transmix import ClassRows, TokenColumns, look_reader
from mmtlalign.tracing.attach import watch
from mmtlalign.tracing.support import family_of


@every_row
def test_looks_of_the_last_attention_equal_the_dense_ones(row):
    mix, backbone = mixed(row), tapped(row)
    kind = ClassRows if ROWS[row].output == 'class' else TokenColumns
    torch.manual_seed(5)
    with watch(backbone, look_reader(backbone, mix, kind)) as seen:
        backbone(mix.images)
    torch.manual_seed(5)  # the same dropout
    events = oracles.dense_events(stock(row), mix.images, HOOKS)
    if kind is TokenColumns:
        events = [event for event in events if event[0] != 'look']
    look, merges = oracles.last_look(events)
    family = family_of(backbone)
    prefix = family.prefix(backbone) + family.joins(backbone)
    # Merging halves both sides; a token is known by its first pixel.
    step = ROWS[row].patch * 2**merges
    mask = mix.mask[0, 0, ::step, ::step][: seen.grid[0], : seen.grid[1]]
    mask = mask.double().flatten()
    if kind is ClassRows:
        rows = look[:, :prefix, prefix:]
    else:
        rows = look[:, prefix:, prefix:].mean(dim=1, keepdim=True)
    # Tokens that no key is made of are looked at by nobody.
    expected = (rows * mask).sum(-1) / rows.sum(-1)
    found = torch.stack(seen.output_shares(), dim=1).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    # One token is all that is left of a small image; with more, looks differ.
    assert len(mask) == 1 or (expected - mask.mean()).abs().max() > 1e-4
