"""Annotators that make label maps: any classifier of timm or of mmpretrain."""

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
        checkpoint: File with its weights. Of a timm model it also says how many
            classes there are. Defaults to None: those the library publishes.
        mean: Of RGB, in 0 to 1. Defaults to None: what the library says.
        std: Of RGB, in 0 to 1. Defaults to None: what the library says.
        size: Rows and columns of the images in pixels. Defaults to None: what the
            network was made for.

    Raises:
        InputError: Another library, weights that are missing or do not fit, or a
            network whose cells are not known.
    """
    library, _, model = name.partition(':')
    if library == 'timm' and model:
        from mmtlalign.methods.token_labeling.annotators.timm_annotator import build
    elif library == 'mmpretrain' and model:
        from mmtlalign.methods.token_labeling.annotators.mmpretrain_annotator import (
            build,
        )
    else:
        raise InputError(f'annotator {name!r}: say timm:NAME or mmpretrain:NAME')
    annotator = build(name, model, checkpoint, size)
    annotator.model.eval()
    annotator.mean, annotator.std = mean or annotator.mean, std or annotator.std
    return annotator


__all__ = ['Annotator', 'build_annotator']
