"""Checks of the rules for learnt weights; exact numbers are by a Jacobian oracle.

Shapes: ``L`` layers, ``B`` batch, ``N`` tokens.
"""

import json

import numpy as np
import torch
from golden_files import close
from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock

from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.attach import attach, detach
from mmtlalign.tracing.learnt_weights import move_by_kernel
from mmtlalign.tracing.trace import MixTracer, token_grid, trace_forward
from mmtlalign.tracing.tracer import Tracer


def network(arrays, **options):
    """The network of a file, as it trains."""
    meta = json.loads(str(arrays['meta_json']))
    model = MlpMixer(
        num_classes=meta['K'],
        img_size=meta['size'],
        patch_size=meta['patch'],
        num_blocks=meta['depth'],
        embed_dim=meta['dim'],
        **options,
    )
    state = {
        k[3:]: torch.from_numpy(arrays[k]) for k in arrays.files if k.startswith('sd/')
    }
    model.load_state_dict(state, strict=True)
    return model.train()


def follow(model, arrays, rule):
    """Logits, shares (L+1, B, N), matrices (L, B, N, N) and the final share (B,)."""
    mixed = torch.from_numpy(arrays['mixed'])
    grid = token_grid(model, mixed.shape[-2:])
    mask = torch.from_numpy(arrays['mask_token']).float()
    # As a mask of pixels: every token of one kind.
    side = mixed.shape[-1] // grid[1]
    pixels = mask.unflatten(1, grid).repeat_interleave(side, 1)
    pixels = pixels.repeat_interleave(side, 2)[:, None]
    mix = Mix(mixed, torch.eye(len(mixed)), torch.arange(len(mixed)).flip(0), pixels)
    layers = attach(model, rule).attentions
    with trace_forward(model, MixTracer(model, mix)) as tracer:
        logits = model(mixed)
    shares = torch.stack([mask, *(share[..., 0] for share in tracer.history)])
    eye = torch.eye(mask.shape[1]).expand(len(mask), -1, -1)
    matrices = []
    for layer in range(layers):
        alone = Tracer(eye, grid, 0, layers, layers=[layer], residual=False)
        with trace_forward(model, alone):
            model(mixed)
        matrices.append(alone.share)
    (final,) = tracer.partner_shares()
    detach(model)
    return logits, shares, torch.stack(matrices), final


def check_mixer(path):
    """Gates of each channel, their mean, and none."""
    arrays = np.load(path, allow_pickle=False)
    meta = json.loads(str(arrays['meta_json']))
    model = network(arrays, mlp_ratio=tuple(meta['mlp_ratio']))
    rules = dict(exact='exact', gate='mean_gates', weights='no_gates')
    for name, rule in rules.items():
        logits, shares, matrices, final = follow(model, arrays, rule)
        close(logits, arrays['logits'], 1e-4)
        close(matrices, arrays[f'matrix_{name}'], 1e-5)
        close(shares, arrays[f'share_{name}'], 1e-5)
        close(final, arrays[f'final_{name}'], 1e-5)
    # Layer by layer is another rule, and worse than not tracing.
    wrong = np.abs(arrays['final_layers'] - arrays['final_exact']).max()
    assert wrong > 1e-3


def check_resmlp(path):
    """One layer over the tokens, the measure of the paper."""
    arrays = np.load(path, allow_pickle=False)
    options = dict(block_layer=ResBlock, norm_layer=Affine, mlp_ratio=2)
    model = network(arrays, **options)
    logits, shares, matrices, final = follow(model, arrays, 'mean_gates')
    close(logits, arrays['logits'], 1e-4)
    for image in matrices.unbind(1):
        close(image, arrays['matrix'], 1e-5)
    close(shares, arrays['share'], 1e-5)
    close(final, arrays['final'], 1e-5)


def check_depthwise(path):
    """A kernel with signs, several channels: inner tokens have a presence of one."""
    arrays = np.load(path, allow_pickle=False)
    meta = json.loads(str(arrays['meta_json']))
    grid, kernel, step = tuple(meta['grid']), meta['kernel'], meta['dilation']
    pad = step * (kernel - 1) // 2
    options = dict(padding=(pad,) * 4, dilation=(step, step))
    weight = torch.from_numpy(arrays['weight'])
    count = grid[0] * grid[1]
    matrix = move_by_kernel(torch.eye(count)[None], grid, weight, **options)[0]
    close(matrix, arrays['matrix'], 1e-5)
    presence = matrix.sum(0).view(grid)
    close(presence, arrays['presence'], 1e-5)
    inner = presence[2 * pad : -2 * pad, 2 * pad : -2 * pad]
    assert inner.numel() and (inner - 1).abs().max() < 1e-5
    start = torch.from_numpy(arrays['share_start'])[..., None].float()
    moved = move_by_kernel(start, grid, weight, **options)
    close(moved[..., 0], arrays['share_moved'], 1e-5)
    close(((start + moved) / 2)[..., 0], arrays['share_residual'], 1e-5)
