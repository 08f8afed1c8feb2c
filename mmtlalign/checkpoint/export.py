"""What a user of a backbone must know, read from the config it was trained with.

Write the backbone of a checkpoint as a file of its own, with what it is.
"""

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
from mmtlalign.checkpoint.config_text import read_config_text
from mmtlalign.checkpoint.convert import convert
from mmtlalign.checkpoint.io import read_checkpoint, some_of
from mmtlalign.checkpoint.key_maps.pvt_mmdet import to_mmdet
from mmtlalign.checkpoint.select import choose_weights
from mmtlalign.checkpoint.tensor_files import check_target, write_tensors
from mmtlalign.compat.wrappers import walk_datasets
from mmtlalign.errors import InputError


def backbone_facts(config: Mapping, source: str) -> dict:
    """Method, backbone, sizes, normalisation and number of classes.

    Args:
        config: Of a classifier.
        source: Where it is from, for the message.

    Returns:
        Plain values. What the config does not say is None.

    Raises:
        InputError: There is no ``model`` with a ``backbone``.
    """
    model = config.get('model') or {}
    if not isinstance(model.get('backbone'), Mapping):
        raise InputError(
            f'{source}: its config has no model with a backbone, so there is nothing '
            'to export. Take a checkpoint of pretraining, or --config FILE.'
        )
    head = model.get('head') or {}
    pixels = model.get('data_preprocessor') or config.get('data_preprocessor') or {}
    augments = (model.get('train_cfg') or {}).get('augments') or []
    train, test = (_pipeline(config, kind) for kind in ('train', 'test'))
    return dict(
        method=dict(
            model=model.get('type'),
            head=head.get('type'),
            augments=[
                augment.get('type')
                for augment in (
                    [augments] if isinstance(augments, Mapping) else augments
                )
            ],
        ),
        backbone=dict(model['backbone']),
        num_classes=pixels.get('num_classes', head.get('num_classes')),
        image_size=dict(train=_size(train), test=_size(test)),
        normalisation=dict(
            mean=pixels.get('mean'),
            std=pixels.get('std'),
            channel_order=_order(train or test, pixels),
        ),
    )


def _pipeline(config: Mapping, kind: str) -> list:
    """The transforms of a data loader, through data sets that wrap another."""
    data = (config.get(f'{kind}_dataloader') or {}).get('dataset') or {}
    found = (inner['pipeline'] for inner in walk_datasets(data) if 'pipeline' in inner)
    return next(found, None) or []


def _size(pipeline: list) -> list | None:
    """What the last transform that sets a size sets."""
    for transform in reversed(pipeline):
        # One of several is drawn; they differ in other things than the size.
        choices = transform.get('transforms') or []
        if choices:
            first = choices[0]
            size = _size(first if isinstance(first, list | tuple) else choices)
            if size:
                return size
        size = transform.get('crop_size', transform.get('scale'))
        if isinstance(size, int):
            return [size, size]
        if isinstance(size, list | tuple) and len(size) == 2:
            return list(size)
    return None


def _order(pipeline: list, pixels: Mapping) -> str | None:
    """Of what the network sees: files are read as BGR, arrays of data sets are RGB."""
    if not pipeline:
        return None
    read = any('LoadImageFromFile' in str(t.get('type')) for t in pipeline)
    turned = bool(pixels.get('to_rgb', pixels.get('bgr_to_rgb')))
    return 'RGB' if turned == read else 'BGR'


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
