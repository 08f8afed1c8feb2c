"""Maps that are stacked in the worker: the same losses, and who differs is named."""

import pickle

import pytest
import torch
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from token_label_heads import (
    GRID,
    SIZE,
    B,
    K,
    features,
    hard_labels,
    head_of,
    model_of,
    samples_of,
    train_cfg,
)

from mmtlalign.methods.token_labeling.targets import FIELDS, collate_label_maps


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def batch_of(samples):
    images = torch.randint(0, 255, (len(samples), 3, *SIZE), dtype=torch.uint8)
    return [dict(inputs=i, data_samples=s) for i, s in zip(images, samples)]


@pytest.mark.parametrize('topk', [None, 3])
@pytest.mark.parametrize('lacking', [(), (0, 2), tuple(range(B))])
def test_losses_are_the_same(topk, lacking):
    head, feats = head_of(missing='hard label'), features()
    samples, *_ = samples_of(topk, lacking=lacking)
    expected = head.loss(feats, samples)
    data = collate_label_maps(batch_of(samples))
    assert data['inputs'].shape == (B, 3, *SIZE)
    assert not any(field in sample for sample in samples for field in FIELDS)
    # As it comes from a worker, and as DistributedDataParallel hands it on.
    samples = list(pickle.loads(pickle.dumps(data['data_samples'])))
    torch.testing.assert_close(head.loss(feats, samples), expected, rtol=0, atol=0)


def test_step_looks_at_the_first_sample_alone():
    """However large the batch: no loop over samples is left in the loss."""
    model = model_of(train_cfg=train_cfg('MixToken', patch_size=8))
    samples = collate_label_maps(batch_of(samples_of(3)[0]))['data_samples']
    mix = model.mixer(torch.zeros(B, 3, *SIZE), hard_labels().float())
    with model.head.trace(model.backbone, mix) as seen:
        feats = features()
        expected = model.head.loss(feats, samples, mix, seen)
        first = [samples[0], *[None] * (B - 1)]
        losses = model.head.loss(feats, first, mix, seen)
    torch.testing.assert_close(losses, expected, rtol=0, atol=0)


def test_image_without_map_is_named():
    samples = collate_label_maps(batch_of(samples_of(3, lacking=[2])[0]))
    with pytest.raises(
        ValueError, match=r'pictures/2.png has no gt_label_map \(missing for 1'
    ):
        head_of(class_target='label').loss(features(), samples['data_samples'])


@pytest.mark.parametrize('axes', [dict(grid=(5, 5)), dict(topk=2)])
def test_image_whose_map_differs_is_named(axes):
    samples = samples_of(3)[0]
    samples[3] = samples_of(**dict(dict(topk=3), **axes))[0][3]
    with pytest.raises(ValueError, match=r'pictures/3.png has .* of shape'):
        collate_label_maps(batch_of(samples))


def test_batch_that_is_split_afterwards_is_refused():
    samples = collate_label_maps(batch_of(samples_of(3)[0]))['data_samples']
    with pytest.raises(ValueError, match=f'maps of {B} images for a batch of {B - 1}'):
        head_of().loss((features()[0][:-1],), samples[:-1])


@DATASETS.register_module()
class PackedSamples(torch.utils.data.Dataset):
    """Samples with maps, as PackInputs leaves them."""

    def __init__(self):
        torch.manual_seed(1)
        self.batch = batch_of(samples_of(3)[0])

    def __len__(self):
        return B

    def __getitem__(self, index):
        return self.batch[index]


@pytest.mark.parametrize('workers', [0, 1])
def test_training_step_from_a_config(workers):
    loader = Runner.build_dataloader(
        dict(
            batch_size=B,
            num_workers=workers,
            dataset=dict(type='PackedSamples'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='mmtlalign.collate_label_maps'),
        )
    )
    model = model_of(train_cfg=train_cfg('MixToken', patch_size=8)).train()
    (data,) = loader
    data = model.data_preprocessor(data, training=True)
    losses = model(**data, mode='loss')
    assert losses['loss_dense'] > 0
    # The labels are those of the samples: after mixing, too, each has its own.
    target = model.head.maps.tokens(data['data_samples'], hard_labels(), lambda _: None)
    torch.manual_seed(1)
    tokens = samples_of(3)[1]
    assert target.rest.shape == (B, GRID[0] * GRID[1])
    torch.testing.assert_close(target.dense(K).double(), tokens, rtol=1e-5, atol=1e-6)
