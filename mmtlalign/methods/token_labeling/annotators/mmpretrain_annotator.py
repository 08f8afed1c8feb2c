"""Annotators from classifiers of mmpretrain and of this package."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from mmpretrain import get_model
from mmpretrain.apis.model import ModelHub
from torch import Tensor, nn

from mmtlalign.checkpoint.io import read_checkpoint, tensors_in
from mmtlalign.checkpoint.load import WINDOW_BUFFERS
from mmtlalign.compat.network import check_reachable
from mmtlalign.errors import InputError, some_of
from mmtlalign.methods.token_labeling.annotators.base import Annotator


def build(
    name: str, model: str, checkpoint: str | None, size: tuple[int, int] | None
) -> Annotator:
    """Build an annotator of mmpretrain.

    Arguments and errors as in ``build_annotator``; ``model`` is the name without its
    library. For a head trained with Token Labeling, its classifier of tokens
    (``aux_head``) is used, as in the official generator. Networks of mmpretrain take
    images of any size.
    """
    net, classes = _network(name, model, checkpoint)
    if not getattr(net, 'with_head', False) or not hasattr(net.head, 'num_classes'):
        raise InputError(f'{name} has no classifier: use a network trained on classes')
    backbone = net.backbone
    pools_itself = hasattr(backbone, 'out_type')
    # The norm that some networks apply to the mean of the tokens; a cell needs it too.
    pooled_norm: nn.Module = nn.Identity()
    if pools_itself:
        if backbone.out_type == 'avg_featmap':
            pooled_norm = getattr(backbone, 'ln2', pooled_norm)
        backbone.out_type = 'featmap'
    of_tokens = getattr(getattr(net.head, 'layers', None), 'aux_head', None)
    special = getattr(net.head, 'num_extra_tokens', None)

    def cells(images: Tensor) -> Tensor:
        feats = backbone(images)[-1]
        if not isinstance(feats, Tensor) or feats.ndim != 4:
            raise InputError(
                f'{name}: {type(backbone).__name__} gives no feature map (B, C, h, w), '
                'so there are no cells to classify. Use another annotator.'
            )
        return pooled_norm(feats.permute(0, 2, 3, 1))

    def head(features: Tensor) -> Tensor:
        if of_tokens is not None:
            return of_tokens(features)
        if special is not None:
            # The head takes a sequence of all tokens: repeat the cell for each.
            features = features[:, None].expand(-1, special + 1, -1)
        elif not pools_itself:
            features = features[:, :, None, None]
        feats = (features,)
        return net.head(net.neck(feats) if net.with_neck else feats)

    prepare = net.data_preprocessor
    bgr = not prepare.to_rgb
    # A network without statistics takes pixels from 0 to 255.
    mean, std = (0.0,) * 3, (1 / 255,) * 3
    if hasattr(prepare, 'mean'):
        stats = (x.flatten().cpu() / 255 for x in (prepare.mean, prepare.std))
        # The statistics are in the network's channel order; ours are in RGB.
        mean, std = (tuple(x.tolist()[:: -1 if bgr else 1]) for x in stats)
    return Annotator(name, net, cells, head, mean, std, bgr, classes)


def _network(
    name: str, model: str, checkpoint: str | None
) -> tuple[nn.Module, Sequence[str] | None]:
    """Return the network, and the classes that its checkpoint names."""
    if not checkpoint:
        _check_download(name, model)
        with warnings.catch_warnings():
            warnings.filterwarnings('error', message='Unable to find pre-defined')
            try:
                return get_model(model, pretrained=True), None
            except UserWarning as error:
                raise InputError(
                    f'{name} has no published weights: give a file with --checkpoint.'
                ) from error
            except OSError as error:
                raise InputError(
                    f'{name}: its weights could not be downloaded ({error}). Give a '
                    'file with --checkpoint.'
                ) from error
    net = get_model(model, pretrained=False)
    advice = 'Name the weights of the annotator.'
    content = read_checkpoint(checkpoint, '--checkpoint', advice)
    tensors = tensors_in(content, checkpoint)
    try:
        lacking, added = net.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        fault = ' '.join(str(error).split())[:300]
        raise InputError(
            f'{checkpoint} does not fit {name} ({fault}). Name the config that it was '
            'trained with.'
        ) from error
    added = [key for key in added if not key.endswith(WINDOW_BUFFERS)]
    if lacking or added:
        fault = f'holds {some_of(added)} beside the tensors'
        if lacking:
            fault = f'lacks {some_of(lacking)}'
        raise InputError(
            f'{checkpoint} {fault} of {name}. Name the config that it was trained with.'
        )
    meta = (content.get('meta') or {}).get('dataset_meta') or {}
    return net, meta.get('classes')


def _check_download(name: str, model: str) -> None:
    """Check that published weights can be downloaded, if they are not cached."""
    try:
        address = getattr(ModelHub.get(model), 'weights', None)
    except ValueError:
        return  # a config file
    if not address or '://' not in address:
        return
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    if not (folder / address.rpartition('/')[2]).is_file():
        remedy = (
            'Give a file of the weights with --checkpoint, or connect to the network.'
        )
        check_reachable(address, f'The weights of {name}', remedy)
