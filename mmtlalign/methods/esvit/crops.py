"""Batching of views by size, and splitting of features into views and regions.

Shapes: ``B`` images, ``n`` views of one size, ``T`` tokens of a view, ``D`` channels.
"""

from itertools import groupby

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.tracing.support import backbone_spec

REMEDY = (
    "Make views with mmpretrain's MultiView, e.g. num_views=[1, 1, 8] with pipelines "
    'of the two global views first and then the local one, and '
    "collate_fn=dict(type='default_collate')."
)


def group_views(inputs: list[Tensor], global_views: int) -> list[tuple[int, Tensor]]:
    """Join consecutive views of one size along the batch axis.

    Args:
        inputs: Views (B, 3, h, w), global ones first.
        global_views: Number G of views that the teacher sees.

    Returns:
        For each size in turn the number of views n and their images (n·B, 3, h, w).

    Raises:
        InputError: ``inputs`` is not a list of views, there are too few, or the
            teacher's views differ in size.
    """
    if isinstance(inputs, Tensor):
        raise InputError(
            f'The batch is one tensor {tuple(inputs.shape)}, but EsViT compares '
            f'several views of each image. {REMEDY}'
        )
    sizes = [f'{view.shape[-2]}x{view.shape[-1]}' for view in inputs]
    if len(inputs) < max(2, global_views) or len(set(sizes[:global_views])) > 1:
        raise InputError(
            f'The views of an image are {", ".join(sizes)} px, but the first '
            f'global_views={global_views} are for the teacher, so they must exist and '
            f'have one size. {REMEDY}'
        )
    runs = [list(run) for _, run in groupby(inputs, lambda view: view.shape[-2:])]
    return [(len(run), torch.cat(run)) for run in runs]


def run_backbone(backbone: nn.Module, images: Tensor) -> Tensor | tuple:
    """Return the last stage's output for images (N, 3, h, w).

    Raises:
        InputError: The backbone does not take images of this size.
    """
    try:
        return backbone(images)[-1]
    except AssertionError as error:
        height, width = images.shape[-2:]
        raise InputError(
            f'{type(backbone).__name__} does not accept views of {height}x{width} px: '
            f'{error} Change the size of the views, or the backbone (for Swin see '
            'configs/_base_/models/esvit_swin_tiny.py).'
        ) from error


def views_and_regions(backbone: nn.Module, output: Tensor) -> tuple[Tensor, Tensor]:
    """Split a backbone's output into one feature per view and one per region.

    A map, or a sequence without special tokens, gives the mean of its tokens and the
    tokens, row by row; a sequence with a class token gives the class token and the
    image tokens. EsViT (arXiv 2106.09785), §3.1.

    Args:
        backbone: Backbone of the output, which defines the number of special tokens.
        output: A map (N, D, h, w), tokens (N, 1 + T, D), or one vector per view (N, D).

    Returns:
        Views (N, D) and regions (N, T, D); T is 0 for one vector per view.

    Raises:
        InputError: The map has its channels last.
    """
    inner = getattr(backbone, 'timm_model', None)
    out_type = getattr(backbone, 'out_type', 'raw' if inner is not None else None)
    channels_last = inner is None or getattr(inner, 'output_fmt', None) == 'NHWC'
    if output.ndim == 4 and out_type == 'raw' and channels_last:
        raise InputError(
            f'{type(backbone).__name__} gives maps with channels last: use '
            "mmtlalign.TIMMBackbone with out_type='featmap'."
        )
    if output.ndim == 4:
        regions = output.flatten(2).mT
        return regions.mean(dim=1), regions
    if output.ndim == 3:
        special = count_special_tokens(backbone)
        regions = output[:, special:]
        return output[:, 0] if special else regions.mean(dim=1), regions
    return output, output[:, None][:, :0]


def count_special_tokens(backbone: nn.Module) -> int:
    """Return the number of tokens before the image tokens; 1 if it is not known."""
    try:
        spec = backbone_spec(backbone)
    except UnsupportedError:
        return getattr(backbone, 'num_extra_tokens', 1)
    return spec.prefix(backbone) + spec.late_tokens(backbone)
