"""ViT pretraining with labels that follow the tokens, for OpenMMLab.

The public names are available here and imported on first use; `mmtlalign.mixing` and
`mmtlalign.tracing` need only PyTorch. In a config, types are written ``mmtlalign.X``.
Importing this package checks that the installed versions of the host libraries
(mmengine, mmpretrain, timm, ...) are supported, without importing them.
"""

import importlib
import importlib.util
from typing import Any

from mmtlalign.compat import mmcv_ops
from mmtlalign.compat.hosts import check_hosts

__version__ = '0.1.0'

# Public name: the module that defines it.
_HOME = {
    'AttentiveCutMix': 'mixing.salient',
    'BackboneSpec': 'tracing.support',
    'CutMix': 'mixing.cutmix',
    'FMix': 'mixing.fmix',
    'GridMix': 'mixing.token_mix',
    'MaskMix': 'mixing.token_mix',
    'Mix': 'mixing.mix',
    'MixToken': 'mixing.mixtoken',
    'Mixup': 'mixing.augments',
    'PuzzleMix': 'mixing.puzzle',
    'ResizeMix': 'mixing.cutmix',
    'SMMix': 'mixing.salient',
    'SaliencyMix': 'mixing.salient',
    'TokenCutMix': 'mixing.token_mix',
    'TokenMix': 'mixing.token_mix',
    'attach': 'tracing.attach',
    'detach': 'tracing.attach',
    'register_attention': 'tracing.support',
    'register_backbone': 'tracing.support',
    'register_models': 'model_hub',
    'trace': 'tracing.trace',
    'trace_attention': 'tracing.trace_attention',
}
__all__ = ['__version__', 'list_backbones', *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(f'{__name__}.{_HOME[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def list_backbones() -> list[str]:
    """List the backbones whose labels can be traced, as ``'host.Class'``.

    Hosts (mmpretrain, timm, ...) that are not installed are left out.
    """
    from mmtlalign.tracing.support import supported_backbones

    if importlib.util.find_spec('mmpretrain'):
        importlib.import_module('mmtlalign.backbones')
    classes = supported_backbones()
    return sorted(f'{c.__module__.partition(".")[0]}.{c.__name__}' for c in classes)


check_hosts()
mmcv_ops.install()
