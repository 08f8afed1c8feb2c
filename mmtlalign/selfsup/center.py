"""Running mean of the teacher's outputs."""

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn


class Center(nn.Module):
    """Mean over all rows of a step, of all processes, averaged over steps.

    DINO (arXiv 2104.14294), §3.1, equation 4. A step may be several batches (gradient
    accumulation): all see the centre from before it, and it moves once.

    Args:
        channels: K.
        momentum: Share of the old centre that is kept. Defaults to 0.9.
    """

    def __init__(self, channels: int, momentum: float = 0.9):
        super().__init__()
        self.momentum = momentum
        self.register_buffer('value', torch.zeros(1, channels))
        # Of the batches of this step.
        self.means = []

    @torch.no_grad()
    def see(self, logits: Tensor) -> None:
        """Remember the mean of a batch: logits (M, K), before any softmax."""
        self.means.append(logits.mean(dim=0, keepdim=True, dtype=torch.float32))

    @torch.no_grad()
    def move(self) -> None:
        """Take what was seen into the centre; every process must call it."""
        mean = torch.stack(self.means).mean(dim=0)
        self.means.clear()
        all_reduce(mean, op='mean')
        self.value.mul_(self.momentum).add_(mean, alpha=1 - self.momentum)
