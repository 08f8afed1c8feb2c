"""Token Labeling (NeurIPS 2021, arXiv 2104.10858): supervise every token.

* Training: ``head.py`` (scores, class target), ``loss.py`` (labels and losses),
  ``tl_align.py`` (class target traced), ``targets.py`` (maps of a batch).
* Pipeline: ``transforms.py`` (load, augment), ``pooling.py`` (pool), ``geometry.py``
  (geometric operations on a map).
* Files: ``store.py`` and ``metadata.py``, ``official.py``; ``annotators`` make maps.
"""

from mmtlalign.methods.token_labeling.geometry import (
    LabelMap,
    hard_label_map,
    pool_label_maps,
)
from mmtlalign.methods.token_labeling.head import TokenLabelClsHead
from mmtlalign.methods.token_labeling.loss import TokenLabelLoss
from mmtlalign.methods.token_labeling.metadata import StoreMetadata, fingerprint
from mmtlalign.methods.token_labeling.official import OfficialLabelMaps, open_label_maps
from mmtlalign.methods.token_labeling.pooling import PoolLabelMap
from mmtlalign.methods.token_labeling.store import (
    CorruptShardError,
    LabelMapStore,
    MissingMapError,
    create_store,
)
from mmtlalign.methods.token_labeling.targets import collate_label_maps
from mmtlalign.methods.token_labeling.tl_align import TLAlignTokenLabelClsHead
from mmtlalign.methods.token_labeling.transforms import (
    FlipWithMap,
    LoadLabelMap,
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
    'StoreMetadata',
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
