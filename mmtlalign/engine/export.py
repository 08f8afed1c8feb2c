"""Write the backbone of a checkpoint as a file of its own, with what it is."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

import mmtlalign
from mmtlalign.backbones.pvt_mmdet import to_mmdet
from mmtlalign.engine.backbone_facts import backbone_facts
from mmtlalign.engine.checkpoint_file import read_checkpoint, some_of
from mmtlalign.engine.config_text import read_config_text
from mmtlalign.engine.errors import InputError
from mmtlalign.engine.tensor_files import check_target, write_tensors
from mmtlalign.engine.weight_names import convert
from mmtlalign.engine.weights_choice import choose_weights

__all__ = ['FORMATS', 'export_backbone']

BEGIN = 'backbone.'


def _keep(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors


def _as_mmdet_pvt(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return to_mmdet({name[len(BEGIN) :]: value for name, value in tensors.items()})


def _as_timm_inside(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    inside = BEGIN + 'timm_model.'
    return {name.removeprefix(inside): value for name, value in tensors.items()}


def _table(family: str) -> Callable:
    return partial(convert, family=family, reverse=True)


# By format and type of the backbone, what makes the names (and values) of one out of
# ours. Names of mmpretrain are those of every host that builds `mmpretrain.X`.
FORMATS: dict[str, dict[str, Callable]] = dict(
    mmpretrain={},
    timm=dict(
        DistilledVisionTransformer=_table('timm_vit'),
        SwinTransformer=_table('timm_swin'),
        TIMMBackbone=_as_timm_inside,
        VisionTransformer=_table('timm_vit'),
        XCiT=_table('timm_xcit'),
    ),
    mmdet=dict(PVT=_as_mmdet_pvt, SwinTransformer=_keep),
    mmseg=dict(SwinTransformer=_keep, VisionTransformer=_table('mmseg_vit')),
)


def export_backbone(
    checkpoint: str,
    out: str,
    weights: str = 'auto',
    prefix: str = BEGIN,
    layout: str = 'mmpretrain',
    config: str | None = None,
) -> dict:
    """Write a backbone and nothing else of a checkpoint.

    Args:
        checkpoint: Of a training run, or a file that this function wrote.
        out: File to write, ``.pth`` or ``.safetensors``; must not exist.
        weights: Which network of the file, as in :func:`choose_weights`; ``'auto'``
            is what the checkpoint is tested with.
        prefix: What the names of the backbone's tensors begin with in the
            checkpoint. Defaults to ``'backbone.'``.
        layout: A key of :data:`FORMATS`.
        config: Config file of the run; it is run, as training runs it. By default
            the config in the checkpoint, which is only read.

    Returns:
        The metadata that was written.

    Raises:
        InputError: The checkpoint cannot be read, lacks the weights, the prefix or
            a config, the format does not know the backbone, or ``out`` exists.
    """
    check_target(out)
    advice = 'Name a checkpoint: export_backbone.py CHECKPOINT OUT'
    content = read_checkpoint(checkpoint, 'CHECKPOINT', advice)
    saved = content.get('meta') or {}
    text, values = _config(saved, config, checkpoint)
    facts = backbone_facts(values, config or checkpoint)
    prefix = prefix if prefix.endswith('.') else prefix + '.'
    tensors, kind = choose_weights(content, weights, checkpoint, prefix)
    tensors = _select(tensors, prefix, checkpoint)
    tensors = _renamed(tensors, layout, facts['backbone'])
    meta = dict(
        facts,
        weights=kind,
        layout=layout,
        epoch=saved.get('epoch'),
        iteration=saved.get('iter', saved.get('iteration')),
        seed=saved.get('seed'),
        exported_from=Path(checkpoint).name,
        sha256=digest(tensors),
        versions=dict(
            saved.get('versions') or dict(trained_with=saved.get('mmengine_version')),
            mmtlalign=mmtlalign.__version__,
            torch=torch.__version__,
        ),
        cfg=text,
    )
    # The same plain values in both kinds of files.
    meta = json.loads(json.dumps(meta, default=str))
    write_tensors(out, tensors, meta)
    return meta


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, by name."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _config(saved: Mapping, config: str | None, checkpoint: str) -> tuple[str, Mapping]:
    """Text and values of the config, from the file named or from the checkpoint."""
    if config is not None:
        try:
            read = Config.fromfile(config)
        except FileNotFoundError as error:
            raise InputError(
                f'--config {config} does not exist. Name the config of the run.'
            ) from error
        return read.pretty_text, read.to_dict()
    text = saved.get('cfg')
    if not isinstance(text, str) or not text.strip():
        raise InputError(
            f'{checkpoint} holds no config, so its image size and normalisation are '
            'not known. Name the config it was trained with: --config FILE.'
        )
    return text, read_config_text(text, checkpoint)


def _select(tensors: Mapping, prefix: str, path: str) -> dict[str, Tensor]:
    """The tensors under ``prefix``, under ours."""
    found = {
        BEGIN + name[len(prefix) :]: value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    if not found:
        begins = Counter(name.split('.')[0] + '.' for name in tensors)
        listed = some_of([f'{b!r} ({n} tensors)' for b, n in begins.most_common()])
        raise InputError(
            f'{path}: no tensor begins with {prefix!r}; they begin with {listed}. '
            'Name the beginning of the backbone: --prefix NAME.'
        )
    return found


def _renamed(tensors: dict, layout: str, backbone: Mapping) -> dict[str, Tensor]:
    if layout == 'mmpretrain':
        return tensors
    if layout not in FORMATS:
        raise InputError(
            f'--format {layout} is not known. Take one of {", ".join(FORMATS)}.'
        )
    kind = str(backbone.get('type')).rpartition('.')[2]
    if kind not in FORMATS[layout]:
        raise InputError(
            f'--format {layout} does not know {kind}, only '
            f'{", ".join(FORMATS[layout])}. Export it with --format mmpretrain, '
            f'which any host loads that builds the backbone as {backbone.get("type")}.'
        )
    return FORMATS[layout][kind](tensors)
