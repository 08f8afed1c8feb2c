"""One method, one file or folder: what it registers and how it computes its loss."""

from mmtlalign import mixing
from mmtlalign.methods.base import MixHead
from mmtlalign.methods.classifier import MixClassifier
from mmtlalign.methods.esvit import EsViT, EsViTHead, EsViTHook, TensorClipHook
from mmtlalign.methods.knn import KNNHook
from mmtlalign.methods.linear_probe import (
    LinearProbe,
    LinearProbeHead,
    LinearProbeOptimWrapperConstructor,
    ProbeAccuracy,
)
from mmtlalign.methods.mixer import BatchMixer
from mmtlalign.methods.preprocessor import MixDataPreprocessor
from mmtlalign.methods.relabel import ReLabel
from mmtlalign.methods.tl_align import (
    TLAlignDeiTClsHead,
    TLAlignLinearClsHead,
    TLAlignVisionTransformerClsHead,
)
from mmtlalign.methods.token_labeling import (
    FlipWithMap,
    LoadLabelMap,
    PoolLabelMap,
    RandAugmentWithMap,
    RandomResizedCropWithMap,
    TLAlignTokenLabelClsHead,
    TokenLabelClsHead,
    TokenLabelLoss,
    collate_label_maps,
)
from mmtlalign.methods.transmix import (
    TransMixDeiTClsHead,
    TransMixLinearClsHead,
    TransMixVisionTransformerClsHead,
)
from mmtlalign.registry import BATCH_AUGMENTS

for augment in (
    mixing.CutMix,
    mixing.FMix,
    mixing.GridMix,
    mixing.MixToken,
    mixing.Mixup,
    mixing.ResizeMix,
    mixing.TokenCutMix,
    mixing.TokenMix,
):
    # mmtlalign.mixing is plain PyTorch and knows no registries.
    BATCH_AUGMENTS.register_module(module=augment)

__all__ = [
    'BatchMixer',
    'EsViT',
    'EsViTHead',
    'EsViTHook',
    'FlipWithMap',
    'KNNHook',
    'LinearProbe',
    'LinearProbeHead',
    'LinearProbeOptimWrapperConstructor',
    'LoadLabelMap',
    'MixClassifier',
    'MixDataPreprocessor',
    'MixHead',
    'PoolLabelMap',
    'ProbeAccuracy',
    'RandAugmentWithMap',
    'RandomResizedCropWithMap',
    'ReLabel',
    'TLAlignDeiTClsHead',
    'TLAlignLinearClsHead',
    'TLAlignTokenLabelClsHead',
    'TLAlignVisionTransformerClsHead',
    'TensorClipHook',
    'TokenLabelClsHead',
    'TokenLabelLoss',
    'TransMixDeiTClsHead',
    'TransMixLinearClsHead',
    'TransMixVisionTransformerClsHead',
    'collate_label_maps',
]
