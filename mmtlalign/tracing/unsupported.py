"""The reasons why backbones cannot be traced, by the names of their classes."""

# Class names of backbones that cannot be traced, with the reason, which continues the
# message "... cannot be traced:". Subclasses are refused as well, unless they or a
# class in between are registered.
_CONVOLUTION = (
    'it has no attention between tokens, and the weights of its convolutions have both '
    'signs, so they define no shares.'
)
_POOLING = (
    'it mixes tokens, in most blocks or all, by the mean of the neighbours minus the '
    'token itself, whose weights have both signs.'
)
_GRAPH = (
    'it takes the maximum over neighbours in a graph, channel by channel, so that '
    'no token has one share.'
)

# For classes of other hosts, such as timm's ConvNeXt, that have the name of a class
# which mmpretrain's adapters know.
_DEPTHWISE = (
    'its depth-wise convolutions have no adapter; mmpretrain has a class of this name '
    'that can be traced, with learnt_weights.'
)

_CONVOLUTIONAL = (
    'AlexNet',
    'CSPNet',
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

# Classes for pretraining, and the class that their weights are fine-tuned with.
_PRETRAINED = {
    'BEiTPretrainViT': 'BEiTViT',
    'CAEPretrainViT': 'BEiTViT',
    'MAEHiViT': 'HiViT',
    'MAEViT': 'VisionTransformer',
    'MaskFeatViT': 'VisionTransformer',
    'MixMIMPretrainTransformer': 'MixMIMTransformer',
    'SimMIMSwinTransformer': 'SwinTransformer',
    'SparseConvNeXt': 'ConvNeXt',
    'iTPNHiViT': 'HiViT',
}

UNSUPPORTED: dict[str, str] = {
    **dict.fromkeys(_CONVOLUTIONAL, _CONVOLUTION),
    **dict.fromkeys(('ConvMixer', 'ConvNeXt'), _DEPTHWISE),
    **dict.fromkeys(('EfficientFormer', 'PoolFormer'), _POOLING),
    **dict.fromkeys(('PyramidVig', 'Vig'), _GRAPH),
    **{
        name: f'it is for pretraining, where its forward masks tokens; build {heir} '
        'and load its weights.'
        for name, heir in _PRETRAINED.items()
    },
    'Conformer': (
        'its tokens receive the features of a convolutional branch in every block, and '
        'both branches are outputs.'
    ),
    'EdgeNeXt': (
        'its attention is over channels and mixes no tokens; convolutions do, and '
        'their weights define no shares.'
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
        'after its attentions, and the weights of convolutions define no shares.'
    ),
    'ModifiedResNet': (
        'it is convolutional, and the attention that pools its last map starts from '
        'features that have no shares.'
    ),
    'RepMLPNet': (
        'it adds convolutions over channels to the learnt weights that mix its tokens, '
        'for which there is no rule.'
    ),
    'RevVisionTransformer': (
        'it adds attention over one half of the channels to the other half, so that '
        'a token has two labels, and repeats its forward by itself.'
    ),
    'TNT': (
        'it adds to a token in every layer a projection of its pixels, which attend to '
        'each other, and the weights of projections define no shares.'
    ),
    'TinyViT': (
        'it has a depth-wise convolution without a residual after each attention, '
        'and the weights of convolutions define no shares.'
    ),
    'ViTSAM': (
        'it has a 3x3 convolution without a residual between its last attention and '
        'its output, and the weights of convolutions define no shares.'
    ),
    'WindowedViT': (
        'it is for dense tasks, where most of its layers attend within windows; '
        'pretrain VisionTransformer, whose weights it loads.'
    ),
}
