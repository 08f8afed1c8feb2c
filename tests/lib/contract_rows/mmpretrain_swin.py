"""mmpretrain's Swin Transformers."""

import oracles
from mmcv.cnn.bricks.transformer import PatchMerging as MMCVPatchMerging
from mmpretrain.models.utils import PatchMerging, ShiftWindowMSA

from .row import Row

SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=16, depths=[2, 2, 2], num_heads=[1, 2, 4]),
    out_indices=(2,),
    img_size=64,
    patch_size=4,
    window_size=4,
)
SWINV2 = dict(
    SWIN,
    type='SwinTransformerV2',
    arch=dict(SWIN['arch'], extra_norm_every_n_blocks=0),
)
PADDED = dict(pad_small_map=True)
DROPOUT = dict(stage_cfgs=dict(block_cfgs=dict(attn_cfgs=dict(attn_drop=0.3))))

ROWS = {
    'Swin': Row(SWIN, (64, 64), 4, 'mean'),
    'Swin, any size': Row(dict(SWIN, **PADDED), (72, 100), 4, 'mean'),
    'Swin, cut patches': Row(
        dict(SWIN, **PADDED, patch_cfg=dict(padding=0)),
        (74, 102),
        4,
        'mean',
        cut=True,
        same_graph=True,
    ),
    'Swin, padded window shifts': Row(dict(SWIN, **PADDED), (64, 64), 4, 'mean'),
    'Swin, attention dropout': Row(
        dict(SWIN, **DROPOUT), (64, 64), 4, 'mean', same_graph=True
    ),
    'Swin v2': Row(SWINV2, (64, 64), 4, 'mean'),
    'Swin v2, any size': Row(dict(SWINV2, **PADDED), (72, 100), 4, 'mean'),
}


def hook_windows(module, events):
    seen = {}

    def before(_, args):
        seen['grid'] = args[1]

    def inner(_, args, kwargs):
        # The stock module masks exactly the maps that it shifts.
        seen['shift'] = module.shift_size if kwargs['mask'] is not None else 0

    def weights(_, args, softmax):
        window, shift = (module.window_size,) * 2, (seen['shift'],) * 2
        mean = softmax.double().mean(1)
        matrix = oracles.window_matrix(mean, seen['grid'], window, shift)
        events.append(('attention', matrix))

    return [
        module.register_forward_pre_hook(before),
        module.w_msa.register_forward_pre_hook(inner, with_kwargs=True),
        module.w_msa.softmax.register_forward_hook(weights),
    ]


def hook_merging(module, events):
    def hook(module, args):
        kernel = module.sampler.kernel_size
        grid = args[1]
        # Both pad at the corner, so that every kernel starts inside the map.
        size = [-(-side // k) for side, k in zip(grid, kernel)]
        matrix = oracles.pool_matrix(grid, kernel, kernel, (0, 0), size)
        events.append(('merge', matrix))

    return [module.register_forward_pre_hook(hook)]


HOOKS = {
    ShiftWindowMSA: hook_windows,
    MMCVPatchMerging: hook_merging,
    PatchMerging: hook_merging,
}
