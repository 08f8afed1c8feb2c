"""How the teacher's temperature and momentum move during training.

DINO (arXiv 2104.14294), §3.1 and appendix, with the numbers of EsViT's recipe.
"""

import math


def teacher_temperature(
    epoch: int, start: float = 0.04, final: float = 0.07, warmup_epochs: int = 30
) -> float:
    """Temperature of an epoch: linear, then constant.

    Args:
        epoch: From 0.
        start: In epoch 0.
        final: From epoch ``warmup_epochs - 1`` on.
        warmup_epochs: Epochs on the line, both ends counted; 0 for none.
    """
    if epoch >= warmup_epochs:
        return final
    return start + (final - start) * epoch / max(warmup_epochs - 1, 1)


def teacher_momentum(step: int, steps: int, base: float = 0.996) -> float:
    """Share of itself that the teacher keeps after a step: cosine from base to 1.

    Args:
        step: Of the optimizer, from 0.
        steps: Of the whole training.
        base: In step 0.
    """
    return 1 - (1 - base) * (1 + math.cos(math.pi * step / steps)) / 2
