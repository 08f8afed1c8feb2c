"""Parts for test_distributed.py that the training processes import."""

import json
import os.path as osp

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmtlalign.mixing.token_mix import TokenCutMix
from mmtlalign.registry import BATCH_AUGMENTS


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
    """TokenCutMix whose partners are those that two processes would find.

    mmengine deals the samples of a global batch out in turn: process r of 2
    gets the samples r, r + 2, r + 4, … and flips them among themselves.
    """

    def _draw_partner(self, batch, device):
        order = torch.arange(batch, device=device).view(-1, 2)
        return order.flip(0).flatten()
