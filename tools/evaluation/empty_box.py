"""The empty box: the share of a mixed label for an object that cannot be seen."""

import numpy as np
from mmengine import dist

from mmtlalign.evaluation.empty_box import compare_shares, describe_share
from mmtlalign.evaluation.mix_analysis import analyse_mix
from mmtlalign.evaluation.visible_objects import VisibleObjects, other_images
from tools.evaluation.context import Context
from tools.evaluation.labels import LabelItem, patch_side, traced_classifiers
from tools.evaluation.objects import build_objects, find_objects, masks_missing
from tools.evaluation.pairs import pair_batches
from tools.evaluation.rows import MODEL, Row
from tools.output import track

THRESHOLD = 0.05
RULES = {'tlalign': 'TL-Align', 'transmix': 'TransMix'}


class EmptyBox(LabelItem):
    """Label mass of objects that cannot be seen, under every rule."""

    name = 'empty-box'
    about = 'how much of the label names an object that cannot be seen'
    headline = 'TL-Align less CutMix'
    options = ('limit', 'pairs', 'objects')

    def missing(self, context: Context) -> str | None:
        """Return a message if there are no masks of objects or no tracing."""
        return masks_missing(context) or super().missing(context)

    def measure(self, context: Context) -> list[Row]:
        """Return each rule's phantom label mass, and its reduction from CutMix's."""
        dataset = build_objects(context, squash=False)
        arrays = self._shares(context, dataset)
        images, places = np.unique(arrays['own'], return_inverse=True)
        partner = np.searchsorted(images, arrays['partner'])
        masks = np.stack([self._mask(dataset, int(index)) for index in images])
        visible = VisibleObjects.from_images(masks, places, partner, arrays['box'])
        order = other_images(len(images))
        shuffled = VisibleObjects.from_images(
            masks[order], places, partner, arrays['box']
        )
        rows = [self._row('CutMix', MODEL, describe_share(visible, visible.area))]
        for network in traced_classifiers(context):
            for rule, title in RULES.items():
                share = arrays[f'{network}/{rule}'].astype(np.float64)
                found = self._row(title, network, describe_share(visible, share))
                other = describe_share(shuffled, share)['spearman_beyond_area']
                found.metrics['rank correlation, masks of other images'] = other
                rows.append(found)
                changes = compare_shares(
                    visible, share, visible.area, places, partner, THRESHOLD
                )
                for figure in FIGURES:
                    interval = changes[figure]
                    row = Row(
                        self.name,
                        f'{title} less CutMix',
                        network,
                        {f'{FIGURES[figure]}, points': 100 * interval.value},
                        int(visible.usable.sum()),
                    )
                    row.interval = (100 * interval.low, 100 * interval.high)
                    rows.append(row)
        rows[0].notes = [
            'Masks of objects are no attention: the background carries evidence too.',
            'The rank correlation beyond the area has no scale: look at random '
            'weights, at masks of other images, and at the slope.',
        ]
        for row in rows:
            row.protocol = dict(
                data=find_objects(context).source,
                visible=f'less than {THRESHOLD:.0%} of an object counts as not visible',
                intervals='bootstrap over images',
                definition='ours; no paper measures it',
            )
        return rows

    def _row(self, rule: str, network: str, found: dict[str, float]) -> Row:
        at = f'@{THRESHOLD:g}'
        metrics = {
            'phantom label mass %': 100 * found[f'phantom_mass{at}'],
            'RMSE to the ideal share': found['rmse_to_ideal'],
            'empty boxes %': 100 * found[f'empty_partner{at}'],
            "partner's share in them %": 100 * found[f'share_given_empty{at}'],
            'empty rests %': 100 * found[f'empty_own{at}'],
            'rank correlation with the ideal': found['spearman'],
            'rank correlation beyond the area': found['spearman_beyond_area'],
            'slope beyond the area': found['slope_beyond_area'],
        }
        return Row(self.name, rule, network, metrics, int(found['pairs']))

    def _shares(self, context: Context, dataset: object) -> dict[str, np.ndarray]:
        parts = context.parts(self.name, context.chosen(self.options))
        done = parts.saved_indices()
        total = context.options.pairs // context.processes
        with track(self.name, total) as count:
            for batch in pair_batches(context, dataset, patch_side(context), done):
                mix, _ = batch.mix(context.networks[MODEL], context.num_classes)
                arrays = dict(
                    own=batch.indices,
                    partner=batch.indices[batch.partner.cpu().numpy()],
                    box=batch.boxes,
                )
                for name, classifier in traced_classifiers(context).items():
                    found = analyse_mix(classifier, mix)
                    shares = found.share_by_layer[-1], found.transmix_by_layer[-1]
                    for rule, share in zip(RULES, shares):
                        arrays[f'{name}/{rule}'] = share.cpu().numpy()
                parts.add(batch.numbers, arrays)
                count(len(batch.numbers))
        parts.save()
        dist.barrier()
        return parts.collect()

    def _mask(self, dataset: object, index: int) -> np.ndarray:
        return np.asarray(dataset[index]['data_samples'].object_mask, bool)


FIGURES = dict(
    phantom_mass='phantom label mass', rmse_to_ideal='RMSE to the ideal share'
)
ITEMS = (EmptyBox(),)
