"""Annotators from classifiers of timm."""

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from timm.models import clean_state_dict
from torch import Tensor, nn

from mmtlalign.checkpoint.io import read_tensors
from mmtlalign.compat.network import check_timm_download
from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.annotators.base import Annotator

# Keys under which timm and derived code save weights, averaged ones first.
STATE_KEYS = ('state_dict_ema', 'model_ema', 'state_dict', 'model')


def build(
    name: str, model: str, checkpoint: str | None, size: tuple[int, int] | None
) -> Annotator:
    """Build an annotator of timm; arguments and errors as in ``build_annotator``.

    If a network has a classifier of tokens (``aux_head``, as in VOLO), it is used for
    them, else the head of the class token. For a distilled network both heads are
    applied to each token, and their logits are averaged, as for an image.
    """
    if not timm.is_model(model):
        raise InputError(
            f'timm has no model {model!r}: timm.list_models() lists all names'
        )
    net = _network(name, model, checkpoint, size)
    if not net.num_classes:
        raise InputError(f'{name} has no classifier: use a network trained on classes')
    channels_last = getattr(net, 'output_fmt', 'NCHW') == 'NHWC'
    has_class_token = getattr(net, 'cls_token', None) is not None
    prefix = getattr(net, 'num_prefix_tokens', int(has_class_token))
    is_map: list[bool] = []

    def cells(images: Tensor) -> Tensor:
        feats = net.forward_features(images)
        is_map[:] = [feats.ndim == 4]
        if feats.ndim == 4:
            return feats if channels_last else feats.permute(0, 2, 3, 1)
        if feats.ndim != 3:
            raise InputError(
                f'{name} gives features of shape {tuple(feats.shape)}, neither a map '
                '(4 axes) nor tokens (3 axes): use another annotator'
            )
        tokens = feats[:, prefix:]
        return tokens.unflatten(1, _grid(name, net, tokens.shape[1], images.shape[2:]))

    def head(features: Tensor) -> Tensor:
        if getattr(net, 'aux_head', None) is not None:
            return net.aux_head(features)
        if not is_map[0]:
            # Repeat the cell for every token that the head may read.
            return net.forward_head(features[:, None].expand(-1, prefix + 1, -1))
        if channels_last:
            return net.forward_head(features[:, None, None])
        return net.forward_head(features[:, :, None, None])

    stats = net.pretrained_cfg
    return Annotator(name, net, cells, head, tuple(stats['mean']), tuple(stats['std']))


def _network(
    name: str, model: str, checkpoint: str | None, size: tuple[int, int] | None
) -> nn.Module:
    options: dict[str, Any] = dict(pretrained=True)
    if checkpoint:
        advice = 'Name the weights of the annotator.'
        tensors = read_tensors(checkpoint, '--checkpoint', advice, STATE_KEYS)
        tensors = clean_state_dict(tensors)
        options['pretrained_cfg_overlay'] = dict(state_dict=tensors, source='')
        classes = _classes(model, tensors)
        if classes:
            options['num_classes'] = classes
            options['pretrained_cfg_overlay'] |= dict(
                num_classes=classes, label_offset=0
            )
    else:
        remedy = (
            'Give a file of the weights with --checkpoint, or connect to the network.'
        )
        check_timm_download(model, f'The weights of {name}', remedy)
    try:
        return _at_size(partial(timm.create_model, model, **options), size)
    except (RuntimeError, KeyError, OSError) as error:
        fault = ' '.join(str(error).split())[:300]
        raise InputError(
            f'{name}: {f"{checkpoint} does not fit" if checkpoint else "no weights"} '
            f'({fault}). Name the weights of this network by --checkpoint.'
        ) from error


def _at_size(
    create: Callable[..., nn.Module], size: tuple[int, int] | None
) -> nn.Module:
    """Create a network for images of this size, if it takes a size."""
    if size is None:
        return create()
    try:
        return create(img_size=size)
    except TypeError as error:
        if 'img_size' not in str(error):
            raise
        return create()


def _classes(model: str, tensors: dict[str, Tensor]) -> int | None:
    """Return the number of classes that the weights were trained for."""
    names = timm.get_pretrained_cfg_value(model, 'classifier') or ()
    for name in [names] if isinstance(names, str) else names:
        if f'{name}.weight' in tensors:
            return len(tensors[f'{name}.weight'])
    return None


def _grid(name: str, net: nn.Module, tokens: int, size: torch.Size) -> tuple[int, int]:
    """Return the token rows and columns of an image of this size in pixels."""
    step = getattr(getattr(net, 'patch_embed', None), 'patch_size', None)
    if not isinstance(step, tuple):
        # Square patches of the size that gives this number of tokens.
        step = ((size[0] * size[1] / tokens) ** 0.5,) * 2
    grid = tuple(round(s / p) for s, p in zip(size, step))
    if grid[0] * grid[1] != tokens:
        raise InputError(
            f'{name} gives {tokens} tokens, which do not form a grid of {grid}: use '
            'another input size or annotator.'
        )
    return grid
