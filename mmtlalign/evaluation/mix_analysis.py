"""Analysis of a mixed batch by all labelling rules, in one forward pass.

No attention matrix is stored: shares, TransMix's weights and the box itself are columns
of one trace that moves through the attention.

Shapes: ``B`` batch, ``L`` attentions, ``P`` special tokens, ``N`` image tokens, ``T``
both, ``D`` channels, ``K`` classes.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.evaluation import label_shares
from mmtlalign.evaluation.block_features import SIMILARITIES, comparing
from mmtlalign.evaluation.readers import (
    backbone_of,
    check_eval,
    output_of,
    read_forward,
)
from mmtlalign.evaluation.rule_tracer import TRACED, UNMOVED, RuleTracer
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.attach import attached, bare_model
from mmtlalign.tracing.attention_readers import transmix_share
from mmtlalign.tracing.propagate import Pair
from mmtlalign.tracing.tracer import at_output


@dataclass
class MixAnalysis:
    """Labels of one mixed batch by all rules.

    Attributes:
        area: Share of the partner by area, CutMix's rule (B,).
        distance: :func:`label_shares.label_distance` of the pairs (B,).
        output: ``'class'`` or ``'mean'``, the tokens that the network's output uses.
        share_by_layer: TL-Align's share at the output tokens (L + 1, B); index 0 is
            before the first layer, and TL-Align trains on the last. Before a late class
            token joins it is the mean over the image tokens.
        transmix_by_layer: TransMix's share from each attention (L, B); TransMix trains
            on the last. NaN before a late class token joins. Without a class token it
            is from the attention that tokens receive, an extension of ours.
        shares: TL-Align's share of every token after each attention, (B, T) each.
        areas: Share of the box in the same tokens, without tracing, (B, T) each, as
            Token Labeling uses it.
        start: Share of every token before the first layer (B, T).
        grids, prefixes: Token grid and number of special tokens of each.
        variation: :func:`label_shares.total_variation` of the tokens of the last grid
            (B, T), over the layers with this grid.
        similarity: Similarities of the tokens after each block, (B, T) each, by name.
            Empty if they were not requested.
        moments: By rule, :func:`label_shares.moments` of its shares of the image tokens
            with the first similarity, over tokens and layers.
    """

    area: Tensor
    distance: Tensor
    output: str
    share_by_layer: Tensor
    transmix_by_layer: Tensor
    shares: list[Tensor]
    areas: list[Tensor]
    start: Tensor
    grids: list[Pair]
    prefixes: list[int]
    variation: Tensor
    similarity: dict[str, list[Tensor]] = field(default_factory=dict)
    moments: dict[str, Tensor] = field(default_factory=dict)

    def similarity_by_layer(self, name: str = 'projection') -> Tensor:
        """Return a similarity at the output tokens (L, B), averaged over them."""
        pairs = zip(self.similarity[name], self.prefixes)
        return torch.stack([at_output(s, p, self.output) for s, p in pairs])

    def maps(self, layer: int) -> Tensor:
        """Return TL-Align's share of the image tokens after a layer (B, h, w)."""
        tokens = self.shares[layer][:, self.prefixes[layer] :]
        return tokens.unflatten(1, self.grids[layer])


def analyse_mix(
    model: nn.Module,
    mix: Mix,
    images: Tensor | None = None,
    ratio: float = 0.5,
    similarities: Iterable[str] = tuple(SIMILARITIES),
    **options: Any,
) -> MixAnalysis:
    """Run a network on a mixed batch and return its labels by all rules.

    Args:
        model: Backbone, or classifier with one; in eval mode. If it has a TL-Align
            head, the head's options are used, and the first output that it scores.
        mix: The mixed batch.
        images: The batch before mixing (B, 3, H, W), for the token similarities, which
            need a second forward pass. Defaults to None: no similarities.
        ratio: Weight of the area in TransMix's share.
        similarities: Names of :data:`SIMILARITIES`.
        **options: ``layers``, ``residual`` and ``head_token_rule`` of the tracer, in
            place of the head's.

    Raises:
        UnsupportedError: The backbone cannot be traced, or the outputs of its blocks
            are not token features.
        InputError: The model is in training mode, or the images do not fit.
    """
    backbone, head = backbone_of(model), getattr(bare_model(model), 'head', None)
    options = {**getattr(head, 'trace_options', {}), **options}
    output = output_of(model)
    check_eval(backbone)
    similarity: dict[str, list[Tensor]] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(attached(backbone))
        if images is not None:
            similarity = stack.enter_context(
                comparing(backbone, images, mix, similarities)
            )
        tracer = read_forward(
            backbone,
            mix.images,
            lambda context: RuleTracer(backbone, mix, output, **options),
            mix.apply_in_backbone(backbone),
        )
    area = mix.area()
    attended = torch.stack(tracer.attended)
    found = MixAnalysis(
        area=area,
        distance=label_shares.label_distance(mix.labels, mix.labels[mix.partner]),
        output=output,
        share_by_layer=torch.stack(tracer.at_output),
        transmix_by_layer=transmix_share(attended, area, ratio),
        start=tracer.start,
        shares=[share[..., TRACED] for share in tracer.history],
        areas=[share[..., UNMOVED] for share in tracer.history],
        grids=tracer.grids,
        prefixes=tracer.prefixes,
        variation=tracer.variation,
        similarity=similarity,
    )
    found.moments = _rule_moments(found, mix)
    return found


def summarise(analyses: Iterable[MixAnalysis]) -> dict[str, Any]:
    """Return summary statistics of many mixed batches of one network.

    Args:
        analyses: Processed one by one, so that a generator holds only one in memory.

    Returns:
        ``pairs`` (their number); ``area`` (mean); by layer, from before the first,
        ``share`` (mean), ``rmse_share``, ``rmse_vector``, ``bias``, ``mean_abs``; by
        attention ``transmix`` (mean) and ``transmix_rmse_share``; ``by_area``, the
        errors of the share at the output (:func:`label_shares.errors_by_area`); and if
        they were measured ``similarity``, means by layer for each name, and
        ``correlation``, Pearson's correlation of each rule with the first similarity
        over tokens, layers and images.
    """
    shares, rows, areas, distances = [], [], [], []
    sums: dict[str, Tensor] = {}
    similarity: dict[str, list[Tensor]] = {}
    for one in analyses:
        shares.append(one.share_by_layer.cpu())
        rows.append(one.transmix_by_layer.cpu())
        areas.append(one.area.cpu())
        distances.append(one.distance.cpu())
        for name, value in one.moments.items():
            sums[name] = sums.get(name, 0) + value.cpu()
        for name in one.similarity:
            values = one.similarity_by_layer(name).cpu()
            similarity.setdefault(name, []).append(values)
    if not shares:
        raise InputError('There is no mixed batch to summarise: give one or more.')
    share, row = torch.cat(shares, dim=1), torch.cat(rows, dim=1)
    area, distance = torch.cat(areas), torch.cat(distances)
    errors = label_shares.share_errors(share, area, distance)
    by_area = label_shares.errors_by_area(share[-1], area)
    found: dict[str, Any] = dict(
        pairs=len(area),
        area=area.double().mean().item(),
        share=share.double().mean(dim=1).tolist(),
        **{name: values.tolist() for name, values in errors._asdict().items()},
        transmix=row.double().mean(dim=1).tolist(),
        transmix_rmse_share=label_shares.share_errors(
            row, area, distance
        ).rmse_share.tolist(),
        by_area={name: values.tolist() for name, values in by_area.items()},
    )
    if similarity:
        found['similarity'] = {
            name: torch.cat(parts, dim=1).double().mean(dim=1).tolist()
            for name, parts in similarity.items()
        }
        found['correlation'] = {
            name: label_shares.pearson_of(value) for name, value in sums.items()
        }
    return found


def _rule_moments(found: MixAnalysis, mix: Mix) -> dict[str, Tensor]:
    """Return moments of every rule's image token shares with the first similarity."""
    if not found.similarity:
        return {}
    # An image that is its own partner has no defined share.
    other = mix.partner != torch.arange(len(mix.partner), device=mix.partner.device)
    sums: dict[str, Tensor] = {}
    similarities = next(iter(found.similarity.values()))
    for layer, similarity in enumerate(similarities):
        image = slice(found.prefixes[layer], None)
        true = similarity[other, image]
        rules = dict(
            tlalign=found.shares[layer][other, image],
            token_area=found.areas[layer][other, image],
            cutmix=found.area[other, None].expand_as(true),
            transmix=found.transmix_by_layer[-1, other, None].expand_as(true),
        )
        for name, share in rules.items():
            sums[name] = sums.get(name, 0) + label_shares.moments(share, true)
    return sums
