"""Parts for test_distributed.py that the training processes import."""

import json
import os.path as osp

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmtlalign.engine.seeded_batches import STEP, seed_generators
from mmtlalign.mixing.augments import Drawn
from mmtlalign.mixing.token_mix import TokenCutMix
from mmtlalign.registry import BATCH_AUGMENTS

SEED = 0  # of the quickstart


@HOOKS.register_module()
class RecordLoss(Hook):
    """Append the loss of each step to ``loss_<rank>.jsonl``, in full precision."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        record = dict(loss=outputs['loss'].item(), size=len(data_batch['inputs']))
        path = osp.join(runner.work_dir, f'loss_{runner.rank}.jsonl')
        with open(path, 'a', encoding='utf-8') as file:
            file.write(json.dumps(record) + '\n')


@BATCH_AUGMENTS.register_module()
class InterleavedTokenCutMix(TokenCutMix):
    """TokenCutMix with the partners and boxes that two processes would draw.

    mmengine deals the samples of a global batch out in turn: process r of 2
    gets the samples r, r + 2, r + 4, … and flips them among themselves.
    """

    step = 0

    def _draw_partner(self, batch, device):
        order = torch.arange(batch, device=device).view(-1, 2)
        return order.flip(0).flatten()

    def draw_masks(self, size, lams, *given):
        own = super().draw_masks(size, lams, *given).mask
        # The second process has seeded this step by itself, and has chosen an augment.
        seed_generators(SEED, STEP, self.step, 1)
        np.random.choice([0, 1], p=[1.0, 0.0])
        other = super().draw_masks(size, self.draw_lams(1), *given).mask
        self.step += 1
        return Drawn(np.stack([own[0], other[0]] * 8))
