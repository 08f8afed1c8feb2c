"""The training methods, each in a file or folder of its own."""

from mmtlalign import mixing
from mmtlalign.methods.base import MixHead
from mmtlalign.methods.classifier import MixClassifier
from mmtlalign.methods.esvit import EsViT, EsViTHead, EsViTHook, TensorClipHook
from mmtlalign.methods.guides import (
    EMAAttention,
    EMAGuideHook,
    OwnAttention,
    TeacherAttention,
)
from mmtlalign.methods.knn import KNNHook
from mmtlalign.methods.label_share_hook import LabelShareHook
from mmtlalign.methods.linear_probe import (
    LinearProbe,
    LinearProbeHead,
    LinearProbeOptimWrapperConstructor,
    ProbeAccuracy,
)
from mmtlalign.methods.mixer import BatchMixer
from mmtlalign.methods.pixel_guides import FineGrainedSaliency, InputGradient
from mmtlalign.methods.preprocessor import MixDataPreprocessor
from mmtlalign.methods.relabel import ReLabel
from mmtlalign.methods.smmix import (
    SMMixLinearClsHead,
    SMMixVisionTransformerClsHead,
    TLAlignSMMixLinearClsHead,
    TLAlignSMMixVisionTransformerClsHead,
)
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
from mmtlalign.methods.token_mix import (
    TokenMixLinearClsHead,
    TokenMixVisionTransformerClsHead,
)
from mmtlalign.methods.transmix import (
    TransMixDeiTClsHead,
    TransMixLinearClsHead,
    TransMixVisionTransformerClsHead,
)
from mmtlalign.registry import BATCH_AUGMENTS

for augment in (
    mixing.AttentiveCutMix,
    mixing.CutMix,
    mixing.FMix,
    mixing.GridMix,
    mixing.MaskMix,
    mixing.MixToken,
    mixing.Mixup,
    mixing.PuzzleMix,
    mixing.ResizeMix,
    mixing.SMMix,
    mixing.SaliencyMix,
    mixing.TokenCutMix,
    mixing.TokenMix,
):
    # Registered here, as mmtlalign.mixing depends only on PyTorch.
    BATCH_AUGMENTS.register_module(module=augment)

__all__ = [
    'BatchMixer',
    'EMAAttention',
    'EMAGuideHook',
    'EsViT',
    'EsViTHead',
    'EsViTHook',
    'FineGrainedSaliency',
    'FlipWithMap',
    'InputGradient',
    'KNNHook',
    'LabelShareHook',
    'LinearProbe',
    'LinearProbeHead',
    'LinearProbeOptimWrapperConstructor',
    'LoadLabelMap',
    'MixClassifier',
    'MixDataPreprocessor',
    'MixHead',
    'OwnAttention',
    'PoolLabelMap',
    'ProbeAccuracy',
    'RandAugmentWithMap',
    'RandomResizedCropWithMap',
    'ReLabel',
    'SMMixLinearClsHead',
    'SMMixVisionTransformerClsHead',
    'TLAlignDeiTClsHead',
    'TLAlignLinearClsHead',
    'TLAlignSMMixLinearClsHead',
    'TLAlignSMMixVisionTransformerClsHead',
    'TLAlignTokenLabelClsHead',
    'TLAlignVisionTransformerClsHead',
    'TeacherAttention',
    'TensorClipHook',
    'TokenLabelClsHead',
    'TokenLabelLoss',
    'TokenMixLinearClsHead',
    'TokenMixVisionTransformerClsHead',
    'TransMixDeiTClsHead',
    'TransMixLinearClsHead',
    'TransMixVisionTransformerClsHead',
    'collate_label_maps',
]
