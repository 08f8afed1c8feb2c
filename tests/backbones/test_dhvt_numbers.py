"""DHVT against a transcription of the paper, and against slightly wrong DHVTs."""

import pytest
import torch
import torch.nn.functional as F
from dhvt_transcription import Transcription
from golden_dhvt import GoldenDHVT, mixed
from golden_files import HERE, close
from torch import nn

from mmtlalign.backbones.dhvt import DHVT
from mmtlalign.checkpoint.convert import convert
from mmtlalign.tracing.tracer import Tracer


@pytest.mark.parametrize('patch_size, size', [(2, 16), (4, 32), (16, 64)])
def test_equals_a_word_by_word_transcription(patch_size, size):
    written = Transcription(32, 3, 4, patch_size, 5)
    sizes = dict(embed_dims=32, num_layers=3, num_heads=4, feedforward_channels=128)
    ours = DHVT(sizes, patch_size)
    head = nn.Linear(32, 5)
    with torch.no_grad():
        for parameter in written.parameters():
            parameter.normal_(std=0.3)
    weights = convert(written.state_dict(), 'dhvt')
    ours.load_state_dict(
        {k[9:]: v for k, v in weights.items() if k.startswith('backbone.')}
    )
    head.load_state_dict(written.head.state_dict())
    images = torch.randn(4, 3, size, size)
    for mode in (True, False):
        ours.train(mode), written.train(mode)
        scores = head(ours(images)[0])
        torch.testing.assert_close(scores, written(images), atol=1e-4, rtol=1e-4)


def _tanh_gelu(model, monkeypatch):
    gelu = F.gelu
    monkeypatch.setattr(F, 'gelu', lambda x, **_: gelu(x, approximate='tanh'))


def _mean_without_class_token(model, monkeypatch):
    for layer in model.backbone.layers:
        tokens = layer.attn.head_tokens
        layer.attn.head_tokens = lambda x, tokens=tokens: tokens(x[:, 1:])


def _gelu_at_the_end_of_the_stem(model, monkeypatch):
    model.backbone.patch_embed.projection.append(torch.nn.GELU())


def _sigmoid_gate(model, monkeypatch):
    for layer in model.backbone.layers:
        layer.ffn.excite.register_forward_hook(lambda m, args, out: out.sigmoid())


def _unscaled_attention(model, monkeypatch):
    for layer in model.backbone.layers:
        layer.attn.scaled_dot_product_attention = lambda q, k, v, dropout_p: (
            F.scaled_dot_product_attention(q, k, v, scale=1)
        )


def _eps(part, value):
    def spoil(model, monkeypatch):
        for layer in model.backbone.layers:
            layer.get_submodule(part).eps = value

    return spoil


WRONG_DHVT = {
    'GELU by tanh': _tanh_gelu,
    'head tokens from patches alone': _mean_without_class_token,
    'GELU at the end of the stem': _gelu_at_the_end_of_the_stem,
    'gate with a sigmoid': _sigmoid_gate,
    'attention without its scale': _unscaled_attention,
    'eps 1e-6 in the head norm': _eps('attn.head_norm', 1e-6),
    'eps 1e-5 in the first norm': _eps('ln1', 1e-5),
    'eps 1e-3 in a batch norm': _eps('ffn.norm2', 1e-3),
}


@pytest.mark.parametrize('wrong', WRONG_DHVT)
def test_golden_separates_wrong_dhvts(wrong, monkeypatch):
    golden = GoldenDHVT(HERE / 'dhvt_cifar_patch4_a.npz')
    golden.model.eval()
    right = golden.logits(golden['x'])
    close(right, golden['eval/logits'], 5e-6)
    WRONG_DHVT[wrong](golden.model, monkeypatch)
    with pytest.raises(AssertionError):
        close(golden.logits(golden['x']), golden['eval/logits'], 5e-6)


@pytest.mark.parametrize('wrong', ['flat', 'heads dropped', 'patches alone'])
def test_golden_separates_wrong_traces(wrong):
    """Given the file's maps, rules that are slightly wrong miss the labels."""
    golden = GoldenDHVT(HERE / 'dhvt_tlalign_proposal_a.npz')
    heads, grid = golden.model.backbone.num_heads, int(golden['meta/grid'])
    # The second layer: before the first, the class token is at the mean anyway.
    begin = torch.from_numpy(golden['nested/blk0/labels'])
    merge = 'flat' if wrong == 'flat' else 'nested'
    tracer = Tracer(begin, (grid, grid), 1, 2, head_token_rule=merge)
    weights = torch.from_numpy(golden['blk1/attn_probs'])
    if wrong == 'flat':
        tracer.append_tokens(heads)
    elif wrong == 'heads dropped':
        weights = weights[..., :-heads, :-heads]
        weights = weights / weights.sum(-1, keepdim=True)
    else:  # the class token is not in the mean
        tracer.append_tokens(heads)
        mean = begin[:, 1:].mean(1, keepdim=True)
        tracer._keys = torch.cat([begin, mean.expand(-1, heads, -1)], dim=1)
    tracer.weigh(weights)
    with pytest.raises(AssertionError):
        close(tracer.share, golden['nested/blk1/labels'], 1e-5)


def test_transmix_looks_through_head_tokens():
    """The class token's look at a head token is a look at all tokens alike."""
    golden = GoldenDHVT(
        HERE / 'dhvt_tlalign_proposal_a.npz',
        type='mmtlalign.TransMixVisionTransformerClsHead',
    )
    golden.model.float().eval()
    backbone, head = golden.model.backbone, golden.model.head
    mix = mixed(golden, backbone.patch_size)
    with torch.no_grad(), head.trace(backbone, mix) as seen:
        golden.model.extract_feat(mix.images)
    weights = torch.from_numpy(golden['blk1/attn_probs']).mean(dim=1)[:, 0]
    tokens = weights.shape[1] - backbone.num_heads
    looks = weights[:, :tokens] + weights[:, tokens:].sum(1, keepdim=True) / tokens
    close(seen.rows[:, 0], looks, 1e-5)
    looks = looks[:, 1:] / looks[:, 1:].sum(1, keepdim=True)
    grid = 2 * (int(golden['meta/grid']),)
    partner = looks @ mix.token_share(grid)[0]
    (share,) = head.partner_shares(mix, seen)
    area = mix.area()
    # TransMix averages the look with the area of the box.
    close(share, (partner[:, 0] + area) / 2, 1e-5)
