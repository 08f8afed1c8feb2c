"""What each of the two processes of test_contract_fsdp.py runs.

python tests/lib/fsdp_parts.py RANK PORT FILE
"""

import json
import os
import sys
import traceback

import torch
import torch.distributed as dist
from contract_rows import ROWS
from contract_steps import attached, mixed, run, stock
from torch.distributed.device_mesh import init_device_mesh

from mmtlalign.engine.precision import leave_processes

WORLD = 2


def compare(row, rank, mesh):
    """Largest errors of loss, shares and gradients, sharded against not."""
    from torch.distributed.fsdp import fully_shard

    mixes = [mixed(row, seed=1 + r) for r in range(WORLD)]
    whole = attached(row)
    wanted, shares = [], []
    for mix in mixes:
        loss, share = step(whole, mix)
        (loss / WORLD).backward()
        wanted.append(loss.item())
        shares.append(share)
    golden = {n: p.grad for n, p in whole.named_parameters()}

    sharded = attached(row)
    for block in ROWS[row].blocks(sharded):
        fully_shard(block, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    loss, share = step(sharded, mixes[rank])
    loss.backward()
    worst = 0.0
    count = 0
    for name, parameter in sharded.named_parameters():
        if golden[name] is None:
            continue
        found = parameter.grad.full_tensor()
        scale = golden[name].abs().max().clamp(min=1)
        worst = max(worst, ((found - golden[name]) / scale).abs().max().item())
        count += 1
    return dict(
        loss=abs(loss.item() - wanted[rank]) / max(abs(wanted[rank]), 1),
        share=(share - shares[rank]).abs().max().item(),
        gradient=worst,
        gradients=count,
        differ=(shares[0] - shares[1]).abs().max().item(),
    )


def step(backbone, mix):
    """Loss of outputs and shares, and the shares that arrived."""
    out, tracer = run(backbone, mix)
    arrived = tracer.share.mean(dim=(1, 2))
    # Two outputs are stacked before the batch.
    axis = int(len(out) != len(arrived))
    weight = (1 + arrived).view(-1, *[1] * (out.ndim - 1 - axis))
    return (out.square() * weight).mean(), tracer.share


def main(rank, port, file):
    """Compare every row, and write what was found."""
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    torch.set_num_threads(1)
    dist.init_process_group('gloo', rank=rank, world_size=WORLD)
    mesh = init_device_mesh('cpu', (WORLD,))
    found = {}
    for row in ROWS:
        try:
            found[row] = compare(row, rank, mesh)
        except Exception:
            found[row] = dict(error=traceback.format_exc()[-1500:])
            stock.cache_clear()
    with open(f'{file}.{rank}', 'w', encoding='utf-8') as out:
        json.dump(found, out)
    leave_processes()


if __name__ == '__main__':
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
