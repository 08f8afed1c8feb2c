"""Networks of the benchmark, in mmpretrain and (some) in timm, and its cases."""

import copy
import math
from dataclasses import dataclass

# As in DeiT's recipe, in mmpretrain and timm alike.
DROP_PATH = 0.1


@dataclass(frozen=True)
class Network:
    """Network that is benchmarked.

    Attributes:
        backbone: Config of the backbone for mmpretrain.
        timm: Name of the same network in timm. Defaults to None: timm lacks it.
        size: Side of its usual images in pixels.
        patch: Side of a token in pixels, for plain transformers with a class token,
            which take any number of tokens. Defaults to None: only its usual size.
        has_reference: Whether ``ReferenceTLAlign`` knows its attention.
        host: A host that it needs beyond mmpretrain.
    """

    backbone: dict
    timm: str | None = None
    size: int = 224
    patch: int | None = None
    has_reference: bool = False
    host: str | None = None

    @property
    def tokens(self) -> int | None:
        """Number of tokens at its usual size; None if it changes between layers."""
        return self.patch and (self.size // self.patch) ** 2 + 1

    def pixels(self, tokens: int | None) -> int | None:
        """Return the side of images with that many tokens, None if there is none."""
        if tokens in (None, self.tokens):
            return self.size
        return self.patch and self.patch * math.isqrt(tokens - 1)

    def config(self, size: int) -> dict:
        """Return the config of the backbone for images of ``size`` pixels."""
        config = copy.deepcopy(self.backbone)
        if 'img_size' in config:
            config['img_size'] = size
        return config


@dataclass(frozen=True)
class Case:
    """One network in one setting; a row of the table.

    Attributes:
        model: Name of the network.
        size: Side of the images in pixels.
        tokens: Number of tokens; None if it changes between layers.
        batch: Number of images.
        measure: ``'step'`` or ``'train'``.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``.
        attention: ``'stock'``, or the kernel that speeds up our variants.
        threads: Number of CPU threads.
        device: ``'cpu'`` or ``'cuda'``.
    """

    model: str
    size: int
    tokens: int | None
    batch: int
    measure: str
    precision: str
    attention: str
    threads: int
    device: str


def _deit(arch: str) -> Network:
    backbone = dict(type='VisionTransformer', arch=f'deit-{arch}', img_size=224)
    backbone.update(patch_size=16, drop_path_rate=DROP_PATH)
    return Network(backbone, f'deit_{arch}_patch16_224', patch=16, has_reference=True)


def _swin(arch: str) -> Network:
    backbone = dict(type='SwinTransformer', arch=arch, img_size=224)
    backbone.update(drop_path_rate=DROP_PATH)
    return Network(backbone, f'swin_{arch}_patch4_window7_224', has_reference=True)


def _dhvt(arch: str) -> Network:
    backbone = dict(type='mmtlalign.DHVT', arch=f'{arch}-imagenet', patch_size=16)
    return Network(backbone, patch=16, has_reference=True)


def _timm(name: str) -> Network:
    return Network(dict(type='mmtlalign.TIMMBackbone', model_name=name))


def _mmdet(version: str, **settings) -> Network:
    kind = f'mmdet.PyramidVisionTransformer{version}'
    return Network(dict(type=kind, out_indices=(3,), **settings), host='mmdet')


MODELS = {
    'deit-tiny': _deit('tiny'),
    'deit-small': _deit('small'),
    'deit-base': _deit('base'),
    'swin-tiny': _swin('tiny'),
    'swin-small': _swin('small'),
    'swin-base': _swin('base'),
    'dhvt-tiny': _dhvt('tiny'),
    'dhvt-small': _dhvt('small'),
    'pvt-small': Network(dict(type='mmtlalign.PVT', arch='small'), has_reference=True),
    'caswin-tiny': Network(dict(type='mmtlalign.CASwin', arch='tiny')),
    'deit3-small': Network(
        dict(type='mmpretrain.DeiT3', arch='small', img_size=224, patch_size=16),
        patch=16,
    ),
    'beit-small': Network(dict(type='mmpretrain.BEiTViT', arch='deit-s', img_size=224)),
    'swinv2-tiny': Network(
        dict(type='SwinTransformerV2', arch='tiny', img_size=256, window_size=8),
        size=256,
    ),
    'pcpvt-small': Network(dict(type='PCPVT', arch='small')),
    'svt-small': Network(dict(type='SVT', arch='small')),
    'xcit-tiny-12': Network(
        dict(type='XCiT', embed_dims=192, depth=12, num_heads=4, patch_size=16)
    ),
    't2t-vit-14': Network(dict(type='T2T_ViT')),
    'pvt-small-mmdet': _mmdet('', num_layers=[3, 4, 6, 3]),
    'pvtv2-b1-mmdet': _mmdet('V2', embed_dims=64, num_layers=[2, 2, 2, 2]),
    'deit-small-timm': _timm('deit_small_patch16_224'),
    'swin-tiny-timm': _timm('swin_tiny_patch4_window7_224'),
    'pvtv2-b1-timm': _timm('pvt_v2_b1'),
}
GROUPS = {
    'papers': (
        *('deit-tiny', 'deit-small', 'deit-base'),
        *('swin-tiny', 'swin-small', 'swin-base'),
        *('dhvt-small', 'pvt-small'),
    ),
}
