"""The line of code that loads an exported backbone in timm or an OpenMMLab library."""

import importlib
from collections.abc import Mapping
from typing import Any

from mmtlalign.backbones.pvt import PVT

# timm builds a model from a name; arguments set the sizes of this backbone.
TIMM_NAMES = dict(
    DistilledVisionTransformer='deit_base_distilled_patch16_224',
    SwinTransformer='swin_base_patch4_window7_224',
    VisionTransformer='vit_base_patch16_224',
    XCiT='xcit_small_12_p16_224',
)


def loading_code(backbone: Mapping[str, Any], layout: str, path: str = 'FILE') -> str:
    """Return Python code that loads an exported file with the settings of its training.

    Args:
        backbone: The dict of the backbone in the config of its training.
        layout: Whose names the file has, a key of ``FORMATS`` of
            :mod:`mmtlalign.checkpoint.export`.
        path: The file. Defaults to a placeholder, because the code is stored in the
            file itself.
    """
    if layout == 'timm':
        name, options = _timm(backbone)
        return _call('timm.create_model', [name], dict(options, checkpoint_path=path))
    init = dict(type='Pretrained', checkpoint=path)
    if layout == 'mmpretrain':
        kind = str(backbone['type'])
        own = {k: v for k, v in backbone.items() if k not in ('type', 'init_cfg')}
        kind = kind if '.' in kind else f'mmpretrain.{kind}'
        return _call('dict', [], dict(type=kind, **own, init_cfg=init | PREFIX))
    options = _host(backbone, layout)
    return _call('dict', [], dict(options, init_cfg=init))


PREFIX = dict(prefix='backbone.')


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
    kind = str(backbone['type']).rpartition('.')[2]
    options: dict[str, Any] = dict(num_classes=0)
    if kind == 'TIMMBackbone':
        unread = {
            *('type', 'model_name', 'pretrained', 'checkpoint_path', 'init_cfg'),
            *('out_indices', 'out_type', 'drop_path_rate'),
        }
        own = {k: v for k, v in backbone.items() if k not in unread}
        return backbone.get('model_name', 'NAME'), options | own
    options['img_size'] = backbone.get('img_size', 224)
    arch = _arch(backbone, kind)
    if kind == 'XCiT':
        options.update(
            patch_size=backbone.get('patch_size', 16),
            embed_dim=backbone.get('embed_dims', 768),
            depth=backbone.get('depth', 12),
            num_heads=backbone.get('num_heads', 12),
            tokens_norm=backbone.get('tokens_norm', False),
        )
    elif kind == 'SwinTransformer':
        options.update(
            patch_size=backbone.get('patch_size', 4),
            window_size=backbone.get('window_size', 7),
            embed_dim=arch['embed_dims'],
            depths=list(arch['depths']),
            num_heads=list(arch['num_heads']),
        )
    else:
        options.update(_vit(backbone, arch), embed_dim=arch['embed_dims'])
    return TIMM_NAMES[kind], options


def _vit(backbone: Mapping[str, Any], arch: Mapping[str, Any]) -> dict[str, Any]:
    return dict(
        patch_size=backbone.get('patch_size', 16),
        depth=arch['num_layers'],
        num_heads=arch['num_heads'],
        mlp_ratio=arch['feedforward_channels'] / arch['embed_dims'],
    )


def _host(backbone: Mapping[str, Any], layout: str) -> dict[str, Any]:
    kind = str(backbone['type']).rpartition('.')[2]
    arch = _arch(backbone, kind)
    size = backbone.get('img_size', 224)
    if kind == 'SwinTransformer':
        return dict(
            type=f'{layout}.SwinTransformer',
            pretrain_img_size=size,
            patch_size=backbone.get('patch_size', 4),
            window_size=backbone.get('window_size', 7),
            embed_dims=arch['embed_dims'],
            depths=tuple(arch['depths']),
            num_heads=tuple(arch['num_heads']),
            out_indices=tuple(range(len(arch['depths']))),
        )
    if kind == 'PVT':
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
    vit = _vit(backbone, arch)
    return dict(
        type='mmseg.VisionTransformer',
        img_size=size,
        patch_size=vit['patch_size'],
        patch_bias=True,
        embed_dims=arch['embed_dims'],
        num_layers=vit['depth'],
        num_heads=vit['num_heads'],
        mlp_ratio=int(vit['mlp_ratio']),
        final_norm=True,
        norm_cfg=dict(type='LN', eps=1e-6),
    )


def _arch(backbone: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the sizes behind the name of an architecture."""
    arch = backbone.get('arch', 'base' if 'Vision' in kind else 'tiny')
    if not isinstance(arch, str) or kind == 'XCiT':
        return arch
    if kind == 'PVT':
        return PVT.arch_zoo[arch]
    host = importlib.import_module('mmpretrain.models')
    return getattr(host, kind).arch_zoo[arch]


def _call(name: str, values: list, options: Mapping[str, Any]) -> str:
    given = [repr(value) for value in values]
    given += [f'{key}={_plain(value)}' for key, value in options.items()]
    line = f'{name}({", ".join(given)})'
    return line if len(line) < 80 else f'{name}(\n    ' + ',\n    '.join(given) + ')'


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return f'dict({", ".join(f"{k}={_plain(v)}" for k, v in value.items())})'
    return repr(value)
