"""A small backbone and the images that it is given."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


def blocks(backbone: nn.Module) -> list[nn.Module]:
    """Modules that a user would checkpoint."""
    if hasattr(backbone, 'layers'):
        return list(backbone.layers)
    return [block for stage in backbone.stages for block in stage.blocks]


@dataclass(frozen=True)
class Row:
    """A row of the contract.

    Attributes:
        config: Of the backbone: small, three attentions or more.
        size: Height and width of the images.
        patch: Side of a token in pixels.
        output: What the backbone outputs: ``'class'`` or ``'mean'``.
        blocks: Modules that are checkpointed.
        scope: Default scope of the config.
        cut: Whether pixels that fill no whole token are left out.
        same_graph: Whether another row compiles the same graph.
        learnt_weights: The rule of a network without attention.
    """

    config: dict
    size: tuple[int, int]
    patch: int
    output: str
    blocks: Callable = blocks
    scope: str = 'mmpretrain'
    cut: bool = False
    same_graph: bool = False
    learnt_weights: str | None = None
