"""A tiny EsViT on fixed views, for tests that train it; other processes import this."""

import itertools

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmpretrain.models.utils import ShiftWindowMSA
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

COUNT = itertools.count()
SIZES = (16, 16, 8, 8, 8)


@DATASETS.register_module()
class FixedViews(Dataset):
    """Views that are drawn once: image i has the same ones in every epoch."""

    def __init__(self, length=16, sizes=SIZES):
        draw = torch.Generator().manual_seed(5)
        self.views = [
            [torch.randn(3, size, size, generator=draw) for size in sizes]
            for _ in range(length)
        ]

    def __len__(self):
        return len(self.views)

    def __getitem__(self, index):
        return dict(inputs=self.views[index], data_samples=DataSample())


def model_settings(**changes):
    """A Swin of two stages, 4x4 and 2x2 regions of the two sizes, two small heads."""
    head = dict(
        type='mmtlalign.EsViTHead',
        in_channels=16,
        out_channels=12,
        hidden_channels=16,
        bottleneck_channels=8,
    )
    settings = dict(
        type='mmtlalign.EsViT',
        backbone=dict(
            type='SwinTransformer',
            arch=dict(embed_dims=8, depths=[1, 2], num_heads=[1, 2]),
            img_size=16,
            patch_size=2,
            window_size=4,
            drop_path_rate=0.0,
            pad_small_map=True,
            out_indices=(1,),
        ),
        head=head,
        region_head=head,
    )
    settings.update(changes)
    return settings


def settings(work_dir, batch=8, epochs=2, **changes):
    """A config of a whole run."""
    config = dict(
        default_scope='mmpretrain',
        experiment_name=f'esvit{next(COUNT)}',
        work_dir=str(work_dir),
        model=model_settings(),
        train_dataloader=dict(
            batch_size=batch,
            num_workers=0,
            drop_last=True,
            dataset=dict(type='FixedViews'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.1),
            paramwise_cfg=dict(flat_decay_mult=0.0),
        ),
        custom_hooks=[
            dict(
                type='mmtlalign.EsViTHook', momentum=0.9, warmup_teacher_temp_epochs=3
            ),
            dict(type='mmtlalign.TensorClipHook', max_norm=0.05),
        ],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1),
            logger=dict(type='LoggerHook', interval=1),
        ),
        randomness=dict(seed=3),
        log_level='ERROR',
    )
    config.update(changes)
    return Config(config)


def train(work_dir, **changes):
    """Train, and return the runner."""
    runner = Runner.from_cfg(settings(work_dir, **changes))
    runner.train()
    return runner


def windows_of(backbone: torch.nn.Module) -> list[tuple]:
    """Window, shift and rows of the bias table, for the last block of each stage."""
    found = []
    for stage in backbone.stages:
        attention = stage.blocks[-1].attn
        assert isinstance(attention, ShiftWindowMSA)
        table = attention.w_msa.relative_position_bias_table
        found.append((attention.window_size, attention.shift_size, len(table)))
    return found
