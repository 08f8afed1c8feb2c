"""Mixed pairs of test images, independent of batch size and number of processes.

Images are in groups of eight, in which each is the partner of the one before it, and
every pair has its own box, drawn by its number.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from mmtlalign.errors import InputError
from mmtlalign.evaluation.draws import generator, integer_seed
from mmtlalign.evaluation.pictures import collate
from mmtlalign.evaluation.pixel_model import PixelModel
from mmtlalign.evaluation.visible_objects import box_masks
from mmtlalign.mixing.cutmix import Box, clipped_box
from mmtlalign.mixing.mix import Mix
from tools.evaluation.context import Context

GROUP = 8


class PairBatch(NamedTuple):
    """A batch of pairs in whole groups.

    Attributes:
        numbers: Numbers of the pairs (B,).
        images: (B, 3, H, W), 0 to 1, on the device.
        labels: Labels of the own images (B,).
        indices: Indices of the own images in the data set (B,).
        partner: Index of the partner in the batch (B,).
        mask: Share of the partner in each pixel (B, 1, H, W).
        boxes: Top, bottom, left, right in pixels, ends exclusive (B, 4).
    """

    numbers: np.ndarray
    images: Tensor
    labels: Tensor
    indices: np.ndarray
    partner: Tensor
    mask: Tensor
    boxes: np.ndarray

    def mix(self, network: PixelModel, num_classes: int) -> tuple[Mix, Tensor]:
        """Return the mixed batch as a network reads it, and the batch before mixing."""
        images = network.normalise(self.images)
        mixed = torch.where(self.mask > 0, images[self.partner], images)
        labels = F.one_hot(self.labels.clamp(min=0), num_classes).float()
        return Mix(mixed, labels, self.partner, self.mask), images


def own_images(images: int, pairs: int, seed: int = 0) -> np.ndarray:
    """Return the own image of each pair; the partner is the next one of its group.

    Args:
        images: Number of images of the data set.
        pairs: Number of pairs, rounded up to whole groups.
        seed: Seed of the order, which differs in each pass over the images.

    Raises:
        InputError: There are fewer images than a group takes.
    """
    if images < GROUP:
        raise InputError(
            f'{images} images: pairs are drawn from {GROUP} or more. Raise --limit.'
        )
    whole, rounds = images // GROUP * GROUP, []
    while sum(map(len, rounds)) < pairs:
        order = generator(seed, 'order of pairs', len(rounds)).permutation(images)
        rounds.append(order[:whole])
    count = -(-pairs // GROUP) * GROUP
    return np.concatenate(rounds)[:count]


def draw_box(number: int, size: tuple[int, int], patch: int, seed: int = 0) -> Box:
    """Return the box of a pair on the token grid, as ``TokenCutMix(alpha=1)`` draws it.

    Args:
        number: Number of the pair.
        size: Height and width of the images.
        patch: Side of a token in pixels.
        seed: Seed of all pairs.

    Returns:
        Top, bottom, left and right in pixels, ends exclusive.
    """
    state = np.random.get_state()
    np.random.seed(integer_seed(seed, 'box', number))
    try:
        grid = (size[0] // patch, size[1] // patch)
        box = clipped_box(grid, np.random.beta(1.0, 1.0))
    finally:
        np.random.set_state(state)
    top, bottom, left, right = (side * patch for side in box)
    return top, bottom, left, right


def pair_batches(
    context: Context,
    dataset: object,
    patch: int,
    done: Collection[int] = (),
) -> Iterator[PairBatch]:
    """Iterate over the pairs of this process that are not done.

    Args:
        context: The context, with the number of pairs in its options.
        dataset: The images.
        patch: Side of a token in pixels.
        done: Numbers of the pairs that are done.
    """
    count = -(-context.options.pairs // GROUP)
    # A group is done when its last pair is, because a batch is saved as a whole.
    last = range(GROUP - 1, count * GROUP, GROUP)
    mine = [place + 1 - GROUP for place in context.own_share(last, done)]
    size = max(1, context.batch_size // GROUP)
    starts = [np.array(mine[i : i + size]) for i in range(0, len(mine), size)]
    chunks = [(start[:, None] + np.arange(GROUP)).ravel() for start in starts]
    yield from load_pairs(context, dataset, patch, chunks)


def load_pairs(
    context: Context, dataset: object, patch: int, chunks: Sequence[np.ndarray]
) -> Iterator[PairBatch]:
    """Iterate over batches of pairs.

    Args:
        context: The context, for its loader and options.
        dataset: The images.
        patch: Side of a token in pixels.
        chunks: Numbers of the pairs of each batch, in whole groups.
    """
    if not chunks:
        return
    pictures = context.pictures(dataset)
    chosen = np.array(context.indices(len(pictures)))
    own = chosen[own_images(len(chosen), max(map(np.max, chunks)) + 1)]
    loader = DataLoader(
        pictures,
        batch_sampler=[own[chunk].tolist() for chunk in chunks],
        num_workers=context.workers,
        collate_fn=collate,
    )
    for own_numbers, batch in zip(chunks, loader):
        given = batch.to(context.device)
        count = len(given.images)
        place = torch.arange(count, device=context.device)
        partner = place // GROUP * GROUP + (place + 1) % GROUP
        height, width = given.images.shape[-2:]
        boxes = np.array(
            [draw_box(int(number), (height, width), patch) for number in own_numbers]
        )
        masks = torch.from_numpy(box_masks(boxes, (height, width)))
        yield PairBatch(
            own_numbers,
            given.images,
            given.labels[:, 0],
            np.array(batch.indices),
            partner,
            masks[:, None].float().to(context.device),
            boxes,
        )
