"""Dense label maps: what a classifier sees in every cell of every image."""

from mmtlalign.datasets.label_maps.facts import StoreFacts, fingerprint
from mmtlalign.datasets.label_maps.label_map import LabelMap, hard_label_map
from mmtlalign.datasets.label_maps.loading import LoadLabelMap, open_label_maps
from mmtlalign.datasets.label_maps.moves import (
    FlipWithMap,
    RandAugmentWithMap,
    RandomResizedCropWithMap,
)
from mmtlalign.datasets.label_maps.official import OfficialLabelMaps
from mmtlalign.datasets.label_maps.pool_step import PoolLabelMap
from mmtlalign.datasets.label_maps.pooling import label_map_targets, pool_label_maps
from mmtlalign.datasets.label_maps.relabel import ReLabel
from mmtlalign.datasets.label_maps.shards import CorruptShardError
from mmtlalign.datasets.label_maps.store import (
    LabelMapStore,
    MissingMapError,
    create_store,
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
    'ReLabel',
    'StoreFacts',
    'create_store',
    'fingerprint',
    'hard_label_map',
    'label_map_targets',
    'open_label_maps',
    'pool_label_maps',
]
