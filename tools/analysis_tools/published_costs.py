"""Published counts of multiply-accumulates, and why some differ from ours.

Tools count differently, so each value has its source. Values that could not be checked
in their source are left out.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

NOTES = {
    'attention': 'PyTorch computes attention in one fused call that fvcore, '
    "mmengine's counter and, on a CPU, PyTorch's own do not know: counts of theirs may "
    "be without its two products, such as the 1.08 of mmpretrain's older tables for "
    'DeiT-T.',
    'fvcore': "timm's figures are fvcore's, 0.1 to 0.5 % above the formula.",
    'dhvt': "DHVT's paper leaves the two products of attention out. Its README, where "
    'its authors corrected what fvcore had skipped, has them.',
    'lv-vit': "LV-ViT's figures are of its authors' own counter, which adds softmax "
    'and dropout and takes the last convolution before the tokens for finer than it '
    'is. They include both classifiers, of the class token and of all tokens.',
    'caswin': 'Only "7 % fewer than Swin-T" is published; the network is our '
    'reconstruction from that.',
    'backbone': 'The backbone alone, which is trained without labels.',
}


class Published(NamedTuple):
    """Published counts of a network at one image size.

    Attributes:
        backbone: Settings that its config must have; the type without scope.
        size: Side of the images in pixels.
        macs: Values in units of 10^9, each with its source.
    """

    backbone: dict[str, Any]
    size: int
    macs: str


def _row(type_: str, macs: str, size: int = 224, **settings: Any) -> Published:
    if type_ == 'SwinTransformer':
        settings['window_size'] = 7
    return Published(dict(type=type_, **settings), size, macs)


PUBLISHED = [
    _row(
        'VisionTransformer',
        "1.3 (DeiT), 1.26 (timm, mmpretrain), 1.6 (TL-Align's README, unexplained)",
        arch='deit-tiny',
        patch_size=16,
    ),
    _row(
        'VisionTransformer',
        '4.6 (DeiT), 4.61 (timm)',
        arch='deit-small',
        patch_size=16,
    ),
    _row(
        'VisionTransformer',
        '17.5 (DeiT), 17.58 (timm)',
        arch='deit-base',
        patch_size=16,
    ),
    _row('SwinTransformer', '4.5 (Swin), 4.51 (timm)', arch='tiny'),
    _row('SwinTransformer', '8.7 (Swin), 8.8 (TL-Align)', arch='small'),
    _row('SwinTransformer', '15.4 (Swin)', arch='base'),
    _row('XCiT', '4.8 (XCiT)', embed_dims=384, depth=12, patch_size=16),
    _row('LVViT', "2.87 (authors' counter)", arch='tiny'),
    _row('LVViT', "6.57 (authors' counter)", arch='small'),
    _row('LVViT', "22.17 (authors' counter)", 384, arch='small'),
    _row('LVViT', "12.74 (authors' counter)", arch='medium'),
    _row('LVViT', "42.16 (authors' counter)", 384, arch='medium'),
    _row('LVViT', "60.97 (authors' counter)", 448, arch='medium'),
    _row('LVViT', "34.78 (authors' counter)", arch='large'),
    _row('LVViT', "157.0 (authors' counter)", 448, arch='large'),
    _row('DHVT', '1.2 (DHVT), 1.4 (its README)', arch='tiny-imagenet'),
    _row('DHVT', '4.7 (DHVT), 5.1 (its README)', arch='small-imagenet'),
    _row('DHVT', '1.2 (DHVT)', arch='tiny-domainnet'),
    _row('DHVT', '4.7 (DHVT)', arch='small-domainnet'),
    _row('DHVT', '0.4 (DHVT)', 32, arch='tiny-cifar', patch_size=4),
    _row('DHVT', '1.5 (DHVT)', 32, arch='small-cifar', patch_size=4),
    _row('DHVT', '1.4 (DHVT)', 32, arch='tiny-cifar', patch_size=2),
    _row('DHVT', '5.6 (DHVT)', 32, arch='small-cifar', patch_size=2),
]
# Backbone -> keys of NOTES.
CONCERNED = {
    'VisionTransformer': ('attention', 'fvcore'),
    'SwinTransformer': ('fvcore',),
    'PVT': ('attention',),
    'PCPVT': ('attention',),
    'SVT': ('attention',),
    'DHVT': ('attention', 'dhvt'),
    'LVViT': ('attention', 'lv-vit'),
    'CASwin': ('caswin',),
    'TIMMBackbone': ('attention', 'fvcore'),
}


def kind_of(backbone: Mapping[str, Any]) -> str:
    """Return the type of a backbone's config without the scope before it."""
    kind = backbone['type']
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def published(backbone: Mapping[str, Any], size: int) -> str:
    """Return the published counts of a backbone's config at a size; '' if none."""
    for row in PUBLISHED:
        if has_settings(backbone, row.backbone) and row.size == size:
            return row.macs
    return ''


def has_settings(backbone: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Return whether a backbone's config has settings; the type without scope."""
    given = dict(dict(window_size=7) | backbone, type=kind_of(backbone))
    return all(given.get(key) == value for key, value in settings.items())


def notes(backbone: Mapping[str, Any]) -> list[str]:
    """Return the keys of :data:`NOTES` that concern a backbone's config."""
    return list(CONCERNED.get(kind_of(backbone), ()))
