"""The parts of the full recipe fit together: Swin-T, 224 and 96 pixels, 300 epochs."""

import pytest
import torch
from golden_esvit import ROOT
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope

from mmtlalign.engine.config_check import load_config

CONFIGS = sorted((ROOT / 'configs/esvit').glob('*_in1k.py'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_recipe_builds_and_makes_a_step(path):
    cfg = load_config(str(path))
    init_default_scope('mmpretrain')
    # 65,536 prototypes take a minute of memory traffic, and show nothing more.
    heads = [h for h in (cfg.model.head, cfg.model.region_head) if h is not None]
    for head in heads:
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
    expected = log['view_term']
    if len(heads) > 1:
        expected = 0.5 * (expected + log['region_term'])
    torch.testing.assert_close(log['loss'], expected)
    optimizer.step()
    model.after_step(0.996)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
