"""``mmtlalign.trace``: models in wrappers, and batches that do not fit."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from contract_steps import attached, mixed, stock
from torch import nn

import mmtlalign
from mmtlalign.errors import InputError, TraceError, UnsupportedError
from mmtlalign.tracing.attention_readers import attention_reader
from mmtlalign.tracing.trace import trace_forward


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('attach_first', [True, False])
def test_wrapped_models_are_traced_as_the_bare_one(attach_first, one_process):
    ours, mix = copy.deepcopy(stock('ViT')), mixed('ViT')
    ours.eval()  # which returns nothing
    with torch.no_grad(), mmtlalign.trace(ours, mix) as expected:
        ours(mix.images)
    if attach_first:
        mmtlalign.attach(ours)
    spread = nn.parallel.DistributedDataParallel(ours)
    compiled = torch.compile(ours, backend='eager')
    for wrapper in (compiled, spread, torch.compile(spread, backend='eager')):
        with torch.no_grad(), mmtlalign.trace(wrapper, mix) as tracer:
            wrapper(mix.images)
        torch.testing.assert_close(tracer.target(), expected.target())
        assert hasattr(ours, 'trace_context') == attach_first
    mmtlalign.detach(spread)
    assert not hasattr(ours, 'trace_context')
    with pytest.raises(UnsupportedError, match='trace and call its module'):
        mmtlalign.attach(nn.DataParallel(ours))


class Forwarding(nn.Module):
    """A wrapper that forwards attributes, as that of PEFT."""

    def __init__(self, model):
        super().__init__()
        self.inner = model

    def forward(self, images):
        return self.inner(images)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inner, name)


def test_a_wrapper_that_is_not_known_names_the_backbone_inside():
    inner, mix = copy.deepcopy(stock('timm ViT')), mixed('timm ViT')
    inner.eval()
    wrapper = Forwarding(inner)
    for call in (mmtlalign.attach, lambda one: mmtlalign.trace(one, mix).__enter__()):
        mmtlalign.attach(inner)
        with pytest.raises(UnsupportedError, match='trace its inner, and call'):
            call(wrapper)
        mmtlalign.detach(wrapper)  # is not attached: nothing
        with torch.no_grad(), mmtlalign.trace(inner, mix) as tracer:
            wrapper(mix.images)
        assert tracer.target().shape == mix.labels.shape
        mmtlalign.detach(inner)


def test_a_distilled_network_has_a_target_for_each_token_and_their_mean():
    ours, mix = attached('DeiT, distilled'), mixed('DeiT, distilled')
    ours.eval()
    with torch.no_grad(), mmtlalign.trace(ours, mix) as tracer:
        ours(mix.images)
    shares, both = tracer.partner_shares(), tracer.targets()
    assert len(both) == 2 and (shares[0] - shares[1]).abs().max() > 1e-4
    for share, target in zip(shares, both):
        assert torch.equal(target, mix.target(share))
    torch.testing.assert_close(tracer.target(), (both[0] + both[1]) / 2)


def test_register_tokens_are_no_outputs():
    ours = timm.create_model(
        'vit_tiny_patch16_224', img_size=32, depth=1, reg_tokens=4, num_classes=10
    )
    images, labels = torch.randn(2, 3, 32, 32), torch.eye(10)[:2]
    mix = mmtlalign.CutMix().mix(images, labels)
    with torch.no_grad(), mmtlalign.trace(ours, mix) as tracer:
        ours(mix.images)
    (share,) = tracer.partner_shares()
    assert torch.equal(share, tracer.output_shares('class')[0][:, 0])
    assert torch.equal(tracer.target(), mix.target(share))


@pytest.mark.parametrize('row', ['timm ViT', 'DeiT, distilled', 'Swin'])
def test_labels_of_transmix(row):
    """Those of the head, without OpenMMLab."""
    ours, mix = copy.deepcopy(stock(row)), mixed(row)
    ours.eval()
    with torch.no_grad(), mmtlalign.trace_attention(ours, mix, ratio=0.3) as trace:
        ours(mix.images)
    assert not hasattr(ours, 'trace_context')
    mmtlalign.attach(ours)
    reader = attention_reader(ours, mix, 'received' if row == 'Swin' else 'cls')
    with torch.no_grad(), trace_forward(ours, reader):
        ours(mix.images)
    shares = [0.3 * mix.area() + 0.7 * share for share in reader.output_shares()]
    targets = [mix.target(share) for share in shares]
    assert len(targets) == (2 if 'distilled' in row else 1)
    for found, wanted in zip(trace.targets(), targets, strict=True):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(trace.target(), sum(targets) / len(targets))
    with pytest.raises(InputError, match='ratio=2: give a number from 0 to 1'):
        mmtlalign.trace_attention(ours, mix, ratio=2).__enter__()


def test_labels_of_transmix_by_another_layer():
    ours, mix = attached('timm ViT'), mixed('timm ViT')
    ours.eval()
    found = []
    for layer in (0, -1):
        with torch.no_grad(), mmtlalign.trace_attention(ours, mix, layer=layer) as own:
            ours(mix.images)
        reader = attention_reader(ours, mix, layer=layer)
        with torch.no_grad(), trace_forward(ours, reader):
            ours(mix.images)
        (share,) = reader.output_shares()
        torch.testing.assert_close(own.partner_shares()[0], (mix.area() + share) / 2)
        found.append(share)
    assert (found[0] - found[1]).abs().max() > 1e-4
    with pytest.raises(InputError, match='layer=9: TIMMBackbone has attentions'):
        mmtlalign.trace_attention(ours, mix, layer=9).__enter__()


@pytest.mark.parametrize('row', ['timm ViT', 'Swin', 'PVT'])
@pytest.mark.parametrize('images', [1, 2])
def test_transmix_refuses_a_forward_of_another_batch(row, images):
    ours, mix = attached(row), mixed(row)
    with torch.no_grad(), mmtlalign.trace_attention(ours, mix) as trace:
        ours(mix.images[:images])
    with pytest.raises(TraceError, match=f'{images} images .* started for 3 with'):
        trace.target()


@pytest.mark.parametrize('kind', [mmtlalign.trace, mmtlalign.trace_attention])
def test_no_target_before_the_forward(kind):
    ours, mix = attached('ViT'), mixed('ViT')
    with kind(ours, mix) as trace:
        for read in (trace.target, trace.partner_shares):
            with pytest.raises(TraceError, match='has seen no forward pass'):
                read()
        ours(mix.images)
    assert trace.target().shape == mix.labels.shape


@pytest.mark.parametrize('row', ['ViT', 'Swin', 'PVT'])
@pytest.mark.parametrize('images', [1, 2])
def test_a_forward_of_another_batch_is_refused(row, images):
    ours, mix = copy.deepcopy(stock(row)), mixed(row)
    ours.eval()
    wrong = torch.cat([mix.images, mix.images])[:images]
    message = f'{images} images, but the trace was started for {len(mix.images)}: pass'
    with pytest.raises(TraceError, match=message):
        with mmtlalign.trace(ours, mix):
            ours(wrong)
    with torch.no_grad(), mmtlalign.trace(ours, mix):
        ours(mix.images)


@pytest.mark.parametrize(
    'row', ['ViT', 'timm ViT, any size', 'Swin, any size', 'PVT', 'ConvNeXt']
)
def test_a_forward_of_resized_images_is_refused(row):
    ours, mix = attached(row), mixed(row)
    ours.eval()
    with pytest.raises(TraceError, match='tokens .* as they are, not resized'):
        with torch.no_grad(), mmtlalign.trace(ours, mix):
            ours(F.interpolate(mix.images, scale_factor=2))
    with torch.no_grad(), mmtlalign.trace(ours, mix):
        ours(mix.images)


@pytest.mark.parametrize('layers', [-1, 3, 'last', [3], [-4], []])
def test_layers_that_there_are_not_are_refused(layers):
    ours, mix = attached('ViT'), mixed('ViT')
    with pytest.raises(InputError, match=r'layers=.*attentions 0 to 2 .* a list'):
        with mmtlalign.trace(ours, mix, layers=layers):
            pass


def test_blocks_that_are_removed_after_attach_need_attaching_anew():
    network = timm.create_model('vit_tiny_patch16_224', img_size=32, depth=3)
    mmtlalign.attach(network)
    network.prune_intermediate_layers([1])
    mix = mmtlalign.CutMix().mix(torch.randn(2, 3, 32, 32), torch.eye(2))
    with pytest.raises(TraceError, match='call mmtlalign.detach and attach again'):
        with mmtlalign.trace(network, mix):
            network(mix.images)
    mmtlalign.detach(network)
    mmtlalign.attach(network)
    with mmtlalign.trace(network, mix) as tracer:
        network(mix.images)
    assert len(tracer.history) == 2


def test_pixels_that_the_network_does_not_read_are_in_no_share():
    """Patches of 16 pixels, from the left and the top, read 64 of 72 pixels."""
    network = timm.create_model(
        'vit_tiny_patch16_224', img_size=72, depth=1, num_classes=2
    )
    images, partner = torch.randn(2, 3, 72, 72), torch.tensor([1, 0])
    mask = torch.zeros(1, 1, 72, 72)
    mask[..., 64:] = 1
    with mmtlalign.trace(
        network, mmtlalign.Mix(images, torch.eye(2), partner, mask)
    ) as tracer:
        network(images)
    assert not tracer.share.any()


def test_a_record_whose_parts_do_not_fit_is_refused():
    images, labels = torch.zeros(4, 3, 8, 8), torch.eye(4)
    partner, mask = torch.arange(4), torch.zeros(1, 1, 8, 8)
    for parts, message in (
        ((images, labels[:2], partner, mask), '4 images with 2 labels'),
        ((images, labels, partner[:3], mask), r'partners of shape \(3,\)'),
        ((images, labels, partner, mask.expand(2, -1, -1, -1)), 'one for each image'),
        ((images, labels, partner, mask[..., :4]), 'as large as the images'),
    ):
        with pytest.raises(InputError, match=message):
            mmtlalign.Mix(*parts)
