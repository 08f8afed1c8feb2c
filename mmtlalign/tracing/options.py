"""Checks of the tracer's options."""

import math
from collections.abc import Iterable, Sequence

from mmtlalign.errors import InputError


def checked_head_token_rule(head_token_rule: str) -> str:
    """Return ``head_token_rule`` if it is valid.

    Raises:
        InputError: The rule does not exist.
    """
    if head_token_rule not in ('nested', 'flat'):
        raise InputError(
            f"head_token_rule={head_token_rule!r}: choose 'nested' or 'flat'."
        )
    return head_token_rule


def residual_weight(residual: bool | float) -> float:
    """Return ``residual`` of the tracer as a number.

    Raises:
        InputError: It is not True, False or a finite number of at least 0.
    """
    if not isinstance(residual, (bool, int, float)) or not 0 <= residual < math.inf:
        raise InputError(
            f'residual={residual!r}: give True (mean of the labels before and after an '
            'attention), False (no residual), or the weight of the labels before it, a '
            'number of 0 or more.'
        )
    return float(residual)


def layer_indices(layers: Sequence[int] | None, attentions: int) -> frozenset | None:
    """Return the indices 0...attentions - 1 that ``layers`` names, or None for all.

    Raises:
        InputError: An index does not exist, or none is named.
    """
    if layers is None:
        return None
    known = range(-attentions, attentions)
    named = list(layers) if isinstance(layers, Iterable) else []
    if not named or any(i not in known for i in named):
        raise InputError(
            f'layers={layers!r}: this backbone has attentions 0 to '
            f'{attentions - 1} (negative numbers count from the end); give a list '
            'that names at least one, or None for all.'
        )
    return frozenset(i % attentions for i in named)
