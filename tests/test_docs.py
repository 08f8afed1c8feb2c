"""Code in the documentation runs, and its links lead somewhere."""

import re
from pathlib import Path

import pytest
import torch

from mmtlalign.mixing import Mix
from mmtlalign.tracing import attach, share_tracer, watch

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def test_add_a_backbone_page_runs_as_it_stands():
    text = (ROOT / 'docs' / 'add_a_backbone.md').read_text()
    names = {'__name__': 'toy'}
    for block in re.findall(r'```python\n(.*?)```', text, re.DOTALL):
        exec(block, names)
    assert len(names['shares']) == 2
    assert names['shares'][0].shape == (4, 17, 1)

    # The share of the toy is what its own attention says.
    backbone = names['ToyBackbone']()
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16, :8] = 1
    images = torch.randn(2, 3, 32, 32)
    mix = Mix(images, torch.eye(2), torch.tensor([1, 0]), mask)
    expected = share_of(backbone, mix)
    attach(backbone)
    with watch(backbone, share_tracer(backbone, mix)) as tracer:
        backbone(images)
    torch.testing.assert_close(tracer.share, expected)


def share_of(backbone, mix):
    tokens = backbone.patch(mix.images).flatten(2).mT
    tokens = torch.cat([backbone.cls_token.expand(2, -1, -1), tokens], dim=1)
    share = torch.cat([mix.area().view(2, 1, 1), mix.token_share((4, 4))], dim=1)
    for layer in backbone.layers:
        query, key, _ = layer.qkv(tokens).unflatten(-1, (3, 2, -1)).unbind(2)
        logits = torch.einsum('bqhd,bkhd->bhqk', query, key) / query.shape[-1] ** 0.5
        share = (share + logits.softmax(-1).mean(1) @ share) / 2
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
