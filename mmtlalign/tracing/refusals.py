"""Backbones whose labels cannot be traced, and why.

Names are of their classes; subclasses are refused too, unless they or a class
in between are registered. Reasons are sentences that go on after "... cannot be
traced:".
"""

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
