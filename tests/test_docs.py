"""Code in the documentation runs, and its links lead somewhere."""

import re

import pytest
import torch
from repository import ROOT

from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.attach import MixTracer, attach, trace_forward
from mmtlalign.tracing.support import KNOWN

PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def blocks():
    text = (ROOT / 'docs' / 'add_a_backbone.md').read_text()
    return re.findall(r'```python\n(.*?)```', text, re.DOTALL)


@pytest.fixture(scope='module')
def names():
    """The names of the page, after all of its code ran.

    What the page registers is forgotten afterwards: the toys are no backbones of
    this package.
    """
    names = {'__name__': 'toy'}
    with pytest.MonkeyPatch.context() as patch:
        for kind in ('families', 'attentions', 'helpers'):
            patch.setattr(KNOWN, kind, dict(getattr(KNOWN, kind)))
        for block in blocks():
            exec(block, names)
        yield names


@pytest.mark.parametrize('way', ['listened to', 'a seam', 'a twin'])
def test_registering_takes_less_than_30_lines(way):
    (block,) = [b for b in blocks() if b.startswith('# register') and way in b]
    assert len([line for line in block.splitlines() if line.strip()]) < 30


def test_add_a_backbone_page_traces_what_it_says(names):
    assert len(names['shares']) == 2
    assert names['shares'][0].shape == (4, 17, 1)


def pool_matrix():
    """(9, 17): a class token and sixteen others, of which two make one."""
    matrix = torch.zeros(9, 17)
    matrix[0, 0] = 1
    for cell in range(8):
        matrix[1 + cell, 1 + 2 * cell : 3 + 2 * cell] = 0.5
    return matrix


@pytest.mark.parametrize(
    'kind, pooling',
    [
        ('ToyAttention', torch.eye(17)),
        ('SeamAttention', torch.eye(17)),
        ('PooledAttention', pool_matrix()),
    ],
)
def test_toys_of_the_page_move_shares_as_their_attention_says(names, kind, pooling):
    backbone = names['ToyBackbone'](attention=names[kind])
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16, :8] = 1
    images = torch.randn(2, 3, 32, 32)
    mix = Mix(images, torch.eye(2), torch.tensor([1, 0]), mask)
    expected, before = share_of(backbone, mix, pooling), backbone(images)[0]
    attach(backbone)
    with trace_forward(backbone, MixTracer(backbone, mix)) as tracer:
        after = backbone(images)[0]
    torch.testing.assert_close(tracer.share, expected)
    torch.testing.assert_close(after, before)


def share_of(backbone, mix, pooling):
    tokens = backbone.patch(mix.images).flatten(2).mT
    tokens = torch.cat([backbone.cls_token.expand(2, -1, -1), tokens], dim=1)
    share = torch.cat([mix.area().view(2, 1, 1), mix.token_share((4, 4))], dim=1)
    for layer in backbone.layers:
        query, key, _ = layer.qkv(tokens).unflatten(-1, (3, 2, -1)).unbind(2)
        key = torch.einsum('kn,bnhd->bkhd', pooling, key)
        logits = torch.einsum('bqhd,bkhd->bhqk', query, key) / query.shape[-1] ** 0.5
        share = (share + logits.softmax(-1).mean(1) @ pooling @ share) / 2
        tokens = layer(tokens)
    return share.detach()


@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.name)
def test_links_and_paths_exist(page):
    text = page.read_text()
    links = [
        target.split('#')[0]
        for target in re.findall(r'\]\(([^)]+)\)', text)
        if '://' not in target
    ]
    paths = re.findall(r'`((?:configs|docs|mmtlalign|tests|tools)/[\w./-]+)`', text)
    for link in filter(None, links):
        assert (page.parent / link).exists(), link
    for path in paths:
        assert (ROOT / path).exists(), path
