"""The line of code that loads an exported backbone in timm or an OpenMMLab library."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmtlalign.backbones.timm_backbone import options_for_maps
from mmtlalign.checkpoint.backbone_options import (
    BLOCK,
    GELU,
    UNSET,
    BackboneOptions,
    Each,
)

# timm builds a model from a name; arguments set the sizes of this backbone.
TIMM_NAMES = dict(
    DistilledVisionTransformer='deit_base_distilled_patch16_224',
    SwinTransformer='swin_base_patch4_window7_224',
    VisionTransformer='vit_base_patch16_224',
    XCiT='xcit_small_12_p16_224',
)
# timm's activations, by the `type` of mmcv's `act_cfg`.
TIMM_ACTS = {
    'ReLU': 'torch.nn.ReLU',
    'SiLU': 'torch.nn.SiLU',
    'QuickGELU': 'timm.layers.QuickGELU',
    'mmpretrain.QuickGELU': 'timm.layers.QuickGELU',
}
# Settings of norms, which other hosts have one setting for.
VIT_NORMS = ('norm_cfg', 'layer_cfgs.norm_cfg')
SWIN_NORMS = (
    *('norm_cfg', 'patch_cfg.norm_cfg', 'stage_cfgs.downsample_cfg.norm_cfg'),
    BLOCK + 'norm_cfg',
)


def loading_code(backbone: Mapping[str, Any], layout: str, path: str = 'FILE') -> str:
    """Return Python code that loads an exported file with the settings of its training.

    Args:
        backbone: The dict of the backbone in the config of its training.
        layout: Whose names the file has, a key of ``FORMATS`` of
            :mod:`mmtlalign.checkpoint.export`.
        path: The file. Defaults to a placeholder, because the code is stored in the
            file itself.

    Raises:
        InputError: The settings include some that the host cannot express.
    """
    if layout == 'timm':
        name, options = _timm(backbone)
        return _call('timm.create_model', [name], dict(options, checkpoint_path=path))
    init = dict(type='Pretrained', checkpoint=path)
    if layout == 'mmpretrain':
        kind = str(backbone['type'])
        own = {k: v for k, v in backbone.items() if k not in ('type', 'init_cfg')}
        kind = kind if '.' in kind else f'mmpretrain.{kind}'
        init.update(prefix='backbone.')
        return _call('dict', [], dict(type=kind, **own, init_cfg=init))
    options = _host(backbone, layout)
    return _call('dict', [], dict(options, init_cfg=init))


def notes_for(backbone: Mapping[str, Any], layout: str) -> list[str]:
    """Return what else a user of the file must set or know, one item per note."""
    if not str(backbone.get('type')).endswith('SwinTransformer'):
        return []
    padded = bool(backbone.get('pad_small_map', False))
    if layout in ('mmdet', 'mmseg') and not padded:
        return [
            f"{layout}'s SwinTransformer shifts the windows of every map, as "
            "mmpretrain's with pad_small_map=True; this one was trained with False, so "
            'features differ for images whose smallest map is one window. --format '
            'mmpretrain keeps them.'
        ]
    if layout == 'mmpretrain' and not padded:
        return [
            'In mmseg and mmdet set pad_small_map=True, which accepts images of any '
            'size; with False, as in training, a map smaller than a window is an '
            'error, and a map of exactly one window is not shifted.'
        ]
    if layout == 'timm' and padded:
        return [
            'It was trained with pad_small_map=True: timm does not shift the windows '
            'of a map that is one window, so its features of small images differ.'
        ]
    return []


def _timm(backbone: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if str(backbone['type']).endswith('TIMMBackbone'):
        return _timm_model(backbone)
    options = BackboneOptions(backbone)
    given = dict(
        num_classes=0,
        img_size=options.take_side('img_size'),
        patch_size=options.take_side('patch_size'),
    )
    if (channels := options.take('in_channels')) != 3:
        given['in_chans'] = channels
    parts = dict(SwinTransformer=_timm_swin, XCiT=_timm_xcit)
    given.update(parts.get(options.kind, _timm_vit)(options, given['img_size']))
    options.check('timm')
    return TIMM_NAMES[options.kind], given


def _timm_model(backbone: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    unread = {
        *('type', '_scope_', 'model_name', 'pretrained', 'checkpoint_path'),
        *('init_cfg', 'out_indices', 'out_type', 'drop_path_rate', 'in_channels'),
    }
    name = backbone.get('model_name', 'NAME')
    given: dict[str, Any] = dict(num_classes=0)
    if str(backbone['type']).startswith('mmtlalign.'):
        outputs = backbone.get('out_type'), backbone.get('out_indices')
        given.update(options_for_maps(name, *outputs))
    if (channels := backbone.get('in_channels', 3)) != 3:
        given['in_chans'] = channels
    return name, given | {k: v for k, v in backbone.items() if k not in unread}


def _timm_xcit(options: BackboneOptions, size: Any) -> dict[str, Any]:
    for name in ('layer_scale_init_value', 'out_type'):
        options.take(name)  # the start of a parameter; what is output
    depth, tail = options.take('depth'), options.take('cls_attn_layers')
    options.take_last(depth + tail)
    given = dict(
        embed_dim=options.take('embed_dims'),
        depth=depth,
        num_heads=options.take('num_heads'),
        tokens_norm=options.take('tokens_norm'),
    )
    same = dict(cls_attn_layers=2, mlp_ratio=4.0, qkv_bias=True, use_pos_embed=True)
    given.update((k, v) for k in same if (v := options.take(k)) != same[k])
    return given | _timm_layers(options, 1e-6, 'act_cfg', 'norm_cfg')


def _timm_swin(options: BackboneOptions, size: Any) -> dict[str, Any]:
    arch = options.take_arch()
    options.take('pad_small_map')  # see `notes_for`
    options.take_last(len(arch['depths']))
    given = dict(
        window_size=options.take('window_size'),
        embed_dim=arch['embed_dims'],
        depths=list(arch['depths']),
        num_heads=list(arch['num_heads']),
    )
    _take_windows(options, size, arch['depths'])
    given.update(_swin_blocks(options))
    return given | _timm_layers(options, 1e-5, '', *SWIN_NORMS)


def _take_windows(options: BackboneOptions, size: Any, depths: Sequence[int]) -> None:
    """Take windows that timm has too: no larger than the map, shifted if smaller."""
    if not isinstance(size, int):
        # timm does not shift along a side of one window; mmpretrain shifts neither
        # side then.
        options.refuse('img_size')
        return
    patch, window = options.get('patch_size'), options.get('window_size')
    sides = [-(-(size // patch) // 2**stage) for stage in range(len(depths))]
    windows = _of_stages(options.get('stage_cfgs.window_size'), window, sides)
    if windows == [min(window, side) for side in sides]:
        options.take('stage_cfgs.window_size')
    elif windows == [window] * len(sides):
        options.refuse('window_size')
    shifts = _of_stages(options.get(BLOCK + 'shift'), None, sides)
    off = [i for i, shift in enumerate(shifts) if shift is not None]
    if all(shifts[i] is False and sides[i] <= window for i in off):
        options.take(BLOCK + 'shift')


def _of_stages(value: Any, default: Any, stages: Sequence) -> list:
    values = value if isinstance(value, Each) else [value] * len(stages)
    return [default if value is UNSET else value for value in values]


def _swin_blocks(options: BackboneOptions) -> dict[str, Any]:
    """Return the settings of blocks that differ from the default of every host."""
    given = {}
    if (ratio := options.take(BLOCK + 'ffn_ratio')) != 4:
        given['mlp_ratio'] = ratio
    if not options.take(BLOCK + 'attn_cfgs.qkv_bias'):
        given['qkv_bias'] = False
    return given


def _timm_vit(options: BackboneOptions, size: Any) -> dict[str, Any]:
    arch = options.take_arch()
    options.take_last(arch['num_layers'])
    given = dict(_vit(arch), embed_dim=arch['embed_dims'])
    same = dict(qkv_bias=True, pre_norm=False)
    given.update((k, v) for k in same if (v := options.take(k)) != same[k])
    if (scale := options.take('layer_scale_init_value')) > 0:
        given['init_values'] = scale
    classes = options.take('with_cls_token')
    final = options.take('final_norm')
    if options.get('out_type') != 'avg_featmap':
        options.take('out_type')
        given.update({} if final else dict(final_norm=False))
        if not classes:
            given.update(class_token=False, global_pool='avg', fc_norm=False)
    elif not final:
        options.take('out_type')
        # timm's norm of the mean; both hosts have one final norm then.
        given.update({} if classes else dict(class_token=False), global_pool='avg')
    return given | _timm_layers(options, 1e-6, 'layer_cfgs.act_cfg', *VIT_NORMS)


def _timm_layers(
    options: BackboneOptions, eps: float, act: str, *norms: str
) -> dict[str, Any]:
    """Return the norms and activations that differ from timm's default."""
    given = {}
    found = options.take_eps(*norms)
    if found not in (None, eps):
        partial = f'functools.partial(torch.nn.LayerNorm, eps={found!r})'
        given['norm_layer'] = _Code(partial)
    acting = options.get(act)
    if isinstance(acting, Mapping) and set(acting) == {'type'}:
        layer = TIMM_ACTS.get(acting['type'])
        if layer:
            options.take(act)
            given['act_layer'] = _Code(layer)
    return given


def _vit(arch: Mapping[str, Any]) -> dict[str, Any]:
    ratio = arch['feedforward_channels'] / arch['embed_dims']
    return dict(depth=arch['num_layers'], num_heads=arch['num_heads'], mlp_ratio=ratio)


def _host(backbone: Mapping[str, Any], layout: str) -> dict[str, Any]:
    options = BackboneOptions(backbone)
    size = options.take_side('img_size')
    build = dict(SwinTransformer=_host_swin, PVT=_host_pvt).get(options.kind, _host_vit)
    given = build(options, size, layout)
    if (channels := options.take('in_channels')) != 3:
        given['in_channels'] = channels
    options.check(layout)
    return given


def _host_swin(options: BackboneOptions, size: Any, layout: str) -> dict[str, Any]:
    arch, patch = options.take_arch(), options.take_side('patch_size')
    stages = len(arch['depths'])
    options.take('pad_small_map')  # see `notes_for`
    options.take_last(stages)
    given = dict(
        type=f'{layout}.SwinTransformer',
        pretrain_img_size=size,
        patch_size=patch,
        window_size=options.take('window_size'),
        embed_dims=arch['embed_dims'],
        depths=tuple(arch['depths']),
        num_heads=tuple(arch['num_heads']),
        out_indices=tuple(range(stages)),
    )
    if patch != 4:
        given['strides'] = (patch, *[2] * (stages - 1))
    given.update(_swin_blocks(options))
    ratio = given.get('mlp_ratio', 4)
    if ratio == int(ratio):
        given.update(dict(mlp_ratio=int(ratio)) if ratio != 4 else {})
    elif layout == 'mmdet':  # it multiplies, and gives the float to a layer
        options.refuse(BLOCK + 'ffn_ratio')
    if (scale := options.take(BLOCK + 'attn_cfgs.qk_scale')) is not None:
        given['qk_scale'] = scale
    if (act := options.take(BLOCK + 'ffn_cfgs.act_cfg')) != GELU:
        given['act_cfg'] = act
    if (eps := options.take_eps(*SWIN_NORMS)) not in (None, 1e-5):
        given['norm_cfg'] = dict(type='LN', eps=eps)
    return given


def _host_pvt(options: BackboneOptions, size: Any, layout: str) -> dict[str, Any]:
    for name in ('with_cls_token', 'out_type', 'out_indices'):
        options.take(name)  # mmdet's has maps alone
    arch = options.take_arch()
    return dict(
        type='mmdet.PyramidVisionTransformer',
        pretrain_img_size=size,
        # mmdet's `embed_dims` is the width of one head in the first stage.
        embed_dims=arch['embed_dims'][0] // arch['num_heads'][0],
        num_layers=list(arch['num_layers']),
        num_heads=list(arch['num_heads']),
        mlp_ratios=list(arch['mlp_ratios']),
        sr_ratios=list(arch['sr_ratios']),
        patch_sizes=list(arch['patch_sizes']),
        convert_weights=False,
    )


def _host_vit(options: BackboneOptions, size: Any, layout: str) -> dict[str, Any]:
    arch, patch = options.take_arch(), options.take_side('patch_size')
    vit, wide = _vit(arch), arch['feedforward_channels'] % arch['embed_dims']
    if wide:  # mmseg multiplies, and takes whole numbers alone
        options.refuse('arch')
    if not isinstance(patch, int):
        options.refuse('patch_size')
    if options.get('out_type') != 'avg_featmap':  # that has a norm of its own
        options.take('out_type')
    given = dict(
        type='mmseg.VisionTransformer',
        img_size=size,
        patch_size=patch,
        patch_bias=True,
        embed_dims=arch['embed_dims'],
        num_layers=vit['depth'],
        num_heads=vit['num_heads'],
        mlp_ratio=int(vit['mlp_ratio']),
        final_norm=options.take('final_norm'),
    )
    eps = options.take_eps(*VIT_NORMS)
    given['norm_cfg'] = dict(type='LN', eps=1e-6 if eps is None else eps)
    if (act := options.take('layer_cfgs.act_cfg')) != GELU:
        given['act_cfg'] = act
    if (mode := options.take('interpolate_mode')) != 'bicubic':
        given['interpolate_mode'] = mode
    indices = options.take_last(vit['depth'], every=True)
    if indices != [vit['depth'] - 1]:
        given['out_indices'] = tuple(indices)
    return given


def _call(name: str, values: list, options: Mapping[str, Any]) -> str:
    given = [repr(value) for value in values]
    given += [f'{key}={_plain(value)}' for key, value in options.items()]
    line = f'{name}({", ".join(given)})'
    return line if len(line) < 80 else f'{name}(\n    ' + ',\n    '.join(given) + ')'


class _Code(str):
    """An expression, which is not quoted."""

    def __repr__(self) -> str:
        return str(self)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return f'dict({", ".join(f"{k}={_plain(v)}" for k, v in value.items())})'
    return repr(value)
