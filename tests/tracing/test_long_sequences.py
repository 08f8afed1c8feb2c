"""Nothing of tokens times tokens is stored, however long the sequence is."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from tools.benchmarks.peak_memory import peak_bytes
from tools.benchmarks.step.measuring import Case
from tools.benchmarks.step.models import Network
from tools.benchmarks.step.steps import Batch, make_step

TOKENS = 64 * 64 + 1
ONE_MAP = 4 * TOKENS**2  # of one head of one image, in float32
ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
VIT = dict(type='VisionTransformer', arch=ARCH, img_size=128, patch_size=2)


def peak(variant, precision, attention):
    """Bytes that a training step of 4,097 tokens holds at most."""
    init_default_scope('mmpretrain')
    case = Case('vit', 128, TOKENS, 2, 'step', precision, attention, 1, 'cpu')
    batch = Batch(2, 128, 'cpu')
    step = make_step(Network(VIT, patch=2), variant, batch, case)
    np.random.seed(0)
    batch.renew()
    return peak_bytes(step)


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
@pytest.mark.parametrize('attention', ['stock', 'auto'])
def test_no_map_is_stored(precision, attention):
    peaks = {v: peak(v, precision, attention) for v in ('control', 'tlalign')}
    assert peaks['tlalign'] < ONE_MAP / 2
    assert peaks['tlalign'] < 1.25 * peaks['control']
    assert peak('transmix', precision, attention) < ONE_MAP / 2


def test_explicit_attention_stores_maps():
    assert peak('tlalign', 'fp32', 'explicit') > ONE_MAP
