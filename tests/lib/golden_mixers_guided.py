"""Checks of the augments that ask a guide, against their official codes."""

import numpy as np
import torch
import torch.nn.functional as F
from golden_files import close
from golden_mixers import Batch, vit

from mmtlalign.methods.guides import OwnAttention
from mmtlalign.methods.pixel_guides import FineGrainedSaliency
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.salient import AttentiveCutMix, SaliencyMix, SMMix


def check_attentive(path):
    """The selection and the pasting, from maps that are given."""
    golden = Batch(path)
    cells = golden['saliency'].shape[1:]
    guide_output = GuideOutput(torch.from_numpy(golden['saliency']))
    augment = AttentiveCutMix(cells=cells, top_k=golden.meta['top_k'])
    partner = torch.from_numpy(golden['partner'])
    augment._draw_partner = lambda batch, device: partner
    mix = augment.mix(golden.images, golden.labels, guide=lambda *_: guide_output)
    high, wide = (side // n for side, n in zip(golden.size(), cells))
    if all(side % n == 0 for side, n in zip(golden.size(), cells)):
        close(mix.mask[:, 0, ::high, ::wide], golden['mask_cell'], 0)
    close(mix.images, golden['mixed'], 0)
    close(mix.area(), golden['share_area'], 1e-6)


def check_smmix(path):
    """The network's own attention, the windows, and the three terms of the loss."""
    golden = Batch(path)
    meta = golden.meta
    model = vit(golden, 'SMMix', head=dict(out_type='raw'))
    model.head.loss_module = SmoothLoss(golden.smooth)
    guide = OwnAttention()
    guide.bind(model)
    guide_output = guide(golden.images, golden.labels)
    close(guide_output.saliency.flatten(1), golden['saliency'], 1e-5)
    close(guide_output.scores, golden['logits_unmixed'], 1e-4)

    augment = SMMix(patch_size=meta['patch'])
    cells = min(guide_output.saliency.shape[1:])
    drawn = {augment.draw_side(cells) for _ in range(300)}
    assert drawn == set(range(meta['min_side'], meta['max_side'] + 1))
    side = int(golden['rect_side'])
    augment.draw_side = lambda cells: side
    mix = augment.mix(golden.images, golden.labels, guide=guide)
    grid = tuple(guide_output.saliency.shape[1:])
    close(mix.token_mask(grid), golden['mask_token'], 0)
    close(mix.images, golden['mixed'], 0)
    close(mix.source, meta['patch'] * golden['source_box'], 0)
    for mask, (top, bottom, left, right) in zip(mix.token_mask(grid), golden['box']):
        box = torch.zeros(grid)
        box[top:bottom, left:right] = 1
        close(mask.view(grid), box, 0)
    close(golden.smooth(mix.target(mix.area())), golden['target_area'], 1e-6)
    # Tokens that are pasted are those of the partner's own window.
    index = mix.token_source(grid)
    for i, source in enumerate(golden['source_box']):
        tokens = torch.arange(grid[0] * grid[1]).view(grid)
        part = tokens[source[0] : source[1], source[2] : source[3]].flatten()
        close(index[i][mix.token_mask(grid)[i] > 0], part, 0)

    with model.head.trace(model.backbone, mix) as trace:
        feats = model.extract_feat(mix.images)
    close(model.head(feats), golden['logits'], 1e-4)
    blend = torch.lerp(
        mix.guide_output.scores, mix.guide_output.scores.flip(0), mix.area()[:, None]
    )
    close(blend, golden['scores_mixed'], 1e-4)
    losses = model.head.loss(feats, None, mix, trace)
    close(losses['loss_cls'], golden['loss_cls'], 1e-4)
    close(losses['loss_fine'], golden['loss_fine'], 1e-4)
    close(losses['loss_consistency'], golden['loss_con'], 1e-4)
    loss = sum(losses.values())
    close(loss, golden['loss'], 1e-4)
    loss.backward()
    named = dict(model.named_parameters())
    keys = [k for k in golden.arrays.files if k.startswith('grad/')]
    assert keys
    for key in keys:
        close(named[golden.name(key[5:])].grad, golden[key], 1e-4)


class SmoothLoss(torch.nn.Module):
    """The soft cross-entropy of a file, with its smoothing."""

    def __init__(self, smooth):
        super().__init__()
        self.smooth = smooth

    def forward(self, score, target, weight=None, avg_factor=None):
        losses = F.cross_entropy(score, self.smooth(target), reduction='none')
        return (losses if weight is None else losses * weight).mean()


def check_saliency(path):
    """OpenCV's map, the box around its largest value, and the mixed batch."""
    golden = Batch(path)
    guide = FineGrainedSaliency(legacy_floats=True)
    guide_output = guide(golden.images, golden.labels)
    close(guide_output.saliency, golden['saliency_uint8'], 0)
    golden.seed()
    np.random.rand(1)
    assert (
        np.random.beta(golden.meta['beta'], golden.meta['beta']) == golden['lam_beta']
    )
    golden.seed()
    asked = []

    def once(images, labels):
        asked.append(len(images))
        return guide(images, labels)

    mix = SaliencyMix(golden.meta['beta']).mix(golden.images, golden.labels, guide=once)
    assert asked == [1]
    close(mix.partner, golden['partner'], 0)
    top, bottom, left, right = golden['box']
    box = torch.zeros(mix.mask.shape)
    box[..., top:bottom, left:right] = 1
    close(mix.mask, box, 0)
    close(mix.images, golden['mixed'], 0)
    close(1 - mix.area(), np.full(len(mix.images), golden['lam_own']), 1e-6)
