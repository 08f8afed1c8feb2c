"""Write the backbone of a checkpoint to a file of its own, with metadata."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

import mmtlalign
from mmtlalign.checkpoint.config_text import read_config_text
from mmtlalign.checkpoint.convert import convert
from mmtlalign.checkpoint.io import (
    check_target,
    hash_tensors,
    read_checkpoint,
    write_tensors,
)
from mmtlalign.checkpoint.key_maps.pvt import to_mmdet
from mmtlalign.checkpoint.load import select_weights
from mmtlalign.checkpoint.loading_code import loading_code, notes_for
from mmtlalign.checkpoint.normalisation import (
    channel_order,
    pipeline_of,
    preprocessor_of,
)
from mmtlalign.errors import InputError, some_of

PREFIX = 'backbone.'
INNER = re.compile(r'backbone\.norm(\d)\.')
Tensors = dict[str, Tensor]


def _pvt_of_mmdet(tensors: Tensors) -> Tensors:
    return to_mmdet({name.removeprefix(PREFIX): v for name, v in tensors.items()})


def _model_of_timm(tensors: Tensors) -> Tensors:
    inside = PREFIX + 'timm_model.'
    return {name.removeprefix(inside): value for name, value in tensors.items()}


def _official(family: str) -> Callable[[Tensors], Tensors]:
    return partial(convert, family=family, reverse=True)


def _swin_of_timm(tensors: Tensors) -> Tensors:
    # Dense tasks give the inner maps norms that timm's Swin does not have.
    norms = {name: int(found[1]) for name in tensors if (found := INNER.match(name))}
    last = max(norms.values(), default=0)
    kept = {name: v for name, v in tensors.items() if norms.get(name, last) == last}
    return convert(kept, 'timm_swin', reverse=True)


# Functions that convert our names (and values), by format and type of the backbone;
# `dict` keeps them. mmpretrain's names fit every host that builds `mmpretrain.X`.
FORMATS: dict[str, dict[str, Callable[[Tensors], Tensors]]] = dict(
    mmpretrain={},
    timm=dict(
        DistilledVisionTransformer=_official('timm_vit'),
        SwinTransformer=_swin_of_timm,
        TIMMBackbone=_model_of_timm,
        VisionTransformer=_official('timm_vit'),
        XCiT=_official('timm_xcit'),
    ),
    mmdet=dict(PVT=_pvt_of_mmdet, SwinTransformer=dict),
    mmseg=dict(SwinTransformer=dict, VisionTransformer=_official('mmseg_vit')),
)


def export_backbone(
    checkpoint: str,
    out: str,
    weights: str = 'auto',
    prefix: str = PREFIX,
    layout: str = 'mmpretrain',
    config: str | None = None,
) -> dict[str, Any]:
    """Write the backbone of a checkpoint, and nothing else of it, to a file.

    Args:
        checkpoint: File of a training run, or one that this function wrote.
        out: File to write, ``.pth`` or ``.safetensors``; must not exist.
        weights: Which network of the file, as in :func:`select_weights`; ``'auto'``
            is the one that training evaluates.
        prefix: What the names of the backbone's tensors begin with in the
            checkpoint. Defaults to ``'backbone.'``.
        layout: A key of :data:`FORMATS`.
        config: Config file of the run; its code is run, as in training. Defaults to
            None: the config in the checkpoint, which is read as data.

    Returns:
        The metadata that was written.

    Raises:
        InputError: The checkpoint cannot be read, or lacks the weights, the prefix or
            a config, the format cannot express the backbone, or ``out`` exists.
    """
    advice = 'Name a checkpoint: export_backbone.py CHECKPOINT OUT'
    # If the checkpoint does not exist, that error comes first.
    if Path(checkpoint).expanduser().is_file():
        check_target(out)
    content = read_checkpoint(checkpoint, 'CHECKPOINT', advice)
    saved = content.get('meta') or {}
    text, values = _config(saved, config, checkpoint)
    description = describe_backbone(values, config or checkpoint)
    prefix = prefix if prefix.endswith('.') else prefix + '.'
    network, kind = select_weights(content, weights, checkpoint, prefix)
    tensors = _backbone_tensors(network, prefix, checkpoint)
    write = _writer(layout, description['backbone'])
    code = loading_code(description['backbone'], layout)
    tensors = write(tensors)
    versions = saved.get('versions') or dict(trained_with=saved.get('mmengine_version'))
    meta = dict(
        description,
        weights=kind,
        layout=layout,
        epoch=None if _by_iterations(values) else saved.get('epoch'),
        iteration=saved.get('iter', saved.get('iteration')),
        seed=saved.get('seed'),
        exported_from=Path(checkpoint).name,
        sha256=hash_tensors(tensors),
        versions=dict(
            versions, mmtlalign=mmtlalign.__version__, torch=torch.__version__
        ),
        load_with=code,
        notes=notes_for(description['backbone'], layout),
        cfg=text,
    )
    # Plain JSON values, so that both kinds of files hold the same.
    meta = json.loads(json.dumps(meta, default=str))
    write_tensors(out, tensors, meta)
    return meta


def _config(saved: Mapping, config: str | None, checkpoint: str) -> tuple[str, Mapping]:
    """Return text and values of the config, from its file or else the checkpoint."""
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


def _backbone_tensors(network: Mapping[str, Tensor], prefix: str, path: str) -> Tensors:
    """Return the tensors under ``prefix``, renamed to begin with ``backbone.``."""
    found = {
        PREFIX + name[len(prefix) :]: value
        for name, value in network.items()
        if name.startswith(prefix)
    }
    if not found:
        begins = Counter(name.split('.')[0] + '.' for name in network)
        listed = some_of([f'{b!r} ({n} tensors)' for b, n in begins.most_common()])
        raise InputError(
            f'{path}: no tensor begins with {prefix!r}; they begin with {listed}. '
            'Name the beginning of the backbone: --prefix NAME.'
        )
    return found


def _writer(layout: str, backbone: Mapping) -> Callable[[Tensors], Tensors]:
    """Return the function that converts our names to those of a format."""
    if layout == 'mmpretrain':
        return dict
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

    def write(tensors: Tensors) -> Tensors:
        try:
            return FORMATS[layout][kind](tensors)
        except InputError as error:
            reason = str(error).partition(' Choose the family')[0].rstrip('.')
            raise InputError(
                f'--format {layout} has no place for some tensors of this {kind}: '
                f'{reason}. Export it with --format mmpretrain.'
            ) from error

    return write


def describe_backbone(config: Mapping, source: str) -> dict[str, Any]:
    """Return what a user of a backbone must know, from the config of its training.

    Args:
        config: Config of a classifier, segmentor or detector.
        source: Where it is from, for the message.

    Returns:
        Plain values: method, backbone, number of classes, sizes of images and
        normalisation; None for what the config does not give.

    Raises:
        InputError: There is no ``model`` with a ``backbone``.
    """
    model = config.get('model') or {}
    if not isinstance(model.get('backbone'), Mapping):
        raise InputError(
            f'{source}: its config has no model with a backbone, so there is nothing '
            'to export. Take a checkpoint of pretraining, or --config FILE.'
        )
    head = _head(model)
    augments = (model.get('train_cfg') or {}).get('augments') or []
    augments = [augments] if isinstance(augments, Mapping) else augments
    pixels = preprocessor_of(config)
    train, test = (pipeline_of(config, kind) for kind in ('train', 'test'))
    return dict(
        method=dict(
            model=model.get('type'),
            head=head.get('type'),
            augments=[augment.get('type') for augment in augments],
        ),
        backbone=dict(model['backbone']),
        num_classes=pixels.get('num_classes', head.get('num_classes')),
        image_size=dict(train=image_size(train), test=image_size(test)),
        normalisation=dict(
            mean=pixels.get('mean'),
            std=pixels.get('std'),
            channel_order=channel_order(config),
        ),
    )


def _head(model: Mapping) -> Mapping:
    """Return the head that predicts classes, of a model of any task; {} without one."""
    for key in ('head', 'decode_head', 'roi_head', 'bbox_head'):
        if head := model.get(key):
            last = head[-1] if isinstance(head, list | tuple) else head
            return _head(last) or last
    return {}


def _by_iterations(config: Mapping) -> bool:
    loop = config.get('train_cfg') or {}
    return loop.get('by_epoch') is False or 'IterBased' in str(loop.get('type'))


def image_size(pipeline: Sequence) -> list[int] | None:
    """Return the size, (height, width), of the last transform that sets one."""
    for transform in reversed(pipeline):
        # One of several is drawn at random; they do not differ in size.
        choices = transform.get('transforms') or []
        if choices:
            first = choices[0]
            size = image_size(first if isinstance(first, list | tuple) else choices)
            if size:
                return size
        size = transform.get('crop_size', transform.get('scale'))
        if isinstance(size, int):
            return [size, size]
        if isinstance(size, list | tuple) and len(size) == 2:
            # mmcv's resizing steps have (width, height), crops (height, width).
            turned = 'Crop' not in str(transform.get('type'))
            return list(size)[::-1] if turned else list(size)
    return None
