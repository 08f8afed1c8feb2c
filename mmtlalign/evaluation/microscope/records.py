"""Data classes for the content of a label microscope.

Shapes: ``K`` classes, ``H, W`` pixels, ``P`` special tokens, ``h, w`` token grid,
``N = h * w`` image tokens, ``L`` attentions.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Positions of the tokens of a network in each layer; the input is layer 0.

    Attributes:
        size: Height and width of the images in pixels.
        patch: Height and width of a token of the input in pixels.
        names: Names of the L + 1 layers.
        grids: Token rows and columns of each layer.
        special: Number of special tokens of each layer.
        special_names: Names of the special tokens.
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
    """The label of a pair by one rule.

    Attributes:
        name: Name of the rule.
        share: Weight of the partner image, 0 to 1.
        own: Target value of the own image's class.
        partner: Target value of the partner's class.
        loss: Cross-entropy of the model's prediction with the target, in nats.
        trained: Whether the model's own head trains on this target.
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
        mixed: (H, W, 3) uint8; None if own, partner and mask determine it.
        mask: Share of the partner in each pixel (H, W), float32.
        area: Share of the partner by area.
        own_class: Class of the own image.
        partner_class: Class of the partner.
        shares: Share of the partner in the tokens of each layer, each (P + N,)
            ``round(255 * share)``, uint8, special tokens first.
        read: Share at the output tokens after each layer.
        transmix: TransMix's share with the attention of each layer; None for layers
            without attention, such as the input.
        rules: The label by each rule.
        best: Most probable classes of the mixed image and their probabilities, the best
            first.
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
