"""Make a store of label maps: estimate, annotate, verify; go on where it stopped."""

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.annotators.base import Annotator
from mmtlalign.methods.token_labeling.label_map import LabelMap, index_dtype
from mmtlalign.methods.token_labeling.metadata import StoreFacts, fingerprint
from mmtlalign.methods.token_labeling.shards import (
    CorruptShardError,
    record_dtype,
    shard_file,
)
from mmtlalign.methods.token_labeling.store import LabelMapStore, create_store
from tools.dataset_converters.label_maps.images import AnnotatorImages
from tools.experiments.progress import clock


def plan_store(
    images: AnnotatorImages,
    annotator: Annotator,
    topk: int = 5,
    shard_size: int = 4096,
    classes: Sequence[str] | None = None,
    device: str = 'cpu',
) -> StoreFacts:
    """What the store will hold; the annotator looks at one blank image.

    Args:
        images: All of them.
        annotator: Who labels them.
        topk: Classes kept in each cell.
        shard_size: Images a file.
        classes: Names of the annotator's classes, in order. Defaults to None.
        device: Where the annotator is.

    Raises:
        InputError: The annotator has another number of classes than there are names.
    """
    blank = torch.zeros((1, 3, *images.size), dtype=torch.uint8, device=device)
    _, num_classes, *grid = annotator(blank).shape
    if classes is not None and len(classes) != num_classes:
        raise InputError(
            f'{annotator.name} has {num_classes} classes, but {len(classes)} are '
            'named: use an annotator trained on these classes, or name its own.'
        )
    return StoreFacts(
        num_classes=num_classes,
        classes='' if classes is None else fingerprint(classes),
        grid=tuple(grid),
        topk=min(topk, num_classes),
        images=len(images),
        image_set=fingerprint(images.names),
        annotator=dict(
            name=annotator.name,
            weights=annotator.weights(),
            mean=list(annotator.mean),
            std=list(annotator.std),
            size=list(images.size),
            centre_crop=images.centre_crop,
        ),
        shard_size=shard_size,
    )


def estimate(facts: StoreFacts) -> tuple[int, str]:
    """Bytes of all shards, and a line that says so."""
    size = facts.images * record_dtype(facts).itemsize
    grid = '×'.join(map(str, facts.grid))
    return size, (
        f'{facts.images} images, {facts.num_classes} classes, top {facts.topk} on '
        f'{grid} cells: {size / 1e9:.3g} GB in {facts.shards} files'
    )


def annotate(
    root: str | Path,
    images: AnnotatorImages,
    annotator: Annotator,
    facts: StoreFacts,
    batch_size: int = 32,
    workers: int = 0,
    part: tuple[int, int] = (0, 1),
    device: str = 'cpu',
) -> LabelMapStore:
    """Make the shards that are not there; each appears whole or not at all.

    Args:
        root: Folder of the store.
        images: Of :func:`plan_store`.
        annotator: Of :func:`plan_store`.
        facts: Of :func:`plan_store`.
        batch_size: Images at a time.
        workers: Processes that read images.
        part: Which of how many processes this is; they share the missing shards.
        device: Where the annotator is.

    Raises:
        InputError: The folder holds something else, or the disk is too small.
    """
    store = create_store(root, facts, images.names)
    mine = [s for s in store.missing_shards() if s % part[1] == part[0]]
    count = sum(len(facts.rows(shard)) for shard in mine)
    needed = count * record_dtype(facts).itemsize
    free = shutil.disk_usage(store.root).free
    if needed > free:
        raise InputError(
            f'{store.root}: {needed / 1e9:.3g} GB are needed, {free / 1e9:.3g} GB '
            'free. Make room, or name another folder.'
        )
    # No batch reaches from one shard into the next: which images are looked at
    # together may change the last bit of a logit, and on one machine a shard is the
    # same to the bit, whichever process makes it and after whatever interruption.
    batches = [
        (shard, list(rows[i : i + batch_size]))
        for shard in mine
        for rows in [facts.rows(shard)]
        for i in range(0, len(rows), batch_size)
    ]
    loader = DataLoader(
        images,
        batch_sampler=[rows for _, rows in batches],
        num_workers=workers,
        pin_memory=device != 'cpu',
    )
    bar, maps = _Bar(count), []
    for (shard, rows), batch in zip(batches, loader):
        maps += top_maps(annotator(batch.to(device)), facts)
        if rows[-1] == facts.rows(shard)[-1]:
            store.write(shard, maps)
            maps = []
        bar.advance(len(rows))
    return store


def top_maps(logits: torch.Tensor, facts: StoreFacts) -> list[LabelMap]:
    """The largest logits (B, K, h, w) of each cell, as maps."""
    values, indices = logits.topk(facts.topk, dim=1)
    if not torch.isfinite(values.half()).all():
        raise InputError(
            'the annotator gave logits that are not finite in float16 (65504 at most): '
            'look at its weights, mean and std.'
        )
    if facts.topk < facts.num_classes and (values[:, 0] < 0).float().mean() > 0.5:
        raise InputError(
            "in most cells the annotator's largest logit is below 0, and classes that "
            'are not kept count as 0, more than any that is. It was trained to say yes '
            'or no to each class (binary cross-entropy): use one trained with softmax, '
            f'or keep all classes by --topk {facts.num_classes}.'
        )
    values, indices = values.half().cpu().numpy(), indices.cpu().numpy()
    indices = indices.astype(index_dtype(facts.num_classes))
    return [LabelMap(*planes) for planes in zip(values, indices)]


def verify(store: LabelMapStore, remove: bool = False) -> list[int]:
    """Read all files that are there, from beginning to end.

    Args:
        store: The store.
        remove: Remove the damaged ones, so that they are made again.

    Returns:
        Numbers of the damaged ones.
    """
    damaged = []
    missing = set(store.missing_shards())
    for shard in sorted(set(range(store.facts.shards)) - missing):
        try:
            store.verify_shard(shard)
        except CorruptShardError as error:
            damaged.append(shard)
            if remove:
                shard_file(store.root, shard).unlink()
                print(f'{error.args[0].partition(". Remove")[0]}: it is made again')
    return damaged


class _Bar:
    """A line with the share that is done and the time left; in a log, now and then."""

    def __init__(self, total: int, every: float = 20.0):
        self.total, self.done, self.every = total, 0, every
        self.began = self.shown = time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count
        now, live = time.monotonic(), sys.stderr.isatty()
        last = self.done >= self.total
        if not live and not last and now - self.shown < self.every:
            return
        self.shown = now
        spent = now - self.began
        left = spent / self.done * (self.total - self.done)
        share, speed = self.done / self.total, self.done / max(spent, 1e-9)
        filled = round(20 * share)
        begin, end = '\r' if live else '', '\n' if last or not live else ''
        sys.stderr.write(
            f'{begin}{"█" * filled}{"░" * (20 - filled)} {share:4.0%}  '
            f'{speed:.0f} images/s  {clock(left)} left {end}'
        )
        sys.stderr.flush()
