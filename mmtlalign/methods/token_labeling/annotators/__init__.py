"""Annotators, which create label maps: any classifier of timm or of mmpretrain."""

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.annotators.base import Annotator


def build_annotator(
    name: str,
    checkpoint: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    size: tuple[int, int] | None = None,
) -> Annotator:
    """Build a classifier of timm or of mmpretrain.

    Args:
        name: ``timm:NAME``, a name of ``timm.list_models()``, or ``mmpretrain:NAME``,
            a name of ``mmpretrain.list_models()`` or a config file.
        checkpoint: File with its weights. For a timm model it also defines the number
            of classes. Defaults to None: the published weights of the library.
        mean: Mean of RGB, in 0 to 1. Defaults to None: that of the library.
        std: Standard deviation of RGB, in 0 to 1. Defaults to None: that of the
            library.
        size: Rows and columns of the images in pixels. Defaults to None: the network's
            own size.

    Raises:
        InputError: The library is unknown, weights are missing or do not fit, or the
            network is not supported.
    """
    library, _, model = name.partition(':')
    if library == 'timm' and model:
        from mmtlalign.methods.token_labeling.annotators.timm_annotator import build
    elif library == 'mmpretrain' and model:
        from mmtlalign.methods.token_labeling.annotators.mmpretrain_annotator import (
            build,
        )
    else:
        raise InputError(f'annotator {name!r}: write timm:NAME or mmpretrain:NAME')
    annotator = build(name, model, checkpoint, size)
    annotator.model.eval()
    annotator.mean, annotator.std = mean or annotator.mean, std or annotator.std
    return annotator


__all__ = ['Annotator', 'build_annotator']
