"""Pictures of labels: figures of the share in every token, and the microscope."""

import numpy as np

from mmtlalign.evaluation.microscope import (
    Page,
    collect_pairs,
    describe_config,
    write_page,
)
from mmtlalign.evaluation.microscope.source import known_classes
from mmtlalign.evaluation.mix_analysis import analyse_mix
from mmtlalign.evaluation.pictures import is_bgr
from tools.analysis_tools.share_figure import ShareRow, draw_shares
from tools.evaluation.context import Context
from tools.evaluation.labels import LabelItem, patch_side
from tools.evaluation.pairs import PairBatch, load_pairs
from tools.evaluation.rows import MODEL, Row

PICTURES = 4
PAIRS = 16


class PageItem(LabelItem):
    """Base of items that show some pairs."""

    count: int
    alone = True
    headline = None

    def images(self, context: Context) -> int:
        """Return how many pairs are shown."""
        return self.count

    def seconds(self, context: Context, forward: float) -> float:
        """Return the estimate."""
        return 1 + self.count * 4 * forward

    def batch(self, context: Context) -> PairBatch:
        """Return the first pairs."""
        first = [np.arange(self.count)]
        patch = patch_side(context)
        (batch,) = load_pairs(context, context.dataset, patch, first)
        return batch


class Microscope(PageItem):
    """The label microscope, one HTML file."""

    name, about = 'microscope', 'one page in which to see where labels go'
    count = PAIRS

    def measure(self, context: Context) -> list[Row]:
        """Write the page, and return the distance of its labels from the area."""
        batch = self.batch(context)
        model = context.classifiers[MODEL]
        mix, images = batch.mix(context.networks[MODEL], context.num_classes)
        geometry, pairs = collect_pairs(model, mix, images, bgr=is_bgr(context.dataset))
        about = dict(
            describe_config(context.cfg, model),
            mixer='TokenCutMix',
            weights=context.descriptions[MODEL],
            data='test images of the config',
        )
        names = known_classes(context.cfg, model, context.dataset)
        path = write_page(
            Page(geometry, pairs, names, about), context.out / 'microscope.html'
        )
        size = path.stat().st_size / 1e3
        row = Row(self.name, '', MODEL, {'page kB': size}, len(pairs))
        row.protocol = dict(page=path.name)
        return [row]


class Pictures(PageItem):
    """A figure like Fig. 5 of TL-Align: own, partner, mixed, and shares by layer."""

    name, about = 'pictures', "the partner's share in every token, as a figure"
    count = 8

    def measure(self, context: Context) -> list[Row]:
        """Draw the pairs whose labels are farthest from the area."""
        batch = self.batch(context)
        mix, _ = batch.mix(context.networks[MODEL], context.num_classes)
        found = analyse_mix(context.classifiers[MODEL], mix)
        apart = (found.share_by_layer[-1] - found.area).abs()
        chosen = apart.argsort(descending=True)[:PICTURES].tolist()
        pixels = (255 * batch.images).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        masks = batch.mask[:, 0, ..., None].cpu().numpy() > 0
        rows = []
        for index in chosen:
            own, partner = pixels[index], pixels[int(batch.partner[index])]
            rows.append(
                ShareRow(
                    own,
                    partner,
                    np.where(masks[index], partner, own),
                    float(found.area[index]),
                    [
                        found.maps(layer)[index].cpu().numpy()
                        for layer in range(len(found.shares))
                    ],
                    float(found.share_by_layer[-1, index]),
                )
            )
        (context.out / 'curves').mkdir(exist_ok=True)
        path = context.out / 'curves' / f'{self.name}.png'
        layers = [f'layer {n + 1}' for n in range(len(found.shares))]
        draw_shares(rows, layers, path)
        metrics = {'largest difference from the area': float(apart.max())}
        return [Row(self.name, '', MODEL, metrics, self.count)]


ITEMS = (Pictures(), Microscope())
