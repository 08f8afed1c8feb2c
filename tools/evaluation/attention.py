"""Quality of attention: agreement with masks and boxes of objects, and entropy."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine import dist
from mmpretrain.structures import DataSample

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.attention_maps import attention_map, read_attention
from mmtlalign.evaluation.localization import is_located, map_box, mask_jaccard
from mmtlalign.evaluation.max_box_accuracy import MaxBoxAccuracy, score_map
from mmtlalign.evaluation.regions import attention_entropy
from tools.evaluation.context import Context
from tools.evaluation.items import MeasuredItem
from tools.evaluation.objects import build_objects, find_objects, masks_missing
from tools.evaluation.rows import CONTROL, DIFFERENCE, MODEL, Row
from tools.output import track

SUITE = 'attention'
MASSES = (0.6, 0.9)
MAPS = ('auto', 'rollout')
ENTROPY_IMAGES = 64
# Published values of DeiT at 512 pixels, lambda 0.9, best head.
NASEER = (
    'DeiT-T 32.2, DeiT-S 29.2 at 512 pixels on VOC 2012, best head, mass 0.9 (Naseer '
    'et al.)'
)


class ObjectItem(MeasuredItem):
    """Base of items that need images with objects."""

    suite, options = SUITE, ('limit', 'objects')

    def missing(self, context: Context) -> str | None:
        """Return a message if there are no objects or no attention to read."""
        found = find_objects(context)
        if found.settings is None:
            return found.remedy
        try:
            images = context.first_batch(1).images
            for name, network in context.networks.items():
                inputs = network.normalise(images)
                attention_map(context.classifiers[name], inputs)
        except (InputError, UnsupportedError) as error:
            return str(error)
        return None

    def images(self, context: Context) -> int:
        """Return how many images are looked at."""
        return len(context.indices(len(build_objects(context, squash=True))))

    def seconds(self, context: Context, forward: float) -> float:
        """Return the estimate; masks and boxes share their forward passes."""
        return self.images(context) * (3 * forward + 0.03)


class Jaccard(ObjectItem):
    """Overlap of thresholded attention with the masks of objects."""

    name, about = 'jaccard', 'overlap of the attention with masks of objects'

    def missing(self, context: Context) -> str | None:
        """Return a message if there are no masks or no attention to read."""
        return masks_missing(context) or super().missing(context)

    def measure(self, context: Context) -> list[Row]:
        """Return the Jaccard index of the best head, the mean, and the foreground."""
        arrays, rows = measure_maps(context), []
        kinds = dict(
            best_head='best head, chosen with the truth at hand',
            head_mean='mean over heads, by class',
            foreground='mean over heads, all objects',
        )
        for which in MAPS:
            for mass in MASSES:
                for kind, title in kinds.items():
                    if which == 'rollout' and kind == 'best_head':
                        continue  # of one head
                    key = f'{which}/{kind}@{mass}'
                    setting = f'{MAP_TITLES[which]}, mass {mass}: {title}'
                    rows += paired_rows(
                        context, arrays, self.name, key, setting, 'Jaccard %'
                    )
        rows[0].notes = [
            'Compare networks of one token grid only: coarse tokens cost overlap.',
            f'For orientation, not comparable at another size: {NASEER}.',
        ]
        grid = 'x'.join(map(str, arrays['grid'][0]))
        for row in rows:
            row.protocol = dict(
                grid=grid,
                data=find_objects(context).source,
                pixels='x'.join(map(str, context.image_size)) + ', squashed',
                void='left out',
                rollout='attention rollout of all layers, a map of ours',
            )
        return rows


class Boxes(ObjectItem):
    """Whether a box around the attention finds the object."""

    name, about = 'boxes', 'share of images whose object a box of the attention finds'

    def measure(self, context: Context) -> list[Row]:
        """Return gt-known localisation, MaxBoxAcc and MaxBoxAccV2."""
        arrays, rows = measure_maps(context), []
        for which in MAPS:
            for mass in MASSES:
                key = f'{which}/located@{mass}'
                setting = f'{MAP_TITLES[which]}, mass {mass}'
                rows += paired_rows(
                    context, arrays, self.name, key, setting, 'gt-known %'
                )
        for network in context.networks:
            metrics = {}
            for name, title, column in (
                ('largest', 'MaxBoxAcc %', 'max_box_acc@0.5'),
                ('every', 'MaxBoxAccV2 %', 'max_box_acc'),
            ):
                correct = arrays[f'{network}/auto/{name}']
                known = correct[~np.isnan(arrays[f'{network}/auto/located@0.6'])]
                measure = MaxBoxAccuracy()
                for bits in known:
                    one = np.unpackbits(bits, count=measure.correct.size)
                    measure.add_correct(one.reshape(measure.correct.shape))
                metrics[title] = measure.compute()[column]
            setting = f'{MAP_TITLES["auto"]}, best threshold'
            rows.append(Row(self.name, setting, network, metrics, len(known)))
        for row in rows:
            row.protocol = dict(
                data=find_objects(context).source,
                threshold='gt-known by attention mass is a rule of ours; MaxBoxAcc '
                'takes the threshold that is best on these images',
                overlap='IoU 0.5; V2: mean of 0.3, 0.5, 0.7',
            )
        return rows


class Entropy(MeasuredItem):
    """Entropy of attention, layer by layer."""

    suite, name, alone = SUITE, 'entropy', True
    about = 'entropy of the attention of every layer, in bits'

    def missing(self, context: Context) -> str | None:
        """Return why attention cannot be read, or None."""
        try:
            inputs = context.networks[MODEL].normalise(context.first_batch(1).images)
            read_attention(context.classifiers[MODEL], inputs)
        except (InputError, UnsupportedError) as error:
            return str(error)
        return None

    def images(self, context: Context) -> int:
        """Return how many images are looked at."""
        return len(self._indices(context))

    def measure(self, context: Context) -> list[Row]:
        """Return the mean over heads of every layer; the heads are in the details."""
        indices, rows, details = self._indices(context), [], []
        found: dict[tuple[str, int], list] = {}
        for batch in context.loader(context.dataset, indices):
            images = batch.to(context.device).images
            for name, network in context.networks.items():
                inputs = network.normalise(images)
                layers = read_attention(context.classifiers[name], inputs)
                for layer, one in enumerate(layers, 1):
                    bits = attention_entropy(one.weights)
                    bits = bits.unflatten(0, (len(images), -1)).mean(dim=1)
                    found.setdefault((name, layer), []).append(bits.cpu())
        for (network, layer), parts in found.items():
            heads = torch.cat(parts).mean(dim=0).sort(descending=True).values
            protocol = dict(x=layer, x_label='layer', curve='')
            rows.append(
                Row(
                    self.name,
                    f'layer {layer}',
                    network,
                    {'bits': heads.mean().item()},
                    len(indices),
                    protocol=protocol,
                )
            )
            for place, value in enumerate(heads.tolist(), 1):
                details.append(
                    Row(
                        self.name,
                        f'layer {layer}, head {place} of falling entropy',
                        network,
                        {'bits': value},
                        len(indices),
                        detail=True,
                    )
                )
        return rows + details

    def _indices(self, context: Context) -> list[int]:
        limit = min(context.options.limit or ENTROPY_IMAGES, ENTROPY_IMAGES)
        return context.indices(len(context.dataset), limit)


MAP_TITLES = dict(auto='last attention', rollout='attention rollout')


def measure_maps(context: Context) -> dict[str, np.ndarray]:
    """Return arrays with a row for each image, for every network; measured once."""
    dataset = build_objects(context, squash=True)
    indices = context.indices(len(dataset))
    parts = context.parts('maps', context.chosen(['objects']), indices)
    own = context.own_share(indices, parts.saved_indices())
    with track('attention maps', len(own)) as count:
        for batch in context.loader(dataset, own):
            images = batch.to(context.device).images
            truths = [dataset[index]['data_samples'] for index in batch.indices]
            arrays: dict[str, list] = {}
            for name, network in context.networks.items():
                inputs = network.normalise(images)
                for which in MAPS:
                    maps = attention_map(context.classifiers[name], inputs, which)
                    for one, truth in zip(maps.cpu(), truths):
                        for key, value in judge(one, truth):
                            arrays.setdefault(f'{name}/{which}/{key}', []).append(value)
            stacked = {key: np.array(values) for key, values in arrays.items()}
            grid = np.array(maps.shape[-2:])
            parts.add(
                batch.indices, dict(stacked, grid=np.tile(grid, (len(images), 1)))
            )
            count(len(images))
    parts.save()
    dist.barrier()
    return parts.collect()


def judge(maps: torch.Tensor, truth: DataSample) -> Iterator[tuple[str, object]]:
    """Yield the measures (name, value) of one image's maps (heads, h, w)."""
    boxes, size = np.asarray(truth.object_boxes), truth.img_shape
    for mass in MASSES:
        if 'gt_seg_map' in truth:
            labels = np.asarray(truth.gt_seg_map)
            for kind, value in mask_jaccard(maps, labels, mass)._asdict().items():
                yield f'{kind}@{mass}', value
        found = is_located(map_box(maps, size, mass), boxes) if len(boxes) else np.nan
        yield f'located@{mass}', float(found)
    if len(maps) == 1:  # rollout of all layers, without heads
        return
    scores = score_map(maps.mean(dim=0).numpy(), size)
    for name, every in (('largest', False), ('every', True)):
        measure = MaxBoxAccuracy(every=every)
        if len(boxes):
            measure.add(scores, boxes)
        yield name, np.packbits(measure.correct.astype(bool))


def paired_rows(
    context: Context,
    arrays: dict[str, np.ndarray],
    item: str,
    key: str,
    setting: str,
    metric: str,
) -> list[Row]:
    """Return rows with the mean of a value over images, and the paired difference."""
    networks: Sequence[str] = list(context.networks)
    values = {name: arrays[f'{name}/{key}'] for name in networks}
    known = ~np.isnan(next(iter(values.values())))
    if CONTROL in values:
        values[DIFFERENCE] = values[MODEL] - values[CONTROL]
    rows = []
    for name, own in values.items():
        own = 100 * own[known]
        error = own.std() / np.sqrt(len(own))
        rows.append(Row(item, setting, name, {metric: own.mean()}, len(own), error))
    return rows


ITEMS = (Jaccard(), Boxes(), Entropy())
