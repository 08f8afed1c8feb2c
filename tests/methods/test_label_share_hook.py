"""The hook that logs TL-Align's shares in training: right, cheap, without effect."""

import json

import pytest
import torch
from contract_rows import ROWS
from mmengine.registry import init_default_scope
from no_sync import NoSync
from tiny_run import run_tool, write_config, write_images

from mmtlalign.errors import InputError
from mmtlalign.methods.label_share_hook import LabelShareHook
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.registry import MODELS
from mmtlalign.tracing.trace import MixTracer, trace_forward

MIXED = """
model['type'] = 'mmtlalign.MixClassifier'
model['head'] = dict(
    type='mmtlalign.TLAlignVisionTransformerClsHead', num_classes=2, in_channels=16,
)
model['train_cfg'] = dict(augments=[dict(type='mmtlalign.CutMix')])
default_hooks['logger'].update(interval=2)
"""
HOOK = "custom_hooks = [dict(type='mmtlalign.LabelShareHook')]\n"


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Train the tiny config with these lines at its end; all records of the run."""
    data = write_images(tmp_path / 'data')

    def run(name, text):
        work = tmp_path / name
        path = write_config(tmp_path, data, text)
        run_tool(monkeypatch, 'train', path, '--work-dir', work)
        (file,) = work.glob('*/vis_data/scalars.json')
        lines = map(json.loads, file.read_text().splitlines())
        return list(lines), torch.load(work / 'epoch_2.pth', weights_only=False)

    return run


def test_nothing_changes_but_the_records(train):
    plain, without = train('plain', MIXED)
    logged, found = train('logged', MIXED + HOOK)
    ours = [line for line in logged if 'label_share/area' in line]
    theirs = [line for line in logged if 'loss' in line]
    expected = [line['loss'] for line in plain if 'loss' in line]
    assert [line['loss'] for line in theirs] == expected
    for name, weight in without['state_dict'].items():
        assert torch.equal(found['state_dict'][name], weight), name
    # As often as the console: every second of eight iterations.
    assert [line['step'] for line in ours] == [2, 4, 6, 8]
    for line in ours:
        names = {f'label_{k}/layer_{i:02d}' for k in ('rmse', 'share') for i in (1, 2)}
        assert names < line.keys()
        assert all(0 <= line[name] <= 1 for name in names)
    assert any(line['label_rmse/layer_02'] > 0 for line in ours)


class Runner:
    """What the hook asks of mmengine's runner."""

    def __init__(self, model):
        self.model, self.hooks, self.iter = model, [], 0
        self.records = []
        self.visualizer = self

    def add_scalars(self, record, step):
        self.records.append((step, record))


@pytest.mark.parametrize(
    ('name', 'head'),
    [
        ('ViT', 'VisionTransformerClsHead'),
        ('Swin', 'LinearClsHead'),
        ('PVT', 'LinearClsHead'),
    ],
)
def test_records_are_the_figures_of_the_trace(name, head):
    init_default_scope('mmpretrain')
    neck = dict(type='GlobalAveragePooling') if name == 'Swin' else None
    width = {'ViT': 32, 'Swin': 64}.get(name, 64)
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(ROWS[name].config),
            neck=neck,
            head=dict(
                type=f'mmtlalign.TLAlign{head}', num_classes=4, in_channels=width
            ),
            train_cfg=None,
        )
    )
    hook, runner = LabelShareHook(interval=2), Runner(model)
    hook.before_train(runner)
    areas, layers = [], []
    for step in range(2):
        images = torch.randn(3, 3, *ROWS[name].size)
        mix = CutMix().mix(images, torch.eye(4)[:3])
        tracer = MixTracer(model.backbone, mix)
        with trace_forward(model.backbone, tracer), NoSync():
            model.backbone(mix.images)
        areas.append(mix.area())
        kept = [s[:, :, 0] for s in tracer.history]
        at = [
            s[:, 0] if p and hook.output == 'class' else s[:, p:].mean(1)
            for s, p in zip(kept, tracer.prefixes)
        ]
        layers.append(torch.stack(at))
        hook.after_train_iter(runner, step)
        runner.iter += 1
    hook.after_train(runner)
    assert not model.backbone._forward_hooks
    ((step, record),) = runner.records
    area, shares = torch.cat(areas), torch.cat(layers, dim=1)
    assert step == 2
    assert record['label_share/area'] == pytest.approx(area.mean().item(), abs=1e-6)
    rmse = (shares - area).square().mean(1).sqrt().tolist()
    ours = [record[f'label_rmse/layer_{i + 1:02d}'] for i in range(len(rmse))]
    assert ours == pytest.approx(rmse, abs=1e-6)
    ours = [record[f'label_share/layer_{i + 1:02d}'] for i in range(len(rmse))]
    assert ours == pytest.approx(shares.mean(1).tolist(), abs=1e-6)


def test_heads_without_shares_are_refused():
    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(ROWS['ViT'].config),
            head=dict(
                type='mmtlalign.TransMixVisionTransformerClsHead',
                num_classes=4,
                in_channels=32,
            ),
        )
    )
    with pytest.raises(InputError, match='traces no shares'):
        LabelShareHook().before_train(Runner(model))
    with pytest.raises(InputError, match='interval=0'):
        LabelShareHook(interval=0)
