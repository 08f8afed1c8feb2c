"""k-NN by a loop, and the hook on a data set of three colours."""

import torch
from mmengine.registry import DATASETS
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset


def by_hand(queries, bank, labels, k, classes, temperature):
    best = []
    for query in queries:
        alike = torch.cosine_similarity(query[None], bank, dim=1)
        votes = torch.zeros(classes)
        for index in alike.argsort(descending=True)[:k]:
            votes[labels[index]] += (alike[index] / temperature).exp()
        best.append(votes.argmax())
    return torch.stack(best)


@DATASETS.register_module()
class Colours(Dataset):
    """Plain images of three colours with a little noise."""

    def __init__(self, seed, length=30, labelled=True):
        draw = torch.Generator().manual_seed(seed)
        self.labels = [index % 3 for index in range(length)]
        self.images = torch.randn(length, 3, 16, 16, generator=draw) / 4
        for image, label in zip(self.images, self.labels):
            image[label] += 2
        self.labelled = labelled

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        sample = DataSample()
        if self.labelled:
            sample.set_gt_label(self.labels[index])
        return dict(inputs=self.images[index], data_samples=sample)


def hook(**changes):
    loader = dict(
        batch_size=7,
        num_workers=0,
        collate_fn=dict(type='default_collate'),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    return dict(
        type='mmtlalign.KNNHook',
        bank=dict(loader, dataset=dict(type='Colours', seed=1)),
        queries=dict(
            loader,
            dataset=dict(
                type='Colours', seed=2, length=20, labelled=changes.pop('labels', True)
            ),
        ),
        ks=(3, 9),
        **changes,
    )
