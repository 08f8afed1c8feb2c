"""What a label microscope shows, as plain numbers.

Shapes: ``K`` classes, ``H, W`` pixels, ``P`` special tokens, ``h, w`` token grid,
``N = h * w`` image tokens, ``L`` attentions.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Where the tokens of a network are, layer by layer; the input is layer 0.

    Attributes:
        size: Height and width of the images in pixels.
        patch: Height and width of a token of the input in pixels.
        names: Of the layers, L + 1.
        grids: Token rows and columns of each layer.
        special: Number of special tokens of each layer.
        special_names: What they are called.
        output: ``'class token'`` or ``'mean of the tokens'``, where the label is read.
    """

    size: tuple[int, int]
    patch: tuple[int, int]
    names: tuple[str, ...]
    grids: tuple[tuple[int, int], ...]
    special: tuple[int, ...]
    special_names: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Rule:
    """What one rule makes of a pair's label.

    Attributes:
        name: Of the rule.
        share: Weight of the partner image, 0 to 1.
        own: Part of the target that is on the own image's class.
        partner: Part that is on the partner's class.
        loss: Cross-entropy of the model's prediction with the target, in nats.
        trained: Whether the model's own head learns this target.
    """

    name: str
    share: float
    own: float
    partner: float
    loss: float
    trained: bool = False


@dataclass(frozen=True)
class Pair:
    """One mixed image.

    Attributes:
        own: (H, W, 3) uint8, RGB.
        partner: (H, W, 3) uint8, RGB.
        mixed: The same, where it is not own and partner by the mask; else None.
        mask: Share of the partner in each pixel (H, W), float32.
        area: Share of the partner by area.
        own_class: Class of the own image.
        partner_class: Class of the partner.
        shares: Share of the partner in the tokens of each layer, each (P + N,)
            ``round(255 * share)``, uint8, special tokens first.
        read: What is read of each layer, where the label is read in the end.
        transmix: TransMix's share with the attention of each layer; None where it has
            none, as the input.
        rules: What each rule makes of the label.
        best: Classes and probabilities that the model gives the mixed image, the
            likeliest first.
        files: Names of both images; '' if they have none.
    """

    own: np.ndarray
    partner: np.ndarray
    mixed: np.ndarray | None
    mask: np.ndarray
    area: float
    own_class: int
    partner_class: int
    shares: tuple[np.ndarray, ...]
    read: tuple[float, ...]
    transmix: tuple[float | None, ...]
    rules: tuple[Rule, ...]
    best: tuple[tuple[int, float], ...]
    files: tuple[str, str] = ('', '')
