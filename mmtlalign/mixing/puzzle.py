"""Puzzle Mix (ICML 2020): a mask of least saliency loss, found by a minimum cut.

Written from a description of the paper and from the formulas of its code; the cut is
SciPy's maximum flow in place of gco, whose licence allows only research. The paper's
transport, which moves blocks inside the images, is not implemented.

Shapes: ``B`` batch, ``H, W`` pixels, ``b`` blocks a side, ``L`` levels of blending.
"""

import importlib.util
import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import Drawn, mask_count
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.salient import Grid, SalientMix

# SciPy needs integer costs: a cost of 1 becomes SCALE times the number of blocks.
SCALE = 1000


class PuzzleCosts(NamedTuple):
    """Integer costs that define the cost of a mask, for each image.

    Attributes:
        levels: Cost of each level of blending in each block (B, b, b, L); level 0 is
            the own image alone.
        down: Cost of different levels in vertically adjacent blocks (B, b - 1, b); it
            is multiplied by the squared difference of the levels.
        right: The same for horizontally adjacent blocks (B, b, b - 1).
    """

    levels: np.ndarray
    down: np.ndarray
    right: np.ndarray


class PuzzleMix(SalientMix):
    """Puzzle Mix (ICML 2020): each block shows the image that is more salient there.

    A block's share of the partner is 0 or 1, with ``levels=3`` also ½. The mask is the
    one of least cost: the saliency of both images that is lost, the differences between
    adjacent blocks, and the deviation of the share from the drawn one. Needs a guide
    that gives pictures, such as ``mmtlalign.InputGradient``. The label follows the
    area.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from, one for the batch. Defaults to 1.0.
        blocks (tuple[int, ...]): Numbers of blocks a side; one of them is drawn for
            each batch. Defaults to (2, 4, 8, 16), the official values.
        levels (int): 2: each block shows one image; 3: or an equal blend of both.
            Defaults to 2.
        smoothness (float): Cost of different adjacent blocks (beta). Defaults to 1.2.
        contrast (float): How much of that cost depends on the pixels at the border of
            the two blocks (gamma), 0...1. Defaults to 0.5.
        prior (float): Cost of deviating from the drawn share (eta). Defaults to 0.2.
        border (int): Side in pixels of the areas that are averaged and compared at the
            border of two blocks. Defaults to 2.
        prob (float): Probability that a batch is mixed at all. Defaults to 1.0.
        pairing (str): ``'flip'`` or ``'random'``, as in :class:`BatchMix`. Defaults to
            ``'random'``, the official value.
        mode (str): Only ``'elem'``. Defaults to ``'elem'``.
    """

    needs = frozenset({'saliency', 'pictures'})

    def __init__(
        self,
        alpha: float = 1.0,
        blocks: tuple[int, ...] = (2, 4, 8, 16),
        levels: int = 2,
        smoothness: float = 1.2,
        contrast: float = 0.5,
        prior: float = 0.2,
        border: int = 2,
        prob: float = 1.0,
        pairing: str = 'random',
        mode: str = 'elem',
    ):
        super().__init__(alpha, prob, pairing, mode)
        if importlib.util.find_spec('scipy') is None:
            raise InputError(
                'PuzzleMix computes masks with the maximum-flow solver of SciPy, which '
                'is not installed: pip install scipy.'
            )
        if not blocks or any(int(n) != n or n < 2 for n in blocks):
            raise InputError(
                f'blocks={blocks}: give integer numbers of blocks per side, 2 or more.'
            )
        if levels not in (2, 3):
            raise InputError(
                f'levels={levels}: choose 2, or 3, which adds an equal blend of both '
                'images.'
            )
        if int(border) != border or border < 1:
            raise InputError(
                f'border={border}: give an integer number of pixels, 1 or more.'
            )
        for name, value in dict(
            smoothness=smoothness, contrast=contrast, prior=prior
        ).items():
            if not value >= 0:
                raise InputError(f'{name}={value}: give a weight of 0 or more.')
        if contrast > 1:
            raise InputError(
                f'contrast={contrast}: above 1 the cost of unlike neighbours can be '
                'negative, which no minimum cut can solve; give 0 to 1.'
            )
        self.blocks = tuple(int(n) for n in blocks)
        self.levels = levels
        self.smoothness, self.contrast, self.prior = smoothness, contrast, prior
        self.border = int(border)

    def check_guide(self, given: Grid, size: Grid) -> None:
        """Check that all numbers of blocks divide the images and the guide's maps.

        Raises:
            InputError: One of them does not.
        """
        for blocks in self.blocks:
            for name, sides in (('images', size), ("the guide's maps", given)):
                if sides[0] % blocks or sides[1] % blocks:
                    raise InputError(
                        f'PuzzleMix, blocks={self.blocks}: {blocks} blocks per side do '
                        f'not divide {name} of {sides[0]}x{sides[1]}: remove that '
                        'number, or resize the images to a multiple of it.'
                    )

    def grid_of(self, given: Grid, size: Grid) -> Grid:
        """Return the guide's own rows and columns."""
        return given

    def draw_lams(self, batch: int) -> np.ndarray | None:
        """Draw one share for all masks."""
        lam = self._draw_lam()
        return None if lam is None else np.full(mask_count(batch, self.mode), lam)

    def draw_masks(
        self,
        size: Grid,
        lams: np.ndarray,
        guide_output: GuideOutput | None = None,
        partner: Tensor | None = None,
    ) -> Drawn:
        """Draw the number of blocks, and find the mask of least cost."""
        assert (
            guide_output is not None and guide_output.pictures is not None
        )  # a guide has them
        assert partner is not None
        saliency = self.saliency(guide_output, size)
        blocks = self.blocks[np.random.randint(len(self.blocks))]
        costs = self.costs(
            saliency, guide_output.pictures, partner, blocks, float(lams[0])
        )
        cuts = [least_cost(*one) for one in zip(*costs)]
        mask = np.stack(cuts).astype(np.float32) / (self.levels - 1)
        rows, columns = (np.arange(side) * blocks // side for side in size)
        pixels = torch.from_numpy(mask[:, rows[:, None], columns])
        return Drawn(pixels.to(saliency.device))

    def costs(
        self,
        saliency: Tensor,
        pictures: Tensor,
        partner: Tensor,
        blocks: int,
        lam: float,
    ) -> PuzzleCosts:
        """Return the costs of each block and of each pair of adjacent blocks.

        Args:
            saliency: (B, h, w), at least 0.
            pictures: (B, 3, H, W), 0...1.
            partner: Index of each image's partner (B,).
            blocks: Blocks a side.
            lam: The drawn share of the own image.
        """
        cell = saliency.shape[1] // blocks, saliency.shape[2] // blocks
        mass = F.avg_pool2d(saliency[:, None], cell)[:, 0]
        own = mass / mass.sum(dim=(1, 2), keepdim=True).clamp(min=1e-12)
        other = own[partner]
        weight = self.smoothness / blocks / 16
        contrast = weight * self.contrast
        down = contrast * border_contrasts(pictures, partner, blocks, self.border)
        turned = pictures.transpose(2, 3)
        right = contrast * border_contrasts(turned, partner, blocks, self.border)
        right = right.transpose(-1, -2)
        # The cost of adjacent blocks of the same image is split between both blocks.
        before, behind = _halves(down)
        keep, give = other.clone(), own.clone()
        keep[:, :-1] += before[0]
        give[:, :-1] += before[1]
        keep[:, 1:] += behind[0]
        give[:, 1:] += behind[1]
        before, behind = _halves(right)
        keep[:, :, :-1] += before[0]
        give[:, :, :-1] += before[1]
        keep[:, :, 1:] += behind[0]
        give[:, :, 1:] += behind[1]
        scale = SCALE * blocks**2
        chances = [math.comb(self.levels - 1, i) for i in range(self.levels)]
        levels = []
        for i, chance in enumerate(chances):
            share = i / (self.levels - 1)
            likely = chance * lam ** (self.levels - 1 - i) * (1 - lam) ** i
            far = -self.prior * math.log(likely + 1e-8) / blocks**2
            levels.append((1 - share) * _array(keep) + share * _array(give) + far)
        unlike = [_array(weight + _gain(pair)) for pair in (down, right)]
        return PuzzleCosts(
            (scale * np.stack(levels, axis=-1)).astype(np.int32),
            *((scale * one).clip(min=0).astype(np.int32) for one in unlike),
        )


def border_contrasts(
    pictures: Tensor, partner: Tensor, blocks: int, border: int
) -> Tensor:
    """Return how much pixels differ across each horizontal border, (4, B, b - 1, b).

    The four cases are the images of the upper and of the lower block: own and own, own
    and partner, partner and own, partner and partner.

    Args:
        pictures: (B, 3, H, W), 0...1.
        partner: Index of each image's partner (B,).
        blocks: Blocks a side, b.
        border: Largest side in pixels of the areas that are averaged and compared.
    """
    high, wide = (side // blocks for side in pictures.shape[-2:])
    cell = math.gcd(border, high), math.gcd(border, wide)
    small = F.avg_pool2d(pictures.float(), cell)
    step, run = high // cell[0], wide // cell[1]
    above, below = small[:, :, step - 1 : -1 : step], small[:, :, step::step]
    found = []
    for upper in (above, above[partner]):
        for lower in (below, below[partner]):
            unlike = (upper - lower).abs().mean(dim=1)
            found.append(F.avg_pool2d(unlike, (1, run)))
    return torch.stack(found)


def _halves(
    unlike: Tensor,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return half of a border's cost, for the first and for the second block.

    Each as a pair: if that block shows the own image, and if it shows the partner,
    averaged over the other block. Together with :func:`_gain` they add up to the
    border's cost and a constant that is the same for all masks.
    """
    own, down, up, other = unlike
    first = (own + down) / 2, (other + up) / 2
    second = (own + up) / 2, (other + down) / 2
    return first, second


def _gain(unlike: Tensor) -> Tensor:
    """Return how much more a border costs between two images than within one."""
    own, down, up, other = unlike
    return (down + up - own - other) / 2


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def least_cost(levels: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the level of each block (b, b) in the mask of least cost.

    A single minimum cut is exact for 2 levels, and for 3 levels where the cost of
    adjacent blocks grows with the squared difference of their levels: an additional
    edge adds the cost of blocks that are two levels apart.

    Args:
        levels: Cost of each level in each block (b, b, L).
        down: Cost of vertically adjacent blocks that differ (b - 1, b).
        right: Cost of horizontally adjacent blocks that differ (b, b - 1).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    high, wide, count = levels.shape
    steps = count - 1
    # Node (block, step) is on the source's side if the block's level exceeds the step.
    nodes = np.arange(high * wide * steps).reshape(high, wide, steps)
    source, sink = nodes.size, nodes.size + 1
    edges: list[tuple[Any, Any, Any]] = []

    def connect(start: Any, end: Any, cost: Any) -> None:
        edges.append(tuple(map(np.ravel, np.broadcast_arrays(start, end, cost))))

    whole = levels.astype(np.int64) * steps**2
    # Only differences matter, and capacities must not be negative.
    whole -= whole.min(axis=-1, keepdims=True).clip(max=0)
    endless = int(whole.sum()) + 1
    connect(source, nodes[..., 0], whole[..., 0])
    connect(nodes[..., -1], sink, whole[..., -1])
    for step in range(1, steps):
        connect(nodes[..., step - 1], nodes[..., step], whole[..., step])
        connect(nodes[..., step], nodes[..., step - 1], endless)
    for one, two, cost in (
        (nodes[:-1], nodes[1:], down),
        (nodes[:, :-1], nodes[:, 1:], right),
    ):
        for start, end in ((one, two), (two, one)):
            connect(start, end, cost[..., None])
            for step in range(1, steps):
                connect(start[..., step], end[..., step - 1], 2 * cost)
    starts, ends, costs = (np.concatenate(part) for part in zip(*edges))
    shape = (nodes.size + 2,) * 2
    graph = coo_matrix((costs.astype(np.int32), (starts, ends)), shape).tocsr()
    left = graph - maximum_flow(graph, source, sink).flow
    left.eliminate_zeros()
    above = np.zeros(nodes.size + 2, bool)
    above[breadth_first_order(left, source, return_predecessors=False)] = True
    return above[nodes].sum(axis=-1)
