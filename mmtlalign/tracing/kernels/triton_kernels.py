"""Triton kernels that move shares without storing attention; ``launch`` calls them.

Queries, keys, weights and masks are read from the network's tensors by strides; the
rest is float32. There are no atomics and no scratch memory, so that results are
bit-identical in every run.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens, ``Nq`` queries, ``Nk`` keys, ``D``
channels of a head, ``S`` share columns, ``P`` leading tokens, ``G`` windows of an
image, ``T`` tokens of a window. ``sqb`` and so on are strides of a tensor, here of the
queries' batch: ``b`` batch, ``h`` head, ``m`` row, ``n`` token, ``d`` channel, ``s``
column. Constants:

=========  ===========================================================================
D0, D1     ``D`` as one or two blocks, powers of two; D1 = 0: only one
BM, BN     rows and columns of a tile
TN         padded number of keys after the last whole tile; 0: there are none
MASKING    ``'none'``, ``'added'`` to the logits, or ``'kept'``: boolean
PRECISION  precision of products in float32: ``'tf32x3'``, exact to float32
WIDEN      products in float32 only, for Triton's interpreter, which multiplies
           bfloat16 as the integers that hold it
=========  ===========================================================================

Logits are in base 2: ``SCALE2`` is the scale times log2(e).
"""

# ruff: noqa: N803

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
# Below every logit, but finite, as infinity minus infinity is NaN.
LOWEST = tl.constexpr(-1.0e30)
# Smallest sum of a row, for rows that are fully masked. (1e-38 becomes a float64.)
LEAST = tl.constexpr(1.0e-30)


@triton.jit
def _load(X, rows, sn, sd, D: tl.constexpr, OFF: tl.constexpr, W: tl.constexpr,
          WIDEN: tl.constexpr):  # fmt: skip
    """Load W channels of some rows from channel OFF on, zeros beyond D."""
    channels = OFF + tl.arange(0, W)
    at = X + rows[:, None] * sn + channels[None, :] * sd
    if OFF + W > D:
        x = tl.load(at, mask=channels[None, :] < D, other=0.0)
    else:
        x = tl.load(at)
    if WIDEN:
        x = x.to(tl.float32)
    return x


@triton.jit
def _load_both(X, rows, sn, sd, D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr,
               WIDEN: tl.constexpr):  # fmt: skip
    """Load the one or two blocks of channels of some rows."""
    x0 = _load(X, rows, sn, sd, D, 0, D0, WIDEN)
    if D1:
        x1 = _load(X, rows, sn, sd, D, D0, D1, WIDEN)
    else:
        x1 = x0
    return x0, x1


@triton.jit
def _products(a0, a1, X, rows, sn, sd,
              D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr,
              PRECISION: tl.constexpr, WIDEN: tl.constexpr):  # fmt: skip
    """Multiply loaded rows with some rows of X."""
    x0, x1 = _load_both(X, rows, sn, sd, D, D0, D1, WIDEN)
    out = tl.dot(a0, tl.trans(x0), input_precision=PRECISION)
    if D1:
        out = tl.dot(a1, tl.trans(x1), out, input_precision=PRECISION)
    return out


@triton.jit
def _masked(x, MASK, offs_m, offs_n, smm, smn, SCALE2, MASKING: tl.constexpr):
    """Apply the mask to products; an added mask also turns them into logits."""
    if MASKING == 'added':
        extra = tl.load(MASK + offs_m[:, None] * smm + offs_n[None, :] * smn)
        x = x * SCALE2 + extra.to(tl.float32) * LOG2E
    elif MASKING == 'kept':
        kept = tl.load(MASK + offs_m[:, None] * smm + offs_n[None, :] * smn)
        x = tl.where(kept != 0, x, float('-inf'))
    return x


@triton.jit
def _tile(q0, q1, top, mass, moved, K, SHARE, MASK, n, Nk, offs_m, columns,
          skn, skd, ssn, sss, smm, smn, SCALE2,
          S: tl.constexpr, D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr,
          MASKING: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
          BN: tl.constexpr, TAIL: tl.constexpr):  # fmt: skip
    """Update largest logit, sum and share of each row by the next BN keys."""
    at = n + tl.arange(0, BN)
    # Rows beyond the end are read as the last one, so that loads stay wide.
    offs_n = tl.minimum(at, Nk - 1) if TAIL else at
    x = _products(q0, q1, K, offs_n, skn, skd, D, D0, D1, PRECISION, WIDEN)
    x = _masked(x, MASK, offs_m, offs_n, smm, smn, SCALE2, MASKING)
    if TAIL:
        x = tl.where((at < Nk)[None, :], x, float('-inf'))
    # The scale, which is positive, is multiplied into the exponent.
    factor = 1.0 if MASKING == 'added' else SCALE2
    new = tl.maximum(top, tl.max(x, 1) * factor)
    fade = tl.exp2(top - new)
    p = tl.exp2(x * factor - new[:, None])
    mass = mass * fade + tl.sum(p, 1)
    if S == 1:
        share = tl.load(SHARE + offs_n * ssn)
        moved = moved * fade + tl.sum(p * share[None, :], 1)
    else:
        share = tl.load(
            SHARE + offs_n[:, None] * ssn + columns[None, :] * sss,
            mask=columns[None, :] < S, other=0.0,
        )  # fmt: skip
        moved = tl.dot(p, share, moved * fade[:, None], input_precision='tf32x3')
    return new, mass, moved


@triton.jit
def propagate_kernel(
    Q, K, SHARE, BEFORE, OUT, MASK,
    sqb, sqh, sqn, sqd, skb, skh, skn, skd, ssb, ssn, sss, seb, sen, ses,
    smb, smh, smm, smn, H, Nq, Nk, SCALE2, RESIDUAL,
    S: tl.constexpr, SP: tl.constexpr, D: tl.constexpr, D0: tl.constexpr,
    D1: tl.constexpr, MASKING: tl.constexpr, PRECISION: tl.constexpr,
    WIDEN: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, TN: tl.constexpr,
):  # fmt: skip
    """Move a share: (r before + mean over heads of A share) / (r + 1), (B, Nq, S).

    A program has BM queries of an image and loops over heads, then keys, BN at a time.
    Queries beyond the end are computed as the last one and not stored.
    """
    blocks = tl.cdiv(Nq, BM)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    own_m = (tl.program_id(0) % blocks) * BM + tl.arange(0, BM)
    offs_m = tl.minimum(own_m, Nq - 1)
    columns = tl.arange(0, SP)
    if S == 1:
        total = tl.zeros([BM], tl.float32)
    else:
        total = tl.zeros([BM, SP], tl.float32)
    full = (Nk // BN) * BN
    share = SHARE + b * ssb
    for h in range(H):
        k = K + b * skb + h * skh
        mask = MASK
        if MASKING != 'none':
            mask += b * smb + h * smh
        q0, q1 = _load_both(Q + b * sqb + h * sqh, offs_m, sqn, sqd, D, D0, D1, WIDEN)
        top = tl.full([BM], LOWEST, tl.float32)
        mass = tl.zeros([BM], tl.float32)
        moved = tl.zeros_like(total)
        for n in range(0, full, BN):
            top, mass, moved = _tile(
                q0, q1, top, mass, moved, k, share, mask, n, Nk, offs_m, columns,
                skn, skd, ssn, sss, smm, smn, SCALE2,
                S, D, D0, D1, MASKING, PRECISION, WIDEN, BN, False,
            )  # fmt: skip
        if TN:
            top, mass, moved = _tile(
                q0, q1, top, mass, moved, k, share, mask, full, Nk, offs_m, columns,
                skn, skd, ssn, sss, smm, smn, SCALE2,
                S, D, D0, D1, MASKING, PRECISION, WIDEN, TN, True,
            )  # fmt: skip
        mass = tl.maximum(mass, LEAST)
        if S == 1:
            total += moved / mass
        else:
            total += moved / mass[:, None]
    total = total / H
    if S == 1:
        if BEFORE is not None:
            before = tl.load(BEFORE + b * seb + offs_m * sen)
            total = (total + RESIDUAL * before) / (RESIDUAL + 1.0)
        tl.store(OUT + b * Nq + own_m, total, mask=own_m < Nq)
    else:
        inside = (own_m[:, None] < Nq) & (columns[None, :] < S)
        if BEFORE is not None:
            at = BEFORE + b * seb + offs_m[:, None] * sen + columns[None, :] * ses
            before = tl.load(at, mask=inside, other=0.0)
            total = (total + RESIDUAL * before) / (RESIDUAL + 1.0)
        at = OUT + (b * Nq + own_m[:, None]) * S + columns[None, :]
        tl.store(at, total, mask=inside)


@triton.jit
def propagate_column_kernel(
    Q, K, SHARE, BEFORE, OUT, sqb, sqh, sqn, skb, skh, skn, seb, H, Nq, Nk,
    SCALE2, RESIDUAL, D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr, TN: tl.constexpr,
):  # fmt: skip
    """Move one contiguous column without a mask, the most frequent call.

    It has few arguments, as each takes Triton time on the CPU.
    """
    propagate_kernel(
        Q, K, SHARE, BEFORE, OUT, None,
        sqb, sqh, sqn, 1, skb, skh, skn, 1, Nk, 1, 1, seb, 1, 1,
        0, 0, 0, 0, H, Nq, Nk, SCALE2, RESIDUAL,
        1, 1, D, D0, D1, 'none', PRECISION, WIDEN, BM, BN, TN,
    )  # fmt: skip


@triton.jit
def log_sums_kernel(
    Q, K, SUMS, MASK, sqb, sqh, sqn, sqd, skb, skh, skn, skd, smb, smh, smm, smn,
    H, Nq, Nk, SCALE2,
    D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr, MASKING: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Compute the base-2 logarithm of each row's sum (B, H, Nq)."""
    blocks = tl.cdiv(Nq, BM)
    bh = tl.program_id(0) // blocks
    b, h = (bh // H).to(tl.int64), bh % H
    own_m = (tl.program_id(0) % blocks) * BM + tl.arange(0, BM)
    offs_m = tl.minimum(own_m, Nq - 1)
    mask = MASK
    if MASKING != 'none':
        mask += b * smb + h * smh
    q0, q1 = _load_both(Q + b * sqb + h * sqh, offs_m, sqn, sqd, D, D0, D1, WIDEN)
    factor = 1.0 if MASKING == 'added' else SCALE2
    top = tl.full([BM], LOWEST, tl.float32)
    mass = tl.zeros([BM], tl.float32)
    for n in range(0, Nk, BN):
        at = n + tl.arange(0, BN)
        offs_n = tl.minimum(at, Nk - 1)
        x = _products(
            q0, q1, K + b * skb + h * skh, offs_n, skn, skd,
            D, D0, D1, PRECISION, WIDEN,
        )  # fmt: skip
        x = _masked(x, mask, offs_m, offs_n, smm, smn, SCALE2, MASKING)
        x = tl.where((at < Nk)[None, :], x, float('-inf'))
        new = tl.maximum(top, tl.max(x, 1) * factor)
        mass = mass * tl.exp2(top - new) + tl.sum(tl.exp2(x * factor - new[:, None]), 1)
        top = new
    out = top + tl.log2(tl.maximum(mass, LEAST))
    tl.store(SUMS + bh.to(tl.int64) * Nq + own_m, out, mask=own_m < Nq)


@triton.jit
def class_rows_kernel(
    Q, K, SUMS, OUT, MASK,
    sqb, sqh, sqn, sqd, skb, skh, skn, skd, smb, smh, smm, smn, H, P, Nk, SCALE2,
    D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr, MASKING: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Compute the rows of the first P queries, the mean over heads (B, P, Nk)."""
    blocks = tl.cdiv(Nk, BN)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    own_n = (tl.program_id(0) % blocks) * BN + tl.arange(0, BN)
    offs_n = tl.minimum(own_n, Nk - 1)
    own_m = tl.arange(0, BM)
    offs_m = tl.minimum(own_m, P - 1)
    factor = 1.0 if MASKING == 'added' else SCALE2
    total = tl.zeros([BM, BN], tl.float32)
    for h in range(H):
        mask = MASK
        if MASKING != 'none':
            mask += b * smb + h * smh
        q0, q1 = _load_both(Q + b * sqb + h * sqh, offs_m, sqn, sqd, D, D0, D1, WIDEN)
        x = _products(
            q0, q1, K + b * skb + h * skh, offs_n, skn, skd,
            D, D0, D1, PRECISION, WIDEN,
        )  # fmt: skip
        x = _masked(x, mask, offs_m, offs_n, smm, smn, SCALE2, MASKING)
        sums = tl.load(SUMS + (b * H + h) * P + offs_m)
        total += tl.exp2(x * factor - sums[:, None])
    inside = (own_m[:, None] < P) & (own_n[None, :] < Nk)
    tl.store(OUT + (b * P + own_m[:, None]) * Nk + own_n[None, :], total / H, inside)


@triton.jit
def received_kernel(
    Q, K, SUMS, ROWS, OUT, MASK,
    sqb, sqh, sqn, sqd, skb, skh, skn, skd, srb, srn, smb, smh, smm, smn,
    H, Nq, Nk, SCALE2,
    D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr, MASKING: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Sum attention over queries, weighted by ROWS, the mean over heads (B, Nk)."""
    blocks = tl.cdiv(Nk, BN)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    own_n = (tl.program_id(0) % blocks) * BN + tl.arange(0, BN)
    offs_n = tl.minimum(own_n, Nk - 1)
    factor = 1.0 if MASKING == 'added' else SCALE2
    total = tl.zeros([BN], tl.float32)
    for h in range(H):
        mask = MASK
        if MASKING != 'none':
            mask += b * smb + h * smh
        # Logits are transposed: the keys are fixed, and the loop is over queries.
        k0, k1 = _load_both(K + b * skb + h * skh, offs_n, skn, skd, D, D0, D1, WIDEN)
        for m in range(0, Nq, BM):
            own_m = m + tl.arange(0, BM)
            offs_m = tl.minimum(own_m, Nq - 1)
            x = _products(
                k0, k1, Q + b * sqb + h * sqh, offs_m, sqn, sqd,
                D, D0, D1, PRECISION, WIDEN,
            )  # fmt: skip
            x = _masked(x, mask, offs_n, offs_m, smn, smm, SCALE2, MASKING)
            sums = tl.load(SUMS + (b * H + h) * Nq + offs_m)
            weight = tl.load(ROWS + b * srb + offs_m * srn)
            weight = tl.where(own_m < Nq, weight, 0.0)
            total += tl.sum(tl.exp2(x * factor - sums[None, :]) * weight[None, :], 1)
    tl.store(OUT + b * Nk + own_n, total / H, mask=own_n < Nk)


@triton.jit
def weigh_windows_kernel(
    WEIGHTS, SHARE, PLACES, OUT, swb, swh, swm, swn, H, G, T, N, RESIDUAL,
    S: tl.constexpr, BM: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Move and average the share of a map (B, N, S) by weights (B * G, H, T, T).

    PLACES (G, T) is the index on the map of each token of a window, -1 for padding,
    which has no share and no mass. A program has BM rows of a window.
    """
    blocks = tl.cdiv(T, BM)
    window = (tl.program_id(0) // blocks).to(tl.int64)
    b, g = window // G, window % G
    i = (tl.program_id(0) % blocks) * BM + tl.arange(0, BM)
    j = tl.arange(0, BT)
    inside = (i[:, None] < T) & (j[None, :] < T)
    at = WEIGHTS + window * swb + i[:, None] * swm + j[None, :] * swn
    weights = tl.zeros([BM, BT], tl.float32)
    for h in range(H):
        weights += tl.load(at + h * swh, mask=inside, other=0.0).to(tl.float32)
    own = tl.load(PLACES + g * T + i, mask=i < T, other=-1)
    place = tl.load(PLACES + g * T + j, mask=j < T, other=-1)
    # Real tokens, and rows that half precision rounded, sum to less than one.
    mass = tl.sum(tl.where((place >= 0)[None, :], weights, 0.0), 1)
    mass = tl.maximum(mass, LEAST)
    for c in tl.static_range(S):
        share = tl.load(SHARE + (b * N + place) * S + c, mask=place >= 0, other=0.0)
        before = tl.load(SHARE + (b * N + own) * S + c, mask=own >= 0, other=0.0)
        moved = tl.sum(weights * share[None, :], 1) / mass
        moved = (moved + RESIDUAL * before) / (RESIDUAL + 1.0)
        tl.store(OUT + (b * N + own) * S + c, moved, mask=own >= 0)
