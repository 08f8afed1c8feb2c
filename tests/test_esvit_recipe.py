"""The parts of the full recipe fit together: Swin-T, 224 and 96 pixels, 300 epochs."""

import torch
from golden_esvit import ROOT
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope

from mmtlalign.engine.config_check import load_config

RECIPE = f"""
_base_ = [
    '{ROOT}/configs/_base_/models/esvit_swin_tiny.py',
    '{ROOT}/configs/_base_/datasets/imagenet_224_multicrop.py',
    '{ROOT}/configs/_base_/schedules/esvit_300e.py',
    '{ROOT}/configs/_base_/runtime_cls.py',
]
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='mmtlalign.KNNHook',
        bank=_base_.knn_bank,
        queries=_base_.knn_queries,
        interval=10,
    ),
]
"""


def test_recipe_builds_and_makes_a_step(tmp_path):
    path = tmp_path / 'recipe.py'
    path.write_text(RECIPE)
    cfg = load_config(str(path))
    init_default_scope('mmpretrain')
    # 65,536 prototypes take a minute of memory traffic, and show nothing more.
    for head in (cfg.model.head, cfg.model.region_head):
        head.out_channels = 32
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.init_weights()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    hooks = [HOOKS.build(hook) for hook in cfg.custom_hooks]
    assert [type(hook).__name__ for hook in hooks] == [
        'EsViTHook',
        'TensorClipHook',
        'KNNHook',
    ]
    model.teacher_temp = 0.04
    size = [224] * 2 + [96] * 8
    raw = [torch.randint(0, 255, (1, 3, s, s), dtype=torch.uint8) for s in size]
    data = model.data_preprocessor(dict(inputs=raw, data_samples=[]), training=True)
    losses, log = model.parse_losses(model.loss(**data))
    losses.backward()
    halves = 0.5 * (log['view_term'] + log['region_term'])
    torch.testing.assert_close(log['loss'], halves)
    optimizer.step()
    model.after_step(0.996)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
