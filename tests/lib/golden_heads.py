"""Golden numbers of DHVT's head tokens, EsViT's queries, and pairs of images."""

import torch
from golden_esvit import Arrays
from golden_files import close

from mmtlalign.evaluation.attention_maps import LayerAttention
from mmtlalign.evaluation.head_tokens import figures_by_layer, head_token_maps
from mmtlalign.evaluation.regions import (
    attention_entropy,
    match_images,
    query_masks,
    sort_entropies,
)

NEAR = 1e-6


def check_heads(path):
    golden = Arrays(path)
    attention = golden['dhvt/attention_cls_patches_headtokens']
    grid = tuple(golden['dhvt/grid'].tolist())
    maps = head_token_maps(attention, grid)
    close(maps, golden['dhvt/head_token_map_mean_over_heads'], NEAR)
    maps = head_token_maps(attention, grid, own_head=True)
    close(maps, golden['dhvt/head_token_map_own_head'], NEAR)
    close(attention.mean(2), golden['dhvt/matrix_mean_over_heads'], NEAR)
    figures = figures_by_layer(attention, grid)
    close(figures.mass, golden['dhvt/mass_on_head_tokens_by_layer'], NEAR)
    close(figures.class_mass, golden['dhvt/mass_on_head_tokens_class_row'], NEAR)
    close(figures.distance, golden['dhvt/mean_attention_distance_by_layer'], NEAR)

    weights = golden['esvit/attention']
    masks = golden['esvit/query_mass60_mask']
    grid = tuple(masks.shape[-2:])
    layer = LayerAttention(weights[None], grid, prefix=0)
    for query, mask in zip(golden['esvit/query'].tolist(), masks):
        rows = layer.query_map(*divmod(query, grid[1]))[0]
        close(query_masks(rows, 0.6), mask, 0)
    bits = attention_entropy(weights)
    close(bits, golden['esvit/entropy_bits'], NEAR)
    falling, order = sort_entropies(bits)
    close(falling, golden['esvit/entropy_sorted_descending'], NEAR)
    close(order, golden['esvit/entropy_order'], 0)

    matches = match_images(golden['pair/features_1'], golden['pair/features_2'])
    close(matches.nearest, golden['pair/nearest_in_2'], 0)
    close(matches.similarity, golden['pair/similarity'], NEAR)
    close(matches.order, golden['pair/order_descending'], 0)
    close(matches.mutual, golden['pair/mutual'], 0)
    assert torch.equal(matches.best(3), matches.order[:3])
    assert matches.mutual[matches.best(5, mutual=True)].all()
