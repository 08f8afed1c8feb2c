"""Features of whole images by which a backbone is judged.

EsViT (arXiv 2106.09785), §4.1 and appendix, as the official evaluation takes them.
"""

from collections.abc import Callable

import torch
from mmpretrain.models.backbones import SwinTransformer
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.methods.esvit.crops import run_backbone, views_and_regions

# Blocks whose features a linear probe reads.
BLOCKS = 4


def view_features(backbone: nn.Module, images: Tensor) -> Tensor:
    """What the backbone says of an image: its class token, or the mean of its map.

    Args:
        backbone: In the mode that it is to run in.
        images: Normalised (N, 3, h, w).

    Returns:
        Tensor: (N, P).

    Raises:
        ValueError: The last output of the backbone is neither map, tokens nor vector.
    """
    output = run_backbone(backbone, images)
    if isinstance(output, tuple):  # of class token and distillation token
        output = output[0]
    if not torch.is_tensor(output) or output.ndim not in (2, 3, 4):
        found = getattr(output, 'shape', type(output).__name__)
        raise InputError(
            f'{type(backbone).__name__} outputs {found}, but features are a map '
            '(N, P, h, w), tokens (N, T, P) or one vector an image (N, P).'
        )
    return views_and_regions(backbone, output)[0]


def block_features(backbone: nn.Module, images: Tensor, blocks: int = BLOCKS) -> Tensor:
    """Features of the last blocks side by side, for a linear probe.

    Of a Swin Transformer the mean of a block's tokens, before they are merged; blocks
    of the last stage pass its norm. Of a ViT the class token of a block, or without
    one the mean of its tokens, through the last norm.

    Args:
        backbone: mmpretrain's Swin Transformer, or a ViT with ``layers`` and ``ln1``:
            mmpretrain's, LV-ViT, DHVT.
        images: Normalised (N, 3, h, w).
        blocks: How many.

    Returns:
        Tensor: (N, sum of the blocks' widths), the last block's at the end.

    Raises:
        ValueError: It has too few blocks, or nobody knows where they are.
    """
    read = _readers(backbone)
    if not 0 < blocks <= len(read):
        raise InputError(
            f'blocks={blocks}, but {type(backbone).__name__} has {len(read)}: set a '
            'number from 1 to that.'
        )
    found, handles = [], []
    for block, reader in read[-blocks:]:

        def keep(module, inputs, output, reader=reader):
            found.append(reader(output))

        handles.append(block.register_forward_hook(keep))
    try:
        run_backbone(backbone, images)
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat(found, dim=-1)


def _readers(backbone: nn.Module) -> list[tuple[nn.Module, Callable]]:
    """Every block, and what makes a feature (N, P) of its tokens."""
    # A subclass may have more behind its blocks, as CASwin has.
    if type(backbone) is SwinTransformer:
        last = len(backbone.stages) - 1
        norm = getattr(backbone, f'norm{last}')
        return [
            (block, lambda x, own=number == last: (norm(x) if own else x).mean(dim=1))
            for number, stage in enumerate(backbone.stages)
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
        f'{type(backbone).__name__}: nobody knows where its blocks are; they are known '
        "of mmpretrain's SwinTransformer, and of VisionTransformer and the like. Take "
        "features='view', which any backbone has."
    )


FEATURES = dict(view=view_features, blocks=block_features)
