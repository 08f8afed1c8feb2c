"""Golden numbers of label shares: by layer, RMSE, TransMix by layer, similarity."""

import torch
import torch.nn.functional as F
from golden_esvit import Arrays
from golden_files import close

from mmtlalign.evaluation.label_shares import (
    label_distance,
    share_errors,
    similarity_cosine,
    similarity_projection,
    total_variation,
)
from mmtlalign.tracing.attention_readers import attention_share, transmix_share
from mmtlalign.tracing.tracer import Tracer

NEAR = 1e-5


def check_labels(path):
    golden = Arrays(path)
    heads, grid = golden['attention_heads'], tuple(golden['grid'].tolist())
    mask = golden['token_mask_partner'].float()
    area = golden['share_partner_area']
    close(mask.mean(1), area, NEAR)

    start = torch.cat([mask.mean(1, keepdim=True), mask], dim=1)
    tracer = Tracer(start[..., None], grid, 1, len(heads))
    for weights in heads:
        tracer.weigh(weights)
    shares = torch.stack([start, *(s[..., 0] for s in tracer.history)])
    close(shares, golden['share_partner_layers'], NEAR)
    close(total_variation(list(shares)), golden['total_variation_tokens'], NEAR)

    own, partner = labels(golden, 'own'), labels(golden, 'partner')
    close(mixed(own, partner, area), golden['target_cutmix'], NEAR)
    at_output = {'class': shares[..., 0], 'mean': shares[..., 1:].mean(-1)}
    for kind, share in at_output.items():
        close(share, golden[f'{kind}/share_by_layer'], NEAR)
        target = golden[f'{kind}/target_tlalign']
        close(mixed(own, partner, share[-1]), target, NEAR)
        errors = share_errors(share, area, label_distance(own, partner))
        close(errors.rmse_share, golden[f'{kind}/rmse_share_by_layer'], NEAR)
        close(errors.mean_abs, golden[f'{kind}/mean_abs_by_layer'], NEAR)
        close(errors.bias, golden[f'{kind}/bias_by_layer'], NEAR)
        vector = errors.rmse_vector
        close(vector, golden[f'{kind}/rmse_classvector_by_layer'], NEAR)
        summed = vector * own.shape[1] ** 0.5
        close(summed, golden[f'{kind}/rmse_classvector_sum_by_layer'], NEAR)

    attended = attention_share(heads.double().mean(2)[:, :, 0, 1:], mask)
    close(attended, golden['transmix/attention_share_by_layer'], NEAR)
    share = transmix_share(attended, area)
    close(share, golden['transmix/share_by_layer'], NEAR)
    rmse = share_errors(share, area, label_distance(own, partner)).rmse_share
    close(rmse, golden['transmix/rmse_share_by_layer'], NEAR)

    features = [golden[f'similarity/features_{x}'] for x in ('own', 'partner', 'mixed')]
    close(similarity_projection(*features), golden['similarity/projection'], NEAR)
    close(similarity_cosine(*features), golden['similarity/cosine'], NEAR)


def labels(golden, which):
    """Smoothed labels of one side, (B, K)."""
    classes, smoothing = int(golden['num_classes']), float(golden['smoothing'])
    one_hot = F.one_hot(golden[f'label_{which}'], classes).double()
    return one_hot * (1 - smoothing) + smoothing / classes


def mixed(own, partner, share):
    return torch.lerp(own, partner, share[:, None].double())
