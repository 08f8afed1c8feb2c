"""ViT pretraining with labels that follow the tokens, for OpenMMLab.

Importing this package checks once, without importing them, that the hosts that
are installed fit. None is demanded: `mmtlalign.mixing` and `mmtlalign.tracing`
need torch alone, classification runs with mmcv-lite.
"""

from mmtlalign.compat.hosts import check_hosts
from mmtlalign.model_hub import register_models

__version__ = '0.1.0'
__all__ = ['register_models']

check_hosts()
