"""What is known of backbones and attentions, and what is refused.

Nothing is guessed: what is registered here, beside the twins of each host (see
``mmpretrain_vit.py``), is known; whatever is not and looks like attention is an
error when the model is built.

Backbones whose labels cannot be traced, and why.

Names are of their classes; subclasses are refused too, unless they or a class
in between are registered. Reasons are sentences that go on after "... cannot be
traced:".
"""

import functools
import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn

from mmtlalign.errors import UnsupportedError

_LOOKS_LIKE_ATTENTION = re.compile(r'atten|attn|msa(?![a-z])|mixer', re.IGNORECASE)

# Modules of `adapters` that register backbones and attentions of a host.
ADAPTERS = {
    'mmpretrain': (
        'mmpretrain_vit',
        'mmpretrain_swin',
        'mmpretrain_twins',
        'mmpretrain_xcit',
        'mmpretrain_t2t',
        'mmpretrain_davit',
        'mmpretrain_hivit',
        'mmpretrain_mixmim',
        'mmpretrain_timm',
    ),
    'mmdet': ('mmdet',),
    'timm': ('timm_vit', 'timm_swin', 'timm_pvt'),
}


@dataclass(frozen=True)
class BackboneSpec:
    """What tracing has to know of a backbone class.

    Attributes:
        patch: Backbone to the token size ``(height, width)`` in pixels.
        prefix: Backbone to its number of special tokens.
        output: Backbone to ``'class'`` or ``'mean'``: what its last feature
            is. It raises ValueError for outputs that nothing can be read from.
        joins: Backbone to its number of special tokens that join late, each
            starting at the mean of the tokens. Defaults to none.
        outputs: Backbone to how many of the special tokens it outputs, the
            leading ones, where ``output`` is ``'class'``. Defaults to None:
            all of them.
        grid: Backbone and image size (height, width) to token rows and columns.
            Defaults to None: as many tokens as cover the image.
        note: For the table of models: where the output is read, in words.
            Defaults to what most plain transformers offer.
    """

    patch: Callable[[nn.Module], tuple[int, int]]
    prefix: Callable[[nn.Module], int]
    output: Callable[[nn.Module], str]
    joins: Callable[[nn.Module], int] = lambda backbone: 0
    outputs: Callable[[nn.Module], int] | None = None
    grid: Callable[[nn.Module, Sequence[int]], tuple[int, int]] | None = None
    note: str = 'class token, or mean of the tokens'

    def count_outputs(self, backbone: nn.Module) -> int:
        """How many outputs of the backbone a head scores."""
        if self.output(backbone) == 'mean':
            return 1
        if self.outputs is not None:
            return self.outputs(backbone)
        return self.prefix(backbone) + self.joins(backbone)


@dataclass
class _Known:
    families: dict[type, BackboneSpec] = field(default_factory=dict)
    attentions: dict[type, Callable] = field(default_factory=dict)
    helpers: dict[type, Callable] = field(default_factory=dict)


KNOWN = _Known()


def register_backbone(cls: type, family: BackboneSpec) -> None:
    """Make a backbone class, and its subclasses, traceable."""
    KNOWN.families[cls] = family


def register_attention(cls: type):
    """Decorator for ``install(module, context)``, which taps one attention."""

    def register(install):
        KNOWN.attentions[cls] = install
        return install

    return register


def register_token_module(cls: type):
    """As :func:`register_attention`, for modules that move tokens otherwise."""

    def register(install):
        KNOWN.helpers[cls] = install
        return install

    return register


def backbone_spec(backbone: nn.Module) -> BackboneSpec:
    """The backbone's family.

    Raises:
        TypeError: For an unknown class, naming the known ones, and for one
            whose labels cannot be traced, with the reason.
    """
    _load_bases(type(backbone))
    found = _look_up(type(backbone))
    if not isinstance(found, BackboneSpec):
        load_adapters(hosts_of(backbone))
        found = _look_up(type(backbone))
    if isinstance(found, BackboneSpec):
        return found
    if found is not None:
        raise UnsupportedError(
            f'{type(backbone).__name__} cannot be traced: {found} '
            'Train it with a stock head (plain CutMix), or take one of the '
            'backbones in the table of the README.'
        )
    known = ', '.join(sorted(c.__name__ for c in KNOWN.families))
    raise UnsupportedError(
        f'{type(backbone).__name__} cannot be traced: nothing is registered about '
        f'where its tokens start and what it outputs. Known backbones: {known}. '
        'See docs/add_a_backbone.md for how to register one.'
    )


def supported_backbones() -> dict[type, BackboneSpec]:
    """All registered backbones of the hosts that are installed."""
    load_adapters(ADAPTERS)
    return dict(KNOWN.families)


def hosts_of(model: nn.Module) -> set[str]:
    """Top-level packages that the modules of a model come from."""
    return {
        cls.__module__.partition('.')[0]
        for module in model.modules()
        for cls in type(module).__mro__
    }


def load_adapters(hosts: Iterable[str]) -> None:
    """Import what is known of these hosts, and of no other."""
    for host in hosts:
        for name in ADAPTERS.get(host, ()):
            importlib.import_module(f'mmtlalign.tracing.adapters.{name}')


@functools.cache
def _load_bases(cls: type) -> None:
    """Of a class and its bases, lest a base that is known already stand for it."""
    load_adapters({base.__module__.partition('.')[0] for base in cls.__mro__})


@functools.cache
def looks_like_attention(cls: type) -> bool:
    """Whether a module that nobody registered should have been."""
    return _LOOKS_LIKE_ATTENTION.search(cls.__name__) is not None


def _look_up(cls: type) -> BackboneSpec | str | None:
    """What is nearest among the class and its bases: a family, or a refusal."""
    for base in cls.__mro__:
        if base in KNOWN.families:
            return KNOWN.families[base]
        if base.__name__ in REASONS:
            return REASONS[base.__name__]
    return None


_CONVOLUTION = (
    'it has no attention between tokens, and the weights of convolutions are no '
    'shares: they have signs and do not sum to one.'
)
_MIXER = (
    'it mixes tokens by learnt weights that are the same for every image, have '
    'signs and do not sum to one, which is no share of a token.'
)
_POOLING = (
    'it mixes tokens, in most blocks or all, by the mean of the neighbours minus the '
    'token itself, whose weights have signs.'
)
_GRAPH = (
    'it takes the maximum over neighbours in a graph, channel by channel, so that '
    'no token has one share.'
)

_CONVOLUTIONAL = (
    'AlexNet',
    'CSPNet',
    'ConvMixer',
    'ConvNeXt',
    'DenseNet',
    'EfficientNet',
    'EfficientNetV2',
    'HRNet',
    'HorNet',
    'InceptionV3',
    'LeNet5',
    'MobileNetV2',
    'MobileNetV3',
    'MobileOne',
    'RIFormer',
    'RepLKNet',
    'RepVGG',
    'ResNet',
    'ShuffleNetV1',
    'ShuffleNetV2',
    'VAN',
    'VGG',
)

# Subclasses for pretraining, and the class that fine-tunes their weights.
_PRETRAINED = {
    'BEiTPretrainViT': 'BEiTViT',
    'CAEPretrainViT': 'BEiTViT',
    'MAEHiViT': 'HiViT',
    'MAEViT': 'VisionTransformer',
    'MaskFeatViT': 'VisionTransformer',
    'MixMIMPretrainTransformer': 'MixMIMTransformer',
    'SimMIMSwinTransformer': 'SwinTransformer',
    'iTPNHiViT': 'HiViT',
}

REASONS: dict[str, str] = {
    **dict.fromkeys(_CONVOLUTIONAL, _CONVOLUTION),
    **dict.fromkeys(('MlpMixer', 'RepMLPNet'), _MIXER),
    **dict.fromkeys(('EfficientFormer', 'PoolFormer'), _POOLING),
    **dict.fromkeys(('PyramidVig', 'Vig'), _GRAPH),
    **{
        name: f'it is for pretraining, where its forward masks tokens; build {heir} '
        'and load its weights.'
        for name, heir in _PRETRAINED.items()
    },
    'Conformer': (
        'its tokens take in the features of a convolutional branch in every block, '
        'and both branches are outputs.'
    ),
    'EdgeNeXt': (
        'its attention is over channels and moves no token; convolutions do, whose '
        'weights are no shares.'
    ),
    'LeViT': (
        'its attention between stages takes fewer queries than tokens and has no '
        'residual, so a new token has no label of its own to average with.'
    ),
    'MViT': (
        'its attention pools queries by a convolution and its residual by the '
        'maximum of a window, so no token keeps a label that could be averaged.'
    ),
    'MobileViT': (
        'it has a convolution of tokens and of the map before, without a residual, '
        'behind its attentions, and the weights of convolutions are no shares.'
    ),
    'ModifiedResNet': (
        'it is convolutional, and the attention that pools its last map starts from '
        'features that have no shares.'
    ),
    'RevVisionTransformer': (
        'it adds attention over one half of the channels to the other half, so that '
        'a token has two labels, and repeats its forward by itself.'
    ),
    'TNT': (
        'it adds to a token in every layer a projection of its pixels, which attend '
        'among themselves, and the weights of projections are no shares.'
    ),
    'TinyViT': (
        'it has a depth-wise convolution without a residual behind each attention, '
        'and the weights of convolutions are no shares.'
    ),
    'ViTSAM': (
        'it has a 3x3 convolution without a residual between its last attention and '
        'its output, and the weights of convolutions are no shares.'
    ),
    'WindowedViT': (
        'it is for dense tasks, where most of its layers attend within windows; '
        'pretrain VisionTransformer, whose weights it loads.'
    ),
}
