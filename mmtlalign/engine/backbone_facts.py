"""What a user of a backbone must know, read from the config it was trained with."""

from collections.abc import Mapping

from mmtlalign.engine.errors import InputError

__all__ = ['backbone_facts']


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
    while 'pipeline' not in data and isinstance(data.get('dataset'), Mapping):
        data = data['dataset']
    return data.get('pipeline') or []


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
