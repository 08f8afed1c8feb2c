"""Data samples with label maps, and the same maps with all columns."""

import torch
from mmpretrain.structures import DataSample
from torch.nn.functional import one_hot

# What the samples carry: one label for each token, one for the whole image.
FIELDS = ('gt_label_map', 'gt_map_label')


def label_samples(
    batch,
    classes,
    grid,
    topk=None,
    lacking=(),
    named=None,
    scores=True,
    integer=torch.int16,
):
    """Samples of images 0, 1, ..., whose maps are random logits.

    Args:
        topk: How many classes each label names. Defaults to None: all, not named.
        lacking: Images without maps.
        named: The classes that maps have, where not 0 to ``classes - 1``.
        scores: Whether samples have ``gt_score``, as ``MixClassifier`` needs.
        integer: Type of the classes.

    Returns:
        The samples, the labels of tokens (B, N, K) and of images (B, K) in float64,
        not of use for those that are lacking.
    """
    named = torch.arange(classes) if named is None else named
    samples = []
    maps, whole = torch.zeros(batch, classes, *grid), torch.zeros(batch, classes)
    for i in range(batch):
        sample = DataSample(metainfo=dict(img_path=f'pictures/{i}.png'))
        label = i % classes
        sample.set_gt_label(label)
        if scores:
            sample.set_gt_score(one_hot(torch.tensor(label), classes).float())
        for key, full, shape in zip(FIELDS, (maps, whole), (grid, ())):
            values = torch.rand(topk or len(named), *shape).half() * 5
            index = torch.arange(len(named)).view(-1, *[1] * len(shape))
            if topk:
                index = torch.rand(len(named), *shape).topk(topk, dim=0).indices
            index = named[index].expand(values.shape)
            if i not in lacking:
                sample.set_field(values, key)
                if topk:
                    sample.set_field(index.to(integer), f'{key}_index')
                full[i].scatter_(0, index % classes, values.float())
        samples.append(sample)
    return samples, maps.double().softmax(1).flatten(2).mT, whole.double().softmax(1)


def smooth(labels, smoothing, classes):
    """Labels of maps as the official code smooths them: their sum is 1 + s/K."""
    return labels * (1 - smoothing + smoothing / classes) + smoothing / classes


def official_samples(target, grid):
    """Samples with maps from the official layout (B, K, 2 + N): truth, map, tokens."""
    samples = []
    for true, whole, tokens in zip(target[..., 0], target[..., 1], target[..., 2:]):
        sample = DataSample().set_gt_score(true)
        sample.set_field(whole, 'gt_map_label')
        sample.set_field(tokens.unflatten(1, grid), 'gt_label_map')
        samples.append(sample)
    return samples
