"""Token Labeling (NeurIPS 2021, arXiv 2104.10858): supervise every token."""

from mmtlalign.methods.token_labeling.geometry import pool_label_maps
from mmtlalign.methods.token_labeling.head import TokenLabelClsHead
from mmtlalign.methods.token_labeling.label_map import LabelMap, hard_label_map
from mmtlalign.methods.token_labeling.loading import LoadLabelMap, open_label_maps
from mmtlalign.methods.token_labeling.loss import TokenLabelLoss
from mmtlalign.methods.token_labeling.metadata import StoreFacts, fingerprint
from mmtlalign.methods.token_labeling.official import OfficialLabelMaps
from mmtlalign.methods.token_labeling.shards import CorruptShardError
from mmtlalign.methods.token_labeling.store import (
    LabelMapStore,
    MissingMapError,
    create_store,
)
from mmtlalign.methods.token_labeling.targets import collate_label_maps
from mmtlalign.methods.token_labeling.tl_align import TLAlignTokenLabelClsHead
from mmtlalign.methods.token_labeling.transforms import (
    FlipWithMap,
    PoolLabelMap,
    RandAugmentWithMap,
    RandomResizedCropWithMap,
)

__all__ = [
    'CorruptShardError',
    'FlipWithMap',
    'LabelMap',
    'LabelMapStore',
    'LoadLabelMap',
    'MissingMapError',
    'OfficialLabelMaps',
    'PoolLabelMap',
    'RandAugmentWithMap',
    'RandomResizedCropWithMap',
    'StoreFacts',
    'TLAlignTokenLabelClsHead',
    'TokenLabelClsHead',
    'TokenLabelLoss',
    'collate_label_maps',
    'create_store',
    'fingerprint',
    'hard_label_map',
    'open_label_maps',
    'pool_label_maps',
]
