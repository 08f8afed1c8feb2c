"""Which region of a teacher view a region of the student goes to.

EsViT (arXiv 2106.09785), §3.2: the most similar one of the same image, by the cosine
of backbone features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .views import Views

# Similarities that are in memory at a time: 16 MiB in float32.
CHUNK = 2**22


@torch.no_grad()
def match_regions(student: Tensor, teacher: Tensor, views: Views) -> Tensor:
    """Find the best token of every teacher view for every region of the student.

    Memory grows with the number of tokens, not with its square: similarities are made
    and forgotten chunk by chunk. In float32, also under autocast, where near ties
    would go the wrong way.

    Args:
        student: Backbone features of its regions (R, P), rows as in :class:`Views`.
        teacher: The same of its views (G·B·T, P).
        views: What the rows are.

    Returns:
        Tensor: Token numbers (R, G), int64.
    """
    with torch.autocast(student.device.type, enabled=False):
        keys = F.normalize(teacher.float(), dim=-1)
        keys = keys.unflatten(0, (views.teacher, views.batch, -1))
        found = []
        for part in views.split(student.float()):
            # An image's tokens of all views of the run side by side.
            queries = F.normalize(part, dim=-1).transpose(0, 1).flatten(1, 2)
            best = torch.stack([_nearest(queries, key) for key in keys], dim=-1)
            best = best.unflatten(1, (part.shape[0], part.shape[2]))
            found.append(best.transpose(0, 1).flatten(0, 2))
    return torch.cat(found)


def _nearest(queries: Tensor, keys: Tensor) -> Tensor:
    """Index (B, Q) of the key (B, T, P) of greatest product with a query (B, Q, P)."""
    step = max(1, CHUNK // (keys.shape[0] * keys.shape[1]))
    return torch.cat(
        [(part @ keys.mT).argmax(dim=-1) for part in queries.split(step, dim=1)], dim=1
    )
