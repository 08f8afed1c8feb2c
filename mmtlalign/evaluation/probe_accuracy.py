"""Accuracy of every learning rate of a linear probe."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from mmtlalign.registry import METRICS

__all__ = ['ProbeAccuracy']


@METRICS.register_module()
class ProbeAccuracy(BaseMetric):
    """Top-1 and top-5 of each linear layer, and the best of them.

    The best is chosen on the images that it is reported of, as the official linear
    evaluations of DINO and EsViT do: a sweep of many rates reads a little high.
    Top-5 is left out where there are no more than five classes.

    Reports in percent ``probe/top1_lr0.01`` and so on, ``probe/best_top1``, and
    ``probe/best_lr``, the rate of it.

    Args:
        collect_device (str): As in mmengine. Defaults to 'cpu'.
    """

    default_prefix = 'probe'

    def __init__(self, collect_device: str = 'cpu'):
        super().__init__(collect_device=collect_device)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep for each image where its class ranks at each rate."""
        for sample in data_samples:
            scores, label = sample['probe_scores'], sample['gt_label']
            mine = scores[:, label]
            above = (scores > mine).sum(dim=1)
            # What is as likely counts as above if it stands before.
            above += (scores == mine)[:, : int(label)].sum(dim=1)
            self.results.append((above.cpu(), sample['probe_rates'], scores.shape[1]))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Accuracies by name."""
        ranks = torch.stack([rank for rank, _, _ in results])
        _, rates, classes = results[0]
        found = {}
        for k in (1, 5) if classes > 5 else (1,):
            share = 100 * (ranks < k).double().mean(dim=0)
            found |= {f'top{k}_lr{r:g}': v for r, v in zip(rates, share.tolist())}
        best = max(rates, key=lambda rate: found[f'top1_lr{rate:g}'])
        return found | dict(best_top1=found[f'top1_lr{best:g}'], best_lr=best)
