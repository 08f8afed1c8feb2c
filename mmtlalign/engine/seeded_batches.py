"""Data loaders whose random values depend on the seed and the number of a batch alone.

Data workers run ahead of the training, so random values must not depend on history:
each batch in a worker seeds the generators with the seed of the run and its own number.
Batches can be skipped without loading them, to resume within an epoch.
"""

import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from torch.utils.data import DataLoader, Dataset, IterableDataset

# Purposes of seeding, each with an independent random stream.
STEP, EPOCH, EVALUATION, DATA = range(4)


def seed_generators(*key: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch from some numbers.

    Args:
        *key: Seed of the run, purpose, and further numbers that identify the stream,
            all at least 0.
    """
    words = np.random.SeedSequence(key).generate_state(3).tolist()
    random.seed(words[0])
    np.random.seed(words[1])
    torch.manual_seed(words[2])


class NumberedBatch(list):
    """Indices of a batch, and the number of the training step that it is for."""

    def __init__(self, indices: list[int], number: int):
        super().__init__(indices)
        self.number = number

    def __reduce__(self) -> tuple:
        return NumberedBatch, (list(self), self.number)


class NumberedBatches:
    """A batch sampler that numbers its batches, counting on from pass to pass.

    Args:
        batches: Batch sampler of a data loader.
    """

    def __init__(self, batches: Any):
        self.batches = batches
        self.number = 0
        self._advanced: Iterator[list[int]] | None = None

    def __iter__(self) -> Iterator[NumberedBatch]:
        batches, self._advanced = self._advanced or iter(self.batches), None
        for batch in batches:
            # Counted before it is handed out, as loaders prefetch.
            self.number += 1
            yield NumberedBatch(batch, self.number - 1)

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        if name == 'batches':  # copies and pickles ask before it is there
            raise AttributeError(name)
        return getattr(self.batches, name)

    def advance(self, number: int, count: int, set_epoch: Callable[[int], None]) -> int:
        """Skip batches of the next pass without loading them.

        Args:
            number: Number of the batch that comes next.
            count: How many batches to skip; more than a pass has skips whole passes.
            set_epoch: Called with the number of passes that were skipped.

        Returns:
            The number of passes that were skipped.
        """
        self.number, passes = number, 0
        batches = iter(self.batches)
        taken = sum(1 for _ in islice(batches, count))
        if 0 < taken < count:
            passes, rest = divmod(count, taken)
            set_epoch(passes)
            batches = iter(self.batches)
            sum(1 for _ in islice(batches, rest))
        self._advanced = batches
        return passes


class SeededFetch:
    """Fetch the samples of a batch with generators seeded by its number.

    A data loader asks a data set for ``__getitems__`` and calls it, in a worker or in
    the process itself.

    Args:
        dataset: The data set.
        seed: Seed of the run.
        rank: Rank of the process.
    """

    def __init__(self, dataset: Dataset, seed: int, rank: int):
        self.dataset = dataset
        self.seed = seed
        self.rank = rank

    def __call__(self, batch: list[int]) -> list:
        """Return the samples."""
        if isinstance(batch, NumberedBatch):
            seed_generators(self.seed, DATA, self.rank, batch.number)
        return [self.dataset[index] for index in batch]


def number_batches(loader: DataLoader, seed: int) -> None:
    """Make the random values of a batch depend only on the seed and its number.

    Loaders of iterable data sets, or without batches, are left as they are.

    Args:
        loader: Data loader that is not started yet; changed in place.
        seed: Seed of the run.
    """
    dataset = loader.dataset
    if isinstance(dataset, IterableDataset) or loader.batch_sampler is None:
        return
    if isinstance(loader.batch_sampler, NumberedBatches):
        return
    # A loader forbids setting `batch_sampler`, which might contradict its other
    # settings; this one does not.
    loader.__dict__['batch_sampler'] = NumberedBatches(loader.batch_sampler)
    dataset.__getitems__ = SeededFetch(dataset, seed, get_rank())


def advance_loader(loader: DataLoader, number: int, count: int) -> int:
    """Skip batches of a loader, see :meth:`NumberedBatches.advance`."""
    batches = loader.batch_sampler
    if not isinstance(batches, NumberedBatches):
        return 0
    return batches.advance(number, count, lambda epoch: set_epoch(loader, epoch))


def set_epoch(loader: DataLoader, epoch: int) -> None:
    """Tell the sampler of a loader the epoch, which it orders the data by."""
    samplers: list[Any] = [loader.sampler]
    samplers.append(getattr(loader.batch_sampler, 'sampler', None))
    for sampler in samplers:
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)
