"""TransMix with the attention of another network, on several grids."""

import numpy as np
import torch
from golden_files import close
from golden_mixers import Batch
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.mixing.guides import GuideOutput


def check_external(path):
    golden = Batch(path)
    golden.seed()
    np.random.rand()  # Mixup or CutMix
    # Ours draws once more whether to mix: that number is given here.
    augment = CutMix()
    augment._draw_lam = lambda: np.random.beta(1.0, 1.0)
    mix = augment.mix(golden.images, golden.labels)
    top, bottom, left, right = golden['box']
    box = torch.zeros(mix.mask.shape)
    box[..., top:bottom, left:right] = 1
    close(mix.mask, box, 0)
    close(mix.images, golden['mixed'], 0)
    close(golden.smooth(mix.labels), golden['y1'], 1e-6)
    close(golden.smooth(mix.labels[mix.partner]), golden['y2'], 1e-6)
    close(golden.smooth(mix.target(mix.area())), golden['target_area'], 1e-6)

    init_default_scope('mmpretrain')
    head = MODELS.build(
        dict(
            type='mmtlalign.TransMixLinearClsHead',
            num_classes=golden.classes,
            in_channels=4,
        )
    )
    grids = golden.meta['grids']
    assert grids
    for cells in grids:
        maps = torch.from_numpy(golden[f'attn_{cells}']).view(-1, cells, cells)
        head.teacher = lambda images, labels, maps=maps: GuideOutput(maps)
        with head.trace(None, mix) as seen:
            pass
        ((_, share),) = head.label_weights(mix, seen, ())
        target = golden.smooth(mix.target(share))
        close(target, golden[f'target_{cells}'], 1e-6)
