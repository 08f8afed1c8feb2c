"""What the measurements of a traced forward share."""

import subprocess
import sys

import pytest
import torch
from repository import ROOT
from small_backbones import randomise, swin, vit

from mmtlalign.compat import hosts
from mmtlalign.evaluation.block_features import attention_blocks
from mmtlalign.evaluation.readers import StepTracer, backbone_of, read_forward
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.trace import token_grid
from mmtlalign.tracing.tracer import Tracer


def test_measurements_need_torch_alone():
    """Without any host, as with timm alone."""
    blocked = sorted({*hosts.HOSTS, 'mmengine', 'cv2'} - {'torch', 'timm'})
    names = (
        'attention_maps empty_box head_tokens label_shares mix_analysis presence '
        'regions visible_objects'
    ).split()
    code = (
        f'import sys, importlib; sys.modules.update(dict.fromkeys({blocked}))\n'
        f'for name in {names}: importlib.import_module("mmtlalign.evaluation." + name)'
    )
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


@pytest.mark.parametrize('make', [vit, swin])
def test_steps_move_the_share_as_the_tracer(make):
    backbone = randomise(make())
    backbone.eval()
    size = 32 if make is vit else 56
    images = torch.randn(2, 3, size, size)
    kept = []
    for kind in (Tracer, StepTracer):

        def tracer(context, kind=kind):
            grid = token_grid(backbone, (size, size))
            prefix = 1 if make is vit else 0
            torch.manual_seed(0)
            share = torch.rand(2, prefix + grid[0] * grid[1], 3)
            return kind(share, grid, prefix, context.attentions)

        kept.append(read_forward(backbone, images, tracer).history)
    for plain, steps in zip(*kept):
        torch.testing.assert_close(steps, plain)


def test_a_backbone_stays_as_it_was():
    backbone = vit()
    backbone.eval()
    model = torch.nn.Module()
    model.backbone = backbone
    assert backbone_of(model) is backbone and backbone_of(backbone) is backbone

    def wrong(context):
        raise RuntimeError('wrong')

    with pytest.raises(RuntimeError, match='wrong'):
        read_forward(model, torch.zeros(1, 3, 32, 32), wrong)
    assert not hasattr(backbone, 'trace_context')
    attach(backbone)
    with pytest.raises(RuntimeError, match='wrong'):
        read_forward(model, torch.zeros(1, 3, 32, 32), wrong)
    assert backbone.trace_context.reader is None


def test_blocks_are_found_whether_attached_or_not():
    for backbone in (vit(), swin()):
        attach(backbone)  # which loads what is known of attentions
        blocks = attention_blocks(backbone)
        layers = getattr(backbone, 'layers', None)
        expected = layers or [b for stage in backbone.stages for b in stage.blocks]
        assert blocks == list(expected)
