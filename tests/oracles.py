"""Where shares must go, written again without the package: dense and slow.

Attention weights are read from a stock backbone by hooks, put into explicit
(N, N) matrices with Python loops, and multiplied. Nothing here imports
``mmtlalign``.
"""

import torch
from mmcv.cnn.bricks.transformer import PatchMerging as MMCVPatchMerging
from mmpretrain.models.utils import PatchMerging, ShiftWindowMSA
from mmpretrain.models.utils.attention import MultiheadAttention


def dense_rollout(backbone, images):
    """Matrices (B, N', N) of the way so far, after every attention.

    Only the image's tokens and the special ones count; padding that a backbone
    adds for its windows does not.
    """
    events, handles = [], []
    for module in backbone.modules():
        if isinstance(module, MultiheadAttention):
            handles += _hook_plain(module, events)
        elif isinstance(module, ShiftWindowMSA):
            handles += _hook_windows(module, events)
        elif isinstance(module, (MMCVPatchMerging, PatchMerging)):
            handles.append(module.register_forward_pre_hook(_merging(events)))
    with torch.no_grad():
        backbone(images)
    for handle in handles:
        handle.remove()

    way, history = None, []
    for kind, matrix in events:
        if way is None:
            way = torch.eye(matrix.shape[-1], dtype=torch.float64)
        if kind == 'attention':
            way = (way + matrix @ way) / 2
            history.append(way)
        else:
            way = matrix @ way
    return history, way


def _hook_plain(module, events):
    def hook(linear, args, qkv):
        batch, tokens, _ = qkv.shape
        split = qkv.double().reshape(batch, tokens, 3, module.num_heads, -1)
        query, key = split[:, :, 0].transpose(1, 2), split[:, :, 1].transpose(1, 2)
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        events.append(('attention', logits.softmax(-1).mean(1)))

    return [module.qkv.register_forward_hook(hook)]


def _hook_windows(module, events):
    seen = {}

    def before(_, args):
        seen['grid'] = args[1]

    def inner(_, args, kwargs):
        # The stock module masks exactly the maps that it shifts.
        seen['shift'] = module.shift_size if kwargs['mask'] is not None else 0

    def weights(_, args, softmax):
        mean = softmax.double().mean(1)
        matrix = _window_matrix(mean, seen['grid'], module.window_size, seen['shift'])
        events.append(('attention', matrix))

    return [
        module.register_forward_pre_hook(before),
        module.w_msa.register_forward_pre_hook(inner, with_kwargs=True),
        module.w_msa.softmax.register_forward_hook(weights),
    ]


def _window_matrix(weights, grid, side, shift):
    """Scatter window attention (B * windows, side**2, side**2) into (B, N, N)."""
    height, width = grid
    rows = -(-height // side)
    columns = -(-width // side)
    batch = len(weights) // (rows * columns)
    dense = torch.zeros(batch, height * width, height * width, dtype=torch.float64)
    for window in range(rows * columns):
        tokens = []
        for slot in range(side * side):
            row = (window // columns * side + slot // side + shift) % (rows * side)
            column = window % columns * side + slot % side + shift
            column = column % (columns * side)
            real = row < height and column < width
            tokens.append(row * width + column if real else None)
        for i, query in enumerate(tokens):
            for j, key in enumerate(tokens):
                if query is not None and key is not None:
                    dense[:, query, key] = weights[window :: rows * columns, i, j]
    return dense / dense.sum(-1, keepdim=True)


def _merging(events):
    def hook(module, args):
        height, width = args[1]
        high, wide = module.sampler.kernel_size
        rows, columns = -(-height // high), -(-width // wide)
        matrix = torch.zeros(rows * columns, height * width, dtype=torch.float64)
        for row in range(height):
            for column in range(width):
                group = row // high * columns + column // wide
                matrix[group, row * width + column] = 1
        events.append(('merge', matrix / matrix.sum(-1, keepdim=True)))

    return hook


def start(mask, patch, prefix, batch):
    """Share of each token (B, N, 1) by counting its pixels one patch at a time."""
    mask = mask.double().expand(batch, 1, *mask.shape[-2:])
    tokens = [
        mask[..., y : y + patch, x : x + patch].mean((1, 2, 3))
        for y in range(0, mask.shape[-2], patch)
        for x in range(0, mask.shape[-1], patch)
    ]
    special = [mask.mean((1, 2, 3))] * prefix
    return torch.stack(special + tokens, dim=1)[..., None]
