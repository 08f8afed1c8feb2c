"""Label shares by layer, their distance from the area, and presence of tokens."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine import dist

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation import label_shares
from mmtlalign.evaluation.mix_analysis import MixAnalysis, analyse_mix
from mmtlalign.evaluation.presence import accumulated_presence, layer_presence
from mmtlalign.evaluation.presence import summarise as summarise_presence
from mmtlalign.evaluation.readers import backbone_of
from mmtlalign.tracing.attach import attached
from mmtlalign.tracing.support import backbone_spec
from tools.evaluation.context import Context
from tools.evaluation.items import MeasuredItem
from tools.evaluation.pairs import GROUP, PairBatch, pair_batches
from tools.evaluation.rows import MODEL, Row
from tools.output import track

SUITE = 'labels'
RANDOM = 'random weights'
RULES = {
    'tlalign': 'TL-Align',
    'transmix': 'TransMix',
    'token_area': 'Token Labeling',
    'cutmix': 'CutMix',
}
PRESENCE_IMAGES = 64
# Forward passes per pair: rules, similarities, and two for the batch before mixing.
FORWARDS = 4


class LabelItem(MeasuredItem):
    """Base of items on mixed pairs, for every network and for random weights."""

    suite, options = SUITE, ('limit', 'pairs')

    def missing(self, context: Context) -> str | None:
        """Return why labels cannot be traced, or None."""
        images = len(context.indices(len(context.dataset)))
        if images < GROUP:
            return f'{images} images, and pairs are drawn from {GROUP} or more'
        try:
            with attached(backbone_of(context.classifiers[MODEL])):
                return None
        except (UnsupportedError, InputError) as error:
            return str(error)

    def images(self, context: Context) -> int:
        """Return how many pairs are mixed."""
        return -(-context.options.pairs // GROUP) * GROUP

    def seconds(self, context: Context, forward: float) -> float:
        """Return the estimate; items of this kind share their forward passes."""
        return self.images(context) * FORWARDS * forward * 2 / len(ITEMS)


class Rmse(LabelItem):
    """RMSE between the traced share at the output and the area (TL-Align, Fig. 3)."""

    name, about = 'rmse', 'how far the labels that arrive are from the area'

    def measure(self, context: Context) -> list[Row]:
        """Return the RMSE of every network, by layer and by area."""
        arrays, rows = measure_pairs(context), []
        area, distance = _tensors(arrays, 'area', 'distance')
        protocol = dict(
            boxes='TokenCutMix, alpha 1, one a pair',
            conventions='rmse of shares; of label vectors it falls with the number of '
            'classes, and which one the paper has is not known',
        )
        details = []
        for network in traced_classifiers(context):
            (share,) = _tensors(arrays, f'{network}/share_by_layer')
            errors = label_shares.share_errors(share.T, area, distance)
            last = {name: values[-1].item() for name, values in _named(errors).items()}
            squares = (share[:, -1] - area).double().square()
            error = 100 * _rmse_error(squares)
            rows.append(
                Row(self.name, 'arrives', network, last, len(area), error, None)
            )
            for layer, value in enumerate(errors.rmse_share.tolist()):
                details.append(
                    Row(
                        self.name,
                        f'after layer {layer}',
                        network,
                        {'RMSE of shares %': 100 * value},
                        len(area),
                        protocol=dict(x=layer, x_label='layer', curve=''),
                    )
                )
            by_area = label_shares.errors_by_area(share[:, -1], area)
            for place, count in enumerate(by_area['count'].tolist()):
                if count:
                    low, high = by_area['edges'][place : place + 2].tolist()
                    details.append(
                        Row(
                            self.name,
                            f'area {low:.1f} to {high:.1f}',
                            network,
                            {
                                'RMSE of shares %': 100
                                * by_area['rmse_share'][place].item(),
                                'bias %': 100 * by_area['bias'][place].item(),
                            },
                            count,
                        )
                    )
        for row in rows:
            row.protocol = protocol
        rows[0].notes = [
            'A figure without its control says nothing: look at random weights, and at '
            'a network that was trained by CutMix (--control).'
        ]
        return rows + details


class RatioByLayer(LabelItem):
    """The partner's share at the output, layer by layer (TL-Align, Fig. 4)."""

    name = 'ratio-by-layer'
    about = "the partner's share at the output by layer, under every rule"

    def measure(self, context: Context) -> list[Row]:
        """Return the mean share under each rule after each layer."""
        arrays, rows = measure_pairs(context), []
        area = float(arrays['area'].mean())
        for network in traced_classifiers(context):
            shares = arrays[f'{network}/share_by_layer']
            transmix = arrays[f'{network}/transmix_by_layer']
            similar = arrays[f'{network}/similarity_by_layer']
            curves = {
                'TL-Align': shares.mean(axis=0),
                'CutMix': np.full(shares.shape[1], area),
                'TransMix': np.append(np.nan, transmix.mean(axis=0)),
                'token similarity': np.append(np.nan, similar.mean(axis=0)),
            }
            for curve, values in curves.items():
                for layer, value in enumerate(values):
                    if np.isfinite(value):
                        rows.append(
                            Row(
                                self.name,
                                f'{curve}, layer {layer}',
                                network,
                                {"partner's share %": 100 * value},
                                len(shares),
                                protocol=dict(x=layer, x_label='layer', curve=curve),
                                detail=True,
                            )
                        )
        last = [row for row in rows if row.protocol['x'] == shares.shape[1] - 1]
        for row in last:
            row.detail = False
        note = dict(
            transmix='its formula with the rows of every layer; official is the last',
            similarity='projection of the features, a definition of ours',
        )
        for row in rows:
            row.protocol.update(note)
        return last + [row for row in rows if row.detail]


class Similarity(LabelItem):
    """Agreement of each rule with the features (TL-Align, Fig. 4, as one number)."""

    name, about = 'similarity', 'correlation of each rule with the token features'

    def measure(self, context: Context) -> list[Row]:
        """Return Pearson's correlation of every rule with the token similarity."""
        arrays, rows = measure_pairs(context), []
        for network in traced_classifiers(context):
            for rule, title in RULES.items():
                sums = arrays[f'{network}/moments/{rule}'].sum(axis=0)
                value = label_shares.pearson_of(torch.from_numpy(sums))
                rows.append(
                    Row(
                        self.name,
                        title,
                        network,
                        {'correlation %': 100 * value},
                        len(arrays['area']),
                        protocol=dict(
                            similarity='projection on the features of own and partner '
                            'image, over all tokens and layers; the paper gives no '
                            'formula'
                        ),
                    )
                )
        return rows


class PresenceItem(LabelItem):
    """Presence of every token, by layer and accumulated (TL-Align, §3.2)."""

    alone = True
    name, about = 'presence', 'how much of each token is left in the outputs, by layer'

    def images(self, context: Context) -> int:
        """Return how many images are traced."""
        return len(self._indices(context))

    def seconds(self, context: Context, forward: float) -> float:
        """Return the estimate, with as many passes as the tokens need columns."""
        return self.images(context) * 8 * forward

    def measure(self, context: Context) -> list[Row]:
        """Return spread and extremes of the presence of every layer."""
        indices, rows = self._indices(context), []
        batches = context.loader(context.dataset, indices)
        values: dict[tuple[str, str, int], list] = {}
        for batch in batches:
            images = batch.to(context.device).images
            for network, classifier in traced_classifiers(context).items():
                inputs = context.networks[MODEL].normalise(images)
                for kind, function in (
                    ('layer', layer_presence),
                    ('accumulated', accumulated_presence),
                ):
                    for layer, step in enumerate(function(classifier, inputs), 1):
                        key = (network, kind, layer)
                        values.setdefault(key, []).append(step.mean_one().cpu())
        for (network, kind, layer), parts in values.items():
            figures = summarise_presence(torch.cat(parts))
            metrics = {
                'standard deviation %': 100 * figures['std'],
                'smallest': figures['min'],
                'largest': figures['max'],
                'tokens with less than 1/2, %': 100 * figures['below_half'],
                'tokens with more than 2, %': 100 * figures['above_two'],
            }
            rows.append(
                Row(
                    self.name,
                    f'{kind} {layer}',
                    network,
                    metrics,
                    len(indices),
                    detail=True,
                    protocol=dict(
                        x=layer,
                        x_label='layer',
                        curve=kind,
                        presence='column sums of the attention, scaled to a mean of 1; '
                        'accumulated over layers by the chain (I + A) / 2, a rule of '
                        'ours',
                    ),
                )
            )
        last = max(layer for *_, layer in values)
        for row in rows:
            row.detail = row.protocol['x'] != last
        return sorted(rows, key=lambda row: row.detail)

    def _indices(self, context: Context) -> list[int]:
        limit = min(context.options.limit or PRESENCE_IMAGES, PRESENCE_IMAGES)
        return context.indices(len(context.dataset), limit)


def traced_classifiers(context: Context) -> dict:
    """Return the classifiers whose labels are traced, and one with random weights."""
    found = dict(context.classifiers)
    if context.checkpoints[MODEL] is not None:
        found[RANDOM] = context.random_classifier
    return found


def patch_side(context: Context) -> int:
    """Return the side of a token in pixels, for the boxes."""
    backbone = backbone_of(context.classifiers[MODEL])
    return max(backbone_spec(backbone).patch(backbone))


def measure_pairs(context: Context) -> dict[str, np.ndarray]:
    """Return the results of every rule, a row for each pair; earlier ones are kept."""
    parts = context.parts('pairs', context.chosen(['limit', 'pairs']))
    done = parts.saved_indices()
    dataset, patch = context.dataset, patch_side(context)
    total = context.options.pairs // context.processes
    with track('pairs', total) as count:
        for batch in pair_batches(context, dataset, patch, done):
            parts.add(batch.numbers, analyse(context, batch))
            count(len(batch.numbers))
    parts.save()
    dist.barrier()
    return parts.collect()


def analyse(context: Context, batch: PairBatch) -> dict[str, np.ndarray]:
    """Return the results of every rule for the pairs, for every network."""
    arrays: dict[str, np.ndarray] = dict(
        own=batch.indices,
        partner=batch.indices[batch.partner.cpu().numpy()],
        box=batch.boxes,
    )
    mix, images = batch.mix(context.networks[MODEL], context.num_classes)
    for name, classifier in traced_classifiers(context).items():
        found = analyse_mix(classifier, mix, images, similarities=['projection'])
        arrays['area'], arrays['distance'] = _numpy(found.area, found.distance)
        arrays.update({f'{name}/{k}': v for k, v in _rows_of(found).items()})
    return arrays


def _rows_of(found: MixAnalysis) -> dict[str, np.ndarray]:
    by_layer = dict(
        share_by_layer=found.share_by_layer.T,
        transmix_by_layer=found.transmix_by_layer.T,
        similarity_by_layer=found.similarity_by_layer().T,
    )
    arrays = {name: values.cpu().numpy() for name, values in by_layer.items()}
    for rule, sums in found.moments.items():
        # Sums over the batch are in its first row, with zeros in the others.
        rows = np.zeros((len(found.area), len(sums)))
        rows[0] = sums.cpu().numpy()
        arrays[f'moments/{rule}'] = rows
    return arrays


def _numpy(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [tensor.cpu().numpy() for tensor in tensors]


def _tensors(arrays: dict[str, np.ndarray], *names: str) -> list[torch.Tensor]:
    return [torch.from_numpy(arrays[name]) for name in names]


def _named(errors: label_shares.ShareErrors) -> dict[str, torch.Tensor]:
    return {
        'RMSE of shares %': 100 * errors.rmse_share,
        'RMSE of label vectors %': 100 * errors.rmse_vector,
        'bias %': 100 * errors.bias,
        'mean difference %': 100 * errors.mean_abs,
    }


def _rmse_error(squares: torch.Tensor) -> float:
    """Return the standard error of a root mean square, to first order."""
    root = squares.mean().sqrt()
    error = squares.std() / len(squares) ** 0.5
    return (error / (2 * root)).item() if root > 0 else 0.0


ITEMS: Sequence[MeasuredItem] = (
    PresenceItem(),
    Rmse(),
    RatioByLayer(),
    Similarity(),
)
