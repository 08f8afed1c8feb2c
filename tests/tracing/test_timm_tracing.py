"""Which timm models trace, fused as they are, and what is said of the others.

Shares of every token are held to an oracle in test_tracing_contract.py.
"""

import copy
import re

import pytest
import timm
import torch
from conftest import needs_value_channels
from contract_rows.timm import ODD
from contract_steps import plain, random_loss, run, trace_images
from mmengine.registry import init_default_scope
from timm.models.vision_transformer import ParallelThingsBlock
from timm_parts import DEIT, SMALL, bare, build, mixed
from torch.utils._python_dispatch import TorchDispatchMode

from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.support import backbone_spec


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(patch_drop_rate=0.5), 'PatchDropout.*patch_drop_rate=0'),
        (dict(attn_layer='diff'), 'DiffAttention.*negative weights'),
        (dict(block_fn=ParallelThingsBlock), 'ParallelThingsBlock.*side by side'),
    ],
)
def test_what_moves_no_shares_is_refused_by_name(options, words):
    with pytest.raises(TypeError, match=words):
        attach(build(SMALL['vit'], **options))


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(global_pool='avg', pool_include_prefix=True), 'pool_include_prefix=True'),
        (dict(out_type='raw'), "out_type='raw'"),
        (dict(out_indices=(0, 1)), 'the last output must be 2'),
        (dict(type='TIMMBackbone', model_name=DEIT), 'average of the class and'),
        (
            dict(type='TIMMBackbone', features_only=True),
            'splits the timm model into parts',
        ),
    ],
)
def test_outputs_without_shares_are_refused(options, words):
    backbone = build(SMALL['vit'], **options)
    with pytest.raises(ValueError, match=words):
        backbone_spec(backbone).output(backbone)


def test_raw_timm_models_trace_too():
    model = bare(SMALL['vit'])
    assert backbone_spec(model).output(model) == 'class'
    shares = trace_images(model, mixed()).history
    backbone = build(SMALL['vit'])
    backbone.timm_model.load_state_dict(model.state_dict(), strict=False)
    for ours, theirs in zip(trace_images(backbone, mixed()).history, shares):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="global_pool='max'"):
        backbone_spec(model).output(bare(SMALL['vit'], global_pool='max'))


@pytest.mark.slow  # makes 180 models without memory
@pytest.mark.parametrize('file', ['vision_transformer', 'deit'])
def test_every_vit_of_timm_traces_or_says_why_not(file):
    refused = set()
    for name in timm.list_models(module=file):
        with torch.device('meta'):
            model = timm.create_model(name, depth=2, global_pool=None)
        attentions = 2
        try:
            family = backbone_spec(model)
            assert family.output(model) in ('class', 'mean')
            attach(model)
        except (TypeError, ValueError) as error:
            assert re.search('negative weights|side by side|pools with', str(error))
            refused.add(name)
        else:
            assert model.trace_context.attentions == attentions, name
    kinds = ('siglip', 'map_256', 'vit_d', '18x2', 'test_vit3')
    assert all(any(kind in name for kind in kinds) for name in refused), refused
    assert len(timm.list_models(module=file)) > len(refused) * 6


class Kernels(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))

    def fused(self):
        return [n for n in self.names if 'flash_attention' in n]


@pytest.fixture
def fused_windows():
    """timm leaves the windows of Swin unfused unless it is told not to."""
    timm.layers.set_fused_attn(True, experimental=True)
    yield
    timm.layers.set_fused_attn(True)


def step(backbone, mix, traced):
    with Kernels() as kernels:
        out = run(backbone, mix)[0] if traced else plain(backbone, mix.images)
        random_loss(out).backward()
    return kernels


@needs_value_channels
@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
@pytest.mark.parametrize('name', ['vit', 'distilled', 'pvt'])
def test_a_traced_step_calls_the_fused_kernel_no_more_often(name, dtype):
    backbone = build(SMALL[name]).train()
    with torch.autocast('cpu', dtype, enabled=dtype is not None):
        theirs = step(copy.deepcopy(backbone), mixed(), traced=False).fused()
        attach(backbone)
        ours = step(backbone, mixed(), traced=True).fused()
    assert len(theirs) == len(ours) == 6
    assert len([n for n in ours if 'backward' in n]) == 3
    assert backbone.trace_context.attentions == 3


@needs_value_channels
def test_windows_stay_fused(fused_windows):
    backbone = build(SMALL['swin'], **ODD).train()
    for name, parameter in backbone.named_parameters():
        # The kernel of a CPU refuses a bias that learns; those of GPUs do not.
        parameter.requires_grad_('bias_table' not in name)
    mix = mixed(ODD['img_size'])
    theirs = step(copy.deepcopy(backbone), mix, traced=False).fused()
    attach(backbone)
    ours = step(backbone, mix, traced=True)
    assert len(theirs) == 8
    assert len(ours.fused()) == 12
    assert not [n for n in ours.names if 'softmax' in n]


@pytest.mark.parametrize('name', ['vit', 'swin', 'pvt'])
def test_unfused_attention_gives_the_same_shares(name, fused_windows):
    options = ODD if name == 'swin' else {}
    mix = mixed(ODD['img_size'] if name == 'swin' else (32, 32))
    fused = build(SMALL[name], **options).eval()
    timm.layers.set_fused_attn(False)
    unfused = build(SMALL[name], **options).eval()
    for backbone in (fused, unfused):
        attentions = [m for m in backbone.modules() if hasattr(m, 'fused_attn')]
        assert {m.fused_attn for m in attentions} == {backbone is fused}
        for parameter in attentions[0].parameters():
            torch.nn.init.normal_(parameter)
    unfused.load_state_dict(fused.state_dict())
    ours, theirs = trace_images(fused, mix), trace_images(unfused, mix)
    assert len(ours.history) == len(theirs.history)
    for one, other in zip(ours.history, theirs.history):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize('name', ['vit', 'swin', 'pvt'])
def test_checkpointing_of_timm_changes_nothing(name):
    backbone = build(SMALL[name]).train()
    attach(backbone)
    again = copy.deepcopy(backbone)
    again.timm_model.set_grad_checkpointing()
    outs = []
    for network in (backbone, again):
        out, tracer = run(network, mixed())
        random_loss(out).backward()
        outs.append((out, tracer.share, [p.grad for p in network.parameters()]))
    torch.testing.assert_close(outs[0], outs[1], rtol=1e-4, atol=1e-5)


def test_1025_tokens_store_no_map():
    backbone = build(SMALL['vit'], img_size=256)
    attach(backbone)
    squares = []

    class Watch(Kernels):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = super().__torch_dispatch__(func, types, args, kwargs)
            for tensor in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(tensor, torch.Tensor) and tensor.ndim > 2:
                    squares.append(min(tensor.shape[-2:]))
            return out

    with Watch():
        run(backbone, mixed((256, 256)))[0].sum().backward()
    assert max(squares) < 1025
