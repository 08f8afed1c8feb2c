"""Occlusion: patches dropped at random or by saliency, cells shuffled."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation import occlusion
from mmtlalign.evaluation.attention_maps import attention_map
from mmtlalign.evaluation.conditions import Condition
from mmtlalign.evaluation.draws import generators
from mmtlalign.evaluation.pictures import Batch
from mmtlalign.evaluation.pixel_model import PixelModel
from tools.evaluation.context import Context
from tools.evaluation.items import ConditionItem
from tools.evaluation.rows import ResultsByCondition, Row, accuracy_rows, mean_rows

SUITE = 'occlusion'
MOST_CELLS = 14  # per side, as for ViT at 224 pixels
RATIOS = tuple(number / 10 for number in range(1, 10))
SOURCE = 'Naseer et al., NeurIPS 2021, section 3'
DROPPED = 'share dropped'


def patch_grid(size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of patches: at most 14, and divisors of the size."""
    rows, columns = (
        max(count for count in range(1, MOST_CELLS + 1) if side % count == 0)
        for side in size
    )
    return rows, columns


class RandomDrop(ConditionItem):
    """Patches dropped at random."""

    suite, name, about = SUITE, 'random', 'accuracy with patches dropped at random'
    options = ('limit', 'seeds')

    def conditions(self, context: Context) -> Sequence[Condition]:
        """Return a condition for each ratio and draw."""
        grid = patch_grid(context.image_size)
        return [
            Condition(
                _title(ratio, seed), partial(_drop_random, grid, ratio=ratio, seed=seed)
            )
            for ratio in RATIOS
            for seed in context.options.seeds
        ]

    def seconds(self, context: Context, forward: float) -> float:
        """Return the estimate."""
        draws = len(RATIOS) * len(context.options.seeds)
        return self.images(context) * draws * forward

    def rows(self, context: Context, results: ResultsByCondition) -> list[Row]:
        """Return the curve, and the area under it."""
        seeds = context.options.seeds
        curve = {r: [_title(r, seed) for seed in seeds] for r in RATIOS}
        return curve_rows(self.name, 'random', curve, results, context, seeds)


class SalientDrop(ConditionItem):
    """Patches dropped by how much a network attends to them."""

    suite, options = SUITE, ('limit', 'saliency')

    def __init__(self, salient: bool):
        self.salient = salient
        self.name = 'salient' if salient else 'non-salient'
        most = 'most' if salient else 'least'
        self.about = f'accuracy without the {most} attended patches'

    def missing(self, context: Context) -> str | None:
        """Return why there is no saliency, or None."""
        try:
            batch = context.first_batch(1)
            for network in context.networks.values():
                _saliency(context.options.saliency, network, batch)
        except (InputError, UnsupportedError) as error:
            return str(error)
        return None

    def conditions(self, context: Context) -> Sequence[Condition]:
        """Return a condition for each share of patches, and of attention mass."""
        grid = patch_grid(context.image_size)
        given = (grid, self.salient, context.options.saliency)
        return [
            Condition(
                f'{self.name} {by} {ratio}', partial(_drop_salient, *given, by, ratio)
            )
            for by in ('patches', 'mass')
            for ratio in RATIOS
        ]

    def seconds(self, context: Context, forward: float) -> float:
        """Return the estimate; the attention of each batch is read once."""
        return self.images(context) * (2 * len(RATIOS) + 2) * forward

    def rows(self, context: Context, results: ResultsByCondition) -> list[Row]:
        """Return both curves: over the share of patches, and of attention mass."""
        rows = []
        source = context.options.saliency
        # Dropping the least attended patches keeps the given share of the mass.
        mass = f'share of attention mass {"dropped" if self.salient else "kept"}'
        for by, x_label in (('patches', DROPPED), ('mass', mass)):
            curve = {r: [f'{self.name} {by} {r}'] for r in RATIOS}
            own = curve_rows(
                self.name,
                f'by {by}',
                curve,
                results,
                context,
                x_label=x_label,
                whole=int(by == 'mass' and not self.salient),
            )
            for row in own:
                row.protocol['saliency'] = source
                if by == 'mass':
                    row.protocol['mass'] = mass
                if source == 'self':
                    row.notes = [
                        'Each network drops what it attends to itself: not for ranking '
                        'networks. Give equal maps by --saliency FILE.npy for that.'
                    ]
            rows += own
        return rows


class Shuffle(ConditionItem):
    """Cells of the image in another order."""

    suite, name, about = SUITE, 'shuffle', 'accuracy with the cells of a grid shuffled'
    options = ('limit', 'seeds')

    def _grids(self, context: Context) -> list[tuple[int, int]]:
        height, width = context.image_size
        return [
            (rows, columns)
            for rows, columns in occlusion.OFFICIAL_SHUFFLES
            if height % rows == 0 and width % columns == 0
        ]

    def conditions(self, context: Context) -> Sequence[Condition]:
        """Return a condition for each grid and draw."""
        return [
            Condition(
                f'shuffle {grid[0]}x{grid[1]} {seed}',
                partial(_shuffle, grid=grid, seed=seed),
            )
            for grid in self._grids(context)
            for seed in context.options.seeds
        ]

    def seconds(self, context: Context, forward: float) -> float:
        """Return the estimate."""
        draws = len(self._grids(context)) * len(context.options.seeds)
        return self.images(context) * draws * forward

    def rows(self, context: Context, results: ResultsByCondition) -> list[Row]:
        """Return the accuracy of each grid, and the mean."""
        seeds, rows, every = context.options.seeds, [], []
        protocol = dict(source=SOURCE, x_label='cells', curve='shuffle')
        for grid in self._grids(context):
            name = f'{grid[0]}x{grid[1]}'
            draws = [f'shuffle {name} {seed}' for seed in seeds]
            every += draws
            given = dict(protocol, x=grid[0] * grid[1])
            rows += accuracy_rows(
                self.name, name, results, draws, seeds, protocol=given
            )
        return mean_rows(self.name, 'mean of the grids', results, every) + rows


def curve_rows(
    item: str,
    curve: str,
    draws: dict[float, list[str]],
    results: ResultsByCondition,
    context: Context,
    seeds: Sequence[int] = (),
    x_label: str = DROPPED,
    whole: int = 0,
) -> list[Row]:
    """Return the area under the curve, then the accuracy at each ratio.

    Args:
        item: Name of the item.
        curve: Name of the curve.
        draws: Ratio to conditions.
        results: Predictions.
        context: Networks and images.
        seeds: Seeds of the draws.
        x_label: What the ratios are a share of.
        whole: Ratio at which images are whole: 1 if it is a share that is kept.
    """
    grid = patch_grid(context.image_size)
    protocol = dict(
        source=SOURCE,
        grid=f'{grid[0]}x{grid[1]}',
        fill='black, before normalisation',
        x_label=x_label,
        curve=curve,
    )
    given = dict(protocol, x=float(whole))
    rows = accuracy_rows(item, f'{curve} {whole}', results, ['clean'], protocol=given)
    for ratio, names in draws.items():
        given = dict(protocol, x=ratio)
        title = f'{curve} {ratio}'
        rows += accuracy_rows(item, title, results, names, seeds, protocol=given)
    areas = []
    for network in dict.fromkeys(row.network for row in rows):
        own = [row for row in rows if row.network == network]
        points = sorted((r.protocol['x'], r.metrics['top-1 %']) for r in own)
        area = occlusion.area_under_curve(*zip(*points))
        areas.append(
            Row(
                item,
                f'{curve}: area under the curve',
                network,
                {'area %': area},
                own[0].n,
                protocol={'area': f'mean height over the {x_label}, by trapezoids'},
            )
        )
    return areas + rows


def _title(ratio: float, seed: int) -> str:
    return f'random {ratio} {seed}'


def _drop_random(
    grid: tuple[int, int], network: PixelModel, batch: Batch, ratio: float, seed: int
) -> Tensor:
    random = generators(seed, 'random drop', batch.indices)
    dropped = occlusion.random_patches(random, grid, ratio)
    return occlusion.drop_patches(batch.images, dropped)


def _drop_salient(
    grid: tuple[int, int],
    salient: bool,
    source: str,
    by: str,
    ratio: float,
    network: PixelModel,
    batch: Batch,
) -> Tensor:
    saliency = F.adaptive_avg_pool2d(_saliency(source, network, batch), grid)
    if by == 'mass':
        dropped = occlusion.mass_patches(saliency, ratio, foreground=salient)
    else:
        dropped = occlusion.ranked_patches(saliency, ratio, salient)
    return occlusion.drop_patches(batch.images, dropped)


def _shuffle(
    network: PixelModel, batch: Batch, grid: tuple[int, int], seed: int
) -> Tensor:
    random = generators(seed, f'shuffle {grid[0]}x{grid[1]}', batch.indices)
    order = occlusion.random_permutations(random, grid)
    return occlusion.shuffle_cells(batch.images, order, grid)


_last: list = [None, None]


def _saliency(source: str, network: PixelModel, batch: Batch) -> Tensor:
    """Return maps (B, h, w); those of the last batch are cached."""
    key = (source, id(network), batch.indices)
    if _last[0] != key:
        _last[:] = key, _read_saliency(source, network, batch)
    return _last[1]


def _read_saliency(source: str, network: PixelModel, batch: Batch) -> Tensor:
    if source == 'self':
        inputs = network.normalise(batch.images)
        return attention_map(network.backbone, inputs).mean(dim=1)
    maps = np.load(source, mmap_mode='r', allow_pickle=False)
    own = np.stack([maps[index] for index in batch.indices])
    return torch.from_numpy(own).float().to(batch.images.device)


def check_maps(source: str, images: int) -> None:
    """Check stored saliency maps.

    Args:
        source: ``.npy`` of (images, rows, columns), in the order of the test set.
        images: Number of images of the test set.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    form = f'give a .npy of ({images}, rows, columns), in the order of the test set'
    if not Path(source).is_file():
        raise InputError(f"--saliency {source} is neither 'self' nor a file: {form}")
    try:
        maps = np.load(source, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(
            f'--saliency {source} cannot be read as numbers: {form}'
        ) from error
    numbers = isinstance(maps, np.ndarray) and maps.dtype.kind in 'fiu'
    if not numbers or maps.ndim != 3 or len(maps) != images:
        shape = getattr(maps, 'shape', None)
        raise InputError(f'--saliency {source} holds {shape}: {form}')
    good = np.isfinite(maps).all((1, 2)) & (maps >= 0).all((1, 2))
    good &= maps.sum((1, 2)) > 0
    if not good.all():
        raise InputError(
            f'--saliency {source}: map {int(np.argmin(good))} is not finite, has '
            'negative values, or is 0 everywhere, so it cannot rank patches. Make it '
            'again.'
        )


ITEMS = (RandomDrop(), SalientDrop(True), SalientDrop(False), Shuffle())
