"""Checks of MaskMix and of progressive attention labels against MixPro's code."""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from golden_files import close
from golden_mixers import Batch, vit

from mmtlalign.mixing.token_mix import MaskMix


def check_maskmix(path):
    golden = Batch(path)
    meta = golden.meta
    augment = MaskMix(meta['alpha'], cell=meta['mask_patch'])
    golden.seed()
    draws = np.random.rand(), np.random.beta(meta['alpha'], meta['alpha'])
    assert draws == (golden['u'], golden['lam_beta'])
    golden.seed()
    mix = augment.mix(golden.images, golden.labels)
    close(mix.partner, golden['partner'], 0)
    grid = tuple(side // meta['patch'] for side in golden.size())
    close(mix.token_mask(grid), golden['mask_token'], 0)
    close(mix.images, golden['mixed'], 0)
    close(mix.area(), golden['area_visible'], 1e-6)

    model = vit(golden, 'TransMix', ratio='confidence')
    with model.head.trace(model.backbone, mix) as trace:
        feats = model.extract_feat(mix.images)
    close(trace.rows[:, 0, 1:], golden['attn'], 1e-5)
    scores = model.head.output_scores(feats)
    close(scores[0], golden['logits'], 1e-4)
    close(1 - trace.output_shares()[0], golden['lam_attn'], 1e-6)

    # The official share counts cells, ours the pixels that are seen: the same where
    # cells divide the image. Of the labels' smoothing the confidence alone knows.
    counted = 1 - torch.from_numpy(golden['lam_count'])
    cells = dataclasses.replace(mix, labels=golden.smooth(golden.labels))
    whole = all(side % meta['mask_patch'] == 0 for side in golden.size())
    assert whole == torch.allclose(counted, mix.area(), atol=1e-6)
    close(cells.target(counted), golden['target_area'], 1e-6)
    given = torch.from_numpy(golden['logits'])
    certain = model.head.confidence(given, cells.target(counted))
    close(certain, golden['sim'], 1e-6)
    attended = 1 - torch.from_numpy(golden['lam_attn'])
    close(1 - torch.lerp(counted, attended, certain), golden['lam'], 1e-6)

    # The head itself, with the labels as the confidence sees them.
    cells = dataclasses.replace(cells, mask=counted_mask(mix, counted))
    ((_, share),) = model.head.label_weights(cells, trace, scores)
    close(1 - share, golden['lam'], 1e-6)
    target = mix.target(share)
    loss = F.cross_entropy(scores[0], target)
    close(loss, golden['loss'], 1e-4)
    loss.backward()
    named = dict(model.named_parameters())
    keys = [k for k in golden.arrays.files if k.startswith('grad_detached/')]
    assert keys
    for key in keys:
        close(named[golden.name(key[14:])].grad, golden[key], 1e-4)

    for key, detach in (('', False), ('_detached', True)):
        model.head.detach = detach
        logits = given.clone().requires_grad_()
        ((_, share),) = model.head.label_weights(cells, trace, (logits,))
        F.cross_entropy(logits, mix.target(share)).backward()
        close(logits.grad, golden[f'loss_grad_logits{key}'], 1e-6)


def counted_mask(mix, share):
    """A mask of the same mean as the official count, for the head to read."""
    return share.view(-1, 1, 1, 1).expand(len(share), 1, *mix.images.shape[-2:])
