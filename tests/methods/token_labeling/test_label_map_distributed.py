"""Each image meets its own map: in data loaders of two processes, and in training.

Images say in their colours who they are and where; so do their maps.
"""

import json
import multiprocessing

import cv2
import numpy as np
import pytest
import torch
from label_map_files import metadata_of
from mmengine.dist import get_rank
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch.nn.functional import interpolate

from mmtlalign.methods.token_labeling.geometry import LabelMap
from mmtlalign.methods.token_labeling.store import create_store
from tools.dataset_converters.label_maps.images import list_images

IMAGES, GRID, TOKENS = 14, (18, 18), (4, 4)
DOWN, RIGHT = IMAGES, IMAGES + 1  # classes that say where
K = IMAGES + 2
FORK = multiprocessing.get_context('fork')


def places(rows, columns):
    """Shares of the height and of the width at the middles of cells."""
    down, right = ((np.arange(n) + 0.5) / n for n in (rows, columns))
    return np.broadcast_arrays(down[:, None], right[None])


@pytest.fixture(params=[(64, 64), (60, 96)], ids=['square', 'not square'])
def root(request, tmp_path):
    """Images and maps; the last image has no map."""
    for number in range(IMAGES):
        file = tmp_path / 'images' / f'class{number % 2}' / f'{number:02d}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        who = np.full(request.param, number * 10)
        where = [255 * share for share in places(*request.param)]
        cv2.imwrite(str(file), np.stack([who, *where], axis=-1).astype(np.uint8))
    names = list_images(tmp_path / 'images')[:-1]
    metadata = metadata_of(names, num_classes=K, grid=GRID, topk=3)
    store = create_store(tmp_path / 'maps', metadata, names)
    for shard in range(metadata.shards):
        store.write(shard, [map_of(name) for name in store.shard_names(shard)])
    return tmp_path


def map_of(name):
    number = int(name[-6:-4])
    values = np.stack([np.full(GRID, 5.0), *places(*GRID)]).astype(np.float16)
    indices = np.stack([np.full(GRID, k) for k in (number, DOWN, RIGHT)])
    return LabelMap(values, indices)


def loader_of(root, **options):
    steps = [
        dict(type='LoadImageFromFile'),
        dict(
            type='mmtlalign.LoadLabelMap',
            root=str(root / 'maps'),
            image_root=str(root / 'images'),
            num_classes=K,
            missing='skip',
        ),
        dict(type='mmtlalign.FlipWithMap', prob=0.5),
        dict(type='mmtlalign.RandomResizedCropWithMap', scale=32),
        dict(type='mmtlalign.PoolLabelMap', size=TOKENS, num_classes=K),
        dict(type='PackInputs', algorithm_keys=('gt_label_map', 'gt_map_label')),
    ]
    dataset = dict(type='CustomDataset', data_root=str(root / 'images'), pipeline=steps)
    sampler = dict(type='DefaultSampler', shuffle=True)
    loader = dict(num_workers=0, dataset=dataset, sampler=sampler, **options)
    return Runner.build_dataloader(loader, seed=0)


def check_sample(image, sample):
    """The number of the image; raises where image and map do not belong together."""
    number = int(sample.img_path[-6:-4])
    shown = image.float()
    assert shown[0].unique().tolist() == [number * 10]
    who, where = sample.gt_label_map[:IMAGES], sample.gt_label_map[IMAGES:]
    assert (torch.as_tensor(who).argmax(0) == number).all()
    assert int(torch.as_tensor(sample.gt_map_label[:IMAGES]).argmax()) == number
    expected = interpolate(shown[None, 1:] / 255, TOKENS, mode='area')[0]
    # A map knows no better than its outermost cells.
    torch.testing.assert_close(torch.as_tensor(where), expected, rtol=0, atol=0.03)
    return number


def process(root, rank):
    """Two epochs of one of two processes; what was seen goes into a file."""
    torch.set_num_threads(1)
    init_default_scope('mmpretrain')
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{root}/meeting', rank=rank, world_size=2
    )
    assert get_rank() == rank
    loader = loader_of(root, batch_size=3)
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        epochs.append(
            [
                check_sample(image, sample)
                for batch in loader
                for image, sample in zip(batch['inputs'], batch['data_samples'])
            ]
        )
    (root / f'{rank}.json').write_text(json.dumps(epochs))
    torch.distributed.destroy_process_group()


def test_two_processes(root):
    processes = [FORK.Process(target=process, args=(root, i)) for i in range(2)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(100)
        assert one.exitcode == 0
    seen = [json.loads((root / f'{i}.json').read_text()) for i in range(2)]
    for epoch in range(2):
        both = seen[0][epoch] + seen[1][epoch]
        assert len(seen[0][epoch]) == len(seen[1][epoch]) == IMAGES // 2
        # All with a map, and another in the place of the one without.
        assert set(both) == set(range(IMAGES)) - {without(root)}
    assert seen[0][0] != seen[0][1]


def without(root):
    return int(list_images(root / 'images')[-1][-6:-4])


def test_batch_of_one_trains(root):
    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(
                type='mmtlalign.LVViT',
                arch=dict(
                    embed_dims=16,
                    num_layers=1,
                    num_heads=2,
                    feedforward_channels=16,
                    skip_lam=1,
                    stem_channels=4,
                ),
                img_size=32,
                patch_size=8,
                out_type='raw',
            ),
            head=dict(
                type='mmtlalign.TokenLabelClsHead', num_classes=K, in_channels=16
            ),
            train_cfg=dict(augments=[dict(type='mmtlalign.MixToken', patch_size=8)]),
        )
    )
    model.train()
    batch = next(iter(loader_of(root, batch_size=1)))
    assert len(batch['inputs']) == 1
    check_sample(batch['inputs'][0], batch['data_samples'][0])
    losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
    total = sum(losses.values())
    total.backward()
    assert set(losses) == {'loss_cls', 'loss_dense'} and torch.isfinite(total)
    assert all(p.grad is not None for p in model.head.parameters())
