"""Make a store of label maps: plan, annotate and verify; resume a stopped run."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch.utils.data import DataLoader

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.annotators import Annotator
from mmtlalign.methods.token_labeling.geometry import LabelMap, index_dtype
from mmtlalign.methods.token_labeling.metadata import StoreMetadata, fingerprint
from mmtlalign.methods.token_labeling.store import (
    CorruptShardError,
    LabelMapStore,
    create_store,
)
from mmtlalign.validation.classes import compare
from tools.dataset_converters.label_maps.images import AnnotatorImages
from tools.output import Progress, open_console


def plan_store(
    images: AnnotatorImages,
    annotator: Annotator,
    topk: int = 5,
    shard_size: int = 4096,
    classes: Sequence[str] | None = None,
    device: str = 'cpu',
) -> StoreMetadata:
    """Return the metadata that the store will have, by annotating one blank image.

    Args:
        images: All images.
        annotator: The classifier that labels them.
        topk: Number of classes kept in each cell.
        shard_size: Number of images per file.
        classes: Names of the annotator's classes, in order. Defaults to None.
        device: Device of the annotator.

    Raises:
        InputError: The annotator has another number of classes than there are names,
            or its checkpoint has other names.
    """
    blank = torch.zeros((1, 3, *images.size), dtype=torch.uint8, device=device)
    _, num_classes, *grid = annotator(blank).shape
    if classes is not None and len(classes) != num_classes:
        raise InputError(
            f'{annotator.name} has {num_classes} classes, but {len(classes)} names are '
            'given: use an annotator trained on these classes, or give the names of '
            'its own.'
        )
    if classes is not None and annotator.classes is not None:
        own = f'classes in the checkpoint of {annotator.name}'
        compare(annotator.classes, own, classes, '--classes')
    return StoreMetadata(
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


def estimate(metadata: StoreMetadata) -> tuple[int, str]:
    """Return the bytes of all shards, and a line of text with them."""
    size = metadata.images * metadata.record_dtype.itemsize
    grid = '×'.join(map(str, metadata.grid))
    return size, (
        f'{metadata.images} images, {metadata.num_classes} classes, top '
        f'{metadata.topk} on {grid} cells: {size / 1e9:.3g} GB in {metadata.shards} '
        'files'
    )


def annotate(
    root: str | Path,
    images: AnnotatorImages,
    annotator: Annotator,
    metadata: StoreMetadata,
    batch_size: int = 32,
    workers: int = 0,
    part: tuple[int, int] = (0, 1),
    device: str = 'cpu',
) -> LabelMapStore:
    """Make the missing shards; each is written whole or not at all.

    Args:
        root: Folder of the store.
        images: All images.
        annotator: The classifier that labels them.
        metadata: Result of :func:`plan_store`.
        batch_size: Number of images per batch.
        workers: Number of processes that read images.
        part: Number of this process, and how many share the missing shards.
        device: Device of the annotator.

    Raises:
        InputError: The folder holds something else, or the disk is too small.
    """
    store = create_store(root, metadata, images.names)
    mine = [s for s in store.missing_shards() if s % part[1] == part[0]]
    count = sum(len(metadata.rows(shard)) for shard in mine)
    needed = count * metadata.record_dtype.itemsize
    free = shutil.disk_usage(store.root).free
    if needed > free:
        raise InputError(
            f'{store.root}: {needed / 1e9:.3g} GB are needed, {free / 1e9:.3g} GB '
            'free. Free disk space, or name another folder.'
        )
    # No batch spans two shards: which images are in a batch together may change the
    # last bit of a logit, and on one machine a shard should be bit-identical, whichever
    # process makes it and after any interruption.
    batches = [
        (shard, list(rows[i : i + batch_size]))
        for shard in mine
        for rows in [metadata.rows(shard)]
        for i in range(0, len(rows), batch_size)
    ]
    loader = DataLoader(
        images,
        batch_sampler=[rows for _, rows in batches],
        num_workers=workers,
        pin_memory=device != 'cpu',
    )
    maps = []
    with progress_bar(count) as advance:
        for (shard, rows), batch in zip(batches, loader):
            maps += top_maps(annotator(batch.to(device)), metadata)
            if rows[-1] == metadata.rows(shard)[-1]:
                store.write(shard, maps)
                maps = []
            advance(len(rows))
    return store


def top_maps(logits: torch.Tensor, metadata: StoreMetadata) -> list[LabelMap]:
    """Keep the largest logits (B, K, h, w) of each cell, as B maps.

    Raises:
        InputError: The annotator's output cannot be stored, or is not logits.
    """
    values, indices = logits.topk(metadata.topk, dim=1)
    if not torch.isfinite(values.half()).all():
        raise InputError(
            'the annotator gave logits that are not finite in float16 (65504 at most): '
            'check its weights, mean and std.'
        )
    all_kept = metadata.topk == metadata.num_classes
    if not all_kept and (values[:, 0] < 0).float().mean() > 0.5:
        raise InputError(
            "in most cells the annotator's largest logit is below 0, but classes that "
            'are not kept count as 0, more than all kept ones. It was trained with '
            'binary cross-entropy: use one trained with softmax, or keep all classes '
            f'with --topk {metadata.num_classes}.'
        )
    values, indices = values.half().cpu().numpy(), indices.cpu().numpy()
    indices = indices.astype(index_dtype(metadata.num_classes))
    return [LabelMap(*planes) for planes in zip(values, indices)]


def verify(store: LabelMapStore, remove: bool = False) -> list[int]:
    """Read all existing files of a store completely.

    Args:
        store: The store.
        remove: Whether to remove damaged files, so that they are made again.

    Returns:
        Numbers of the damaged ones.
    """
    damaged = []
    missing = set(store.missing_shards())
    for shard in sorted(set(range(store.metadata.shards)) - missing):
        try:
            store.verify_shard(shard)
        except CorruptShardError as error:
            damaged.append(shard)
            if remove:
                store.shard_file(shard).unlink()
                print(f'{error.args[0].partition(". Remove")[0]}: it is made again')
    return damaged


class SpeedColumn(ProgressColumn):
    """Column with the images per second since the beginning."""

    def render(self, task: Task) -> Text:
        """Return the text of the column."""
        return Text(f'{task.completed / max(task.elapsed or 0, 1e-9):.0f} images/s')


@contextlib.contextmanager
def progress_bar(total: int, interval: float = 20.0) -> Iterator[Callable[[int], None]]:
    """Show on standard error how many images are done.

    Args:
        total: Number of images to do.
        interval: Seconds between two lines if the output is not a terminal.

    Yields:
        A function to be called with the number of images just done.
    """
    columns = (BarColumn(20), TaskProgressColumn(), SpeedColumn())
    columns += (TimeRemainingColumn(compact=True), 'left')
    # Without a redrawing thread, because the processes that read images are forked.
    options = dict(interval=interval, auto_refresh=False)
    bars = Progress(*columns, console=open_console(stderr=True), **options)
    with bars if total else contextlib.nullcontext():
        task = bars.add_task('', total=total)
        yield lambda count: bars.update(task, advance=count, refresh=True)
