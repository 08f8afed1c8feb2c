"""Image features for the evaluation of a backbone.

EsViT (arXiv 2106.09785), §4.1 and appendix, computed as in the official evaluation.

Shapes: ``N`` images, ``T`` tokens, ``D`` channels, ``h, w`` rows and columns.
"""

from collections.abc import Callable
from functools import partial

import torch
from mmpretrain.models.backbones import SwinTransformer
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.methods.esvit.crops import run_backbone, views_and_regions

# Default number of blocks whose features a linear probe reads.
BLOCKS = 4


def view_features(backbone: nn.Module, images: Tensor) -> Tensor:
    """Return the class token of each image, or the mean of its map.

    Args:
        backbone: Backbone, already in the wanted mode (training or evaluation).
        images: Normalised (N, 3, h, w).

    Returns:
        Features (N, D).

    Raises:
        InputError: The last output of the backbone is neither map, tokens nor vector.
    """
    output = run_backbone(backbone, images)
    if isinstance(output, tuple):  # (class token, distillation token)
        output = output[0]
    if not torch.is_tensor(output) or output.ndim not in (2, 3, 4):
        found = getattr(output, 'shape', type(output).__name__)
        raise InputError(
            f'{type(backbone).__name__} outputs {found}, but features are a map '
            '(N, D, h, w), tokens (N, T, D) or one vector per image (N, D).'
        )
    return views_and_regions(backbone, output)[0]


def block_features(backbone: nn.Module, images: Tensor, blocks: int = BLOCKS) -> Tensor:
    """Return the concatenated features of the last blocks, for a linear probe.

    For a Swin Transformer they are the mean of a block's tokens before patch merging;
    those of the last stage go through its norm. For a ViT they are a block's class
    token, or without one the mean of its tokens, after the final norm layer.

    Args:
        backbone: mmpretrain's Swin Transformer, or a ViT with ``layers`` and ``ln1``:
            mmpretrain's, LV-ViT, DHVT.
        images: Normalised (N, 3, h, w).
        blocks: Number of blocks.

    Returns:
        Features (N, sum of the blocks' widths), the last block's at the end.

    Raises:
        InputError: The backbone has too few blocks, or is of another kind.
    """
    readers = _block_readers(backbone)
    if not 0 < blocks <= len(readers):
        raise InputError(
            f'blocks={blocks}, but {type(backbone).__name__} has {len(readers)}: set a '
            'number from 1 to that.'
        )
    features, handles = [], []
    for block, read in readers[-blocks:]:

        def keep(
            module: nn.Module, inputs: tuple, output: Tensor, read: Callable = read
        ) -> None:
            features.append(read(output))

        handles.append(block.register_forward_hook(keep))
    try:
        run_backbone(backbone, images)
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat(features, dim=-1)


def _mean(norm: nn.Module, tokens: Tensor) -> Tensor:
    return norm(tokens).mean(dim=1)


def _block_readers(
    backbone: nn.Module,
) -> list[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """Return blocks, each with a function from tokens (N, T, D) to features (N, D)."""
    # A subclass may have further layers after its blocks, such as CASwin.
    if type(backbone) is SwinTransformer:
        last = len(backbone.stages) - 1
        norms = [nn.Identity()] * last + [getattr(backbone, f'norm{last}')]
        return [
            (block, partial(_mean, norm))
            for stage, norm in zip(backbone.stages, norms)
            for block in stage.blocks
        ]
    if hasattr(backbone, 'layers') and hasattr(backbone, 'ln1'):
        has_class = getattr(backbone, 'num_extra_tokens', 0) > 0
        norm = backbone.ln1
        return [
            (block, lambda x: norm(x)[:, 0] if has_class else norm(x).mean(dim=1))
            for block in backbone.layers
        ]
    raise InputError(
        f'{type(backbone).__name__}: its blocks are not known, unlike those of '
        "mmpretrain's SwinTransformer, VisionTransformer and similar networks. Use "
        "features='view', which works with any backbone."
    )


FEATURES = dict(view=view_features, blocks=block_features)
