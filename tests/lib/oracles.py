"""Where shares must go, written again without the package: dense and slow.

Attention weights are read from a stock backbone by hooks, put into explicit
(N, N) matrices with Python loops, and multiplied. Nothing here imports
``mmtlalign``. The hooks of each host are in ``contract_rows``.
"""

import torch


def dense_rollout(backbone, images, hooks, residual=1, parts=1):
    """Matrices (B, N', N) of the way so far, after every attention.

    Only the image's tokens and the special ones count; padding that a backbone
    adds for its windows does not.

    Args:
        hooks: Module class to a function of (module, events) that hooks one
            module, gives the handles, and appends to ``events``, in the order
            of the forward, ``('attention', matrix)`` for attention with a
            residual, ``('layer', matrix)`` where the residual is in the matrix,
            ``('merge', matrix)`` for what moves tokens otherwise, and
            ``('look', row)`` (B, 1, N) for a class token that does not look as
            its labels move. Matrices are (B, N', N) or (N', N), float64.
    """
    events = dense_events(backbone, images, hooks)
    way, history = None, []
    for kind, matrix in events:
        if kind == 'look':
            continue
        if way is None:
            way = torch.eye(matrix.shape[-1], dtype=torch.float64)
        moved = matrix @ way
        if kind == 'attention':
            weight = torch.ones(len(moved[0]), 1, dtype=torch.float64)
            weight[0] = parts
            moved = (residual * way + weight * moved) / (residual + weight)
        way = moved
        if kind != 'merge':
            history.append(way)
    return history, way


def dense_events(backbone, images, hooks):
    """What the hooks saw in one forward; see :func:`dense_rollout`."""
    events, handles = [], []
    for module in backbone.modules():
        if type(module) in hooks:
            handles += hooks[type(module)](module, events)
    with torch.no_grad():
        backbone(images)
    for handle in handles:
        handle.remove()
    return events


def last_look(events):
    """The last attention (B, Nq, N), without residual, and how often tokens merged."""
    merges = sum(
        kind == 'merge' and matrix.shape[-2] < matrix.shape[-1]
        for kind, matrix in events
    )
    kind, matrix = events[-1]
    if kind == 'layer':
        matrix = 2 * matrix - torch.eye(matrix.shape[-1], dtype=torch.float64)
    return matrix, merges


def window_matrix(weights, grid, window, shift, pad_first=True):
    """Scatter window attention (B * windows, T, T) into (B, N, N).

    With ``pad_first`` the padding is shifted along with the map.
    """
    (height, width), (high, wide) = grid, window
    rows = -(-height // high)
    columns = -(-width // wide)
    batch = len(weights) // (rows * columns)
    dense = torch.zeros(batch, height * width, height * width, dtype=torch.float64)
    for cell in range(rows * columns):
        tokens = []
        for slot in range(high * wide):
            row = cell // columns * high + slot // wide
            column = cell % columns * wide + slot % wide
            if pad_first:
                row = (row + shift[0]) % (rows * high)
                column = (column + shift[1]) % (columns * wide)
            real = row < height and column < width
            if not pad_first:
                row, column = (row + shift[0]) % height, (column + shift[1]) % width
            tokens.append(row * width + column if real else None)
        for i, query in enumerate(tokens):
            for j, key in enumerate(tokens):
                if query is not None and key is not None:
                    dense[:, query, key] = weights[cell :: rows * columns, i, j]
    return dense / dense.sum(-1, keepdim=True)


def pool_matrix(grid, kernel, stride, padding, size):
    """(h' * w', h * w): the mean of the real tokens under each kernel.

    Args:
        padding: Rows above and columns to the left.
        size: Rows and columns of the result ``(h', w')``.
    """
    height, width = grid
    matrix = torch.zeros(size[0] * size[1], height * width, dtype=torch.float64)
    for cell in range(size[0] * size[1]):
        top = cell // size[1] * stride[0] - padding[0]
        left = cell % size[1] * stride[1] - padding[1]
        for row in range(max(top, 0), min(top + kernel[0], height)):
            for column in range(max(left, 0), min(left + kernel[1], width)):
                matrix[cell, row * width + column] = 1
    return matrix / matrix.sum(-1, keepdim=True)


def join_matrix(tokens):
    """(1 + N, N): a class token that joins late, at the mean of the others."""
    mean = torch.full((1, tokens), 1 / tokens, dtype=torch.float64)
    return torch.cat([mean, torch.eye(tokens, dtype=torch.float64)])


def start(mask, patch, prefix, batch, cut=False):
    """Share of each token (B, N, 1) by counting its pixels one patch at a time.

    With ``cut``, pixels that fill no whole patch are in no token.
    """
    if cut:
        height, width = (side // patch * patch for side in mask.shape[-2:])
        mask = mask[..., :height, :width]
    mask = mask.double().expand(batch, 1, *mask.shape[-2:])
    area = mask.mean((1, 2, 3))
    tokens = [
        mask[..., y : y + patch, x : x + patch].mean((1, 2, 3))
        for y in range(0, mask.shape[-2], patch)
        for x in range(0, mask.shape[-1], patch)
    ]
    special = [area] * prefix
    return torch.stack(special + tokens, dim=1)[..., None]
