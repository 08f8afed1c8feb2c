"""Links, paths, names and commands of the documentation exist, and its code runs."""

import importlib
import pkgutil
import re
import types

import pytest
import timm
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from repository import ROOT

import mmtlalign
from mmtlalign import registry
from mmtlalign.compat.renamed import RENAMED
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.support import KNOWN
from mmtlalign.tracing.trace import MixTracer, trace_forward
from tools.dataset_converters.prepare import DATA_SETS

DOCS = ROOT / 'docs'
PAGES = [
    *(ROOT / name for name in ('CONTRIBUTING.md', 'CHANGELOG.md')),
    *sorted(ROOT.glob('README*.md')),
    *sorted(DOCS.rglob('*.md')),
    *sorted((ROOT / 'configs').rglob('README.md')),
]
# They name modules and commands of before.
HISTORY = {ROOT / 'CHANGELOG.md', DOCS / 'renamed.md'}
CURRENT = [page for page in PAGES if page not in HISTORY]
REGISTRIES = [
    value for value in vars(registry).values() if isinstance(value, registry.Registry)
]


def pages(chosen):
    """Parametrise a test by pages."""
    ids = [str(page.relative_to(ROOT)) for page in chosen]
    return pytest.mark.parametrize('page', chosen, ids=ids)


def code_blocks(page, language='python'):
    """Code of a page, block by block."""
    return re.findall(rf'```{language}\n(.*?)```', page.read_text(), re.DOTALL)


# --- links, paths, names, commands ------------------------------------------------


def anchors(page):
    """What a forge makes of a page's headings."""
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    headings = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    plain = [re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', h).lower() for h in headings]
    return {re.sub(r'[^\w\- ]', '', h).replace(' ', '-') for h in plain}


@pages(PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if '://' in link:
            continue
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pages(CURRENT)
def test_paths_exist(page):
    folders = 'configs|docs|mmtlalign|requirements|tests|tools'
    for path in re.findall(rf'`((?:{folders})/[\w./*-]+)`', page.read_text()):
        assert 'NAME' in path or any(ROOT.glob(path.rstrip('/'))), path


def exists(name):
    """Whether ``mmtlalign.NAME`` is a registered type, a module or in one."""
    if any(name in known.module_dict for known in REGISTRIES):
        return True
    found = mmtlalign
    for part in name.split('.'):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(f'{found.__name__}.{part}')
            except (AttributeError, ImportError):
                return False
    return True


@pages(CURRENT)
def test_names_exist(page):
    for known in REGISTRIES:
        known.import_from_location()
    names = re.findall(r'\bmmtlalign\.(\w+(?:\.\w+)*)(?![\w…])', page.read_text())
    placeholders = {'X', 'NAME'}
    wrong = {n for n in names if n not in placeholders and not exists(n)}
    assert not wrong


@pages(PAGES)
def test_imports_of_python_blocks_work(page):
    for block in code_blocks(page):
        for line in re.findall(r'^ *((?:from|import) .+)$', block, re.MULTILINE):
            exec(line, {})


def commands(page):
    """Tools of a page's commands, each with its flags."""
    text = page.read_text().replace('\\\n', ' ')
    command = r'\b(?:python|bash) (tools/\S+?\.\w+)([^`\n#|;]*)'
    for tool, rest in re.findall(command, text):
        yield tool, re.findall(r'(?<=\s)--[a-z][\w-]*', rest)


@pages(CURRENT)
def test_commands_exist_and_know_their_flags(page):
    for tool, flags in commands(page):
        file = ROOT / tool
        assert file.exists(), tool
        file = ROOT / 'tools' / 'train.py' if file.stem == 'dist_train' else file
        if file.suffix == '.py':
            sources = [file, *file.parent.rglob('*.py')]
            known = ''.join(source.read_text() for source in sources)
            assert [f for f in flags if f"'{f}'" not in known] == [], tool


# --- renamed.md -------------------------------------------------------------------


def alias_lines():
    """The lines of the table that the declared aliases ask for."""
    for name in [
        m.name for m in pkgutil.walk_packages(mmtlalign.__path__, 'mmtlalign.')
    ]:
        importlib.import_module(name)
    for owner, old, new, values in RENAMED:
        # Other tests may declare aliases of their own.
        if owner == 'type' and exists(old.removeprefix('mmtlalign.')):
            yield f'| type | `{old}` | `{new}` |'
        if owner == 'type' or '<locals>' in owner:
            continue
        if old != new:
            yield f'| `{owner}` | `{old}=` | `{new}=` |'
        for before, after in values.items():
            yield f'| `{owner}` | `{old}={before!r}` | `{new}={after!r}` |'


def test_page_of_renamed_names_has_every_alias():
    text = (DOCS / 'renamed.md').read_text()
    _, table, _ = re.split(r'<!-- (?:end of )?aliases -->', text)
    written = set(re.findall(r'^\| (?:`|type ).*$', table, re.MULTILINE))
    declared = set(alias_lines())
    add, remove = sorted(declared - written), sorted(written - declared)
    assert not add, 'add to the table of docs/renamed.md:\n' + '\n'.join(add)
    assert not remove, (
        'no alias is declared in the code for these lines of docs/renamed.md; '
        'remove or correct:\n' + '\n'.join(remove)
    )


# --- other pages ------------------------------------------------------------------


def test_api_page_lists_what_the_package_gives():
    table = (DOCS / 'api.md').read_text().partition('## ')[0]
    listed = set(re.findall(r'`mmtlalign\.(\w+)', table))
    given = {name for name in dir(mmtlalign) if not name.startswith('_')}
    modules = {n for n in given if isinstance(getattr(mmtlalign, n), types.ModuleType)}
    assert listed - {'__version__'} == given - modules


def addresses_of_the_project():
    """Every address of a config, tool or module that is no paper and no code."""
    for folder in ('configs', 'mmtlalign', 'tools'):
        for file in (ROOT / folder).rglob('*.*'):
            if file.suffix in ('.py', '.sh'):
                text = re.sub(r"'\s*\n\s*'", '', file.read_text())
                for found in re.findall(r'https?://[^\s\'"`)>,;…{}|*]+', text):
                    if 'arxiv.org' not in found and 'git-lfs' not in found:
                        yield file, found
    for data in DATA_SETS.values():
        for address, _ in (data.downloads or {}).values():
            yield data.title, address


def test_every_address_is_listed_with_its_checksum():
    page = (DOCS / 'addresses.md').read_text()
    missing = [(f, a) for f, a in addresses_of_the_project() if a not in page]
    assert not missing, 'add to docs/addresses.md'
    for data in DATA_SETS.values():
        for name, (address, md5) in (data.downloads or {}).items():
            assert f'| `{name}` | {address} | {md5} |' in page
    configs = (ROOT / 'configs').rglob('*.py')
    assert not [c for c in configs if '://' in c.read_text().replace('arxiv', '')]


def test_glossary_defines_each_term_once():
    rows = re.findall(
        r'^\| ([^|]+) \|', (DOCS / 'glossary.md').read_text(), re.MULTILINE
    )
    terms = [row for row in rows if row != 'term' and not row.startswith('--')]
    assert len(terms) > 40
    assert len(terms) == len(set(terms))


def test_index_names_every_page():
    index = (DOCS / 'README.md').read_text()
    for page in DOCS.glob('*.md'):
        assert page.name == 'README.md' or f'({page.name})' in index, page.name


def test_pre_commit_has_the_ruff_of_the_tests():
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    pins = (ROOT / 'requirements' / 'test.txt').read_text().splitlines()
    for hook in hooks['repos'][0]['hooks']:
        assert set(hook['additional_dependencies']) <= set(pins)


# --- code that runs ---------------------------------------------------------------


def test_readme_upgrades_a_recipe(tmp_path):
    (config,) = code_blocks(ROOT / 'README.md')
    file = tmp_path / 'my_config.py'
    file.write_text(config)
    init_default_scope('mmpretrain')
    model = MODELS.build(Config.fromfile(file).model)
    assert type(model.head).__name__ == 'TLAlignVisionTransformerClsHead'
    assert model.head.num_classes == 1000


def test_quick_start_loads_a_model(monkeypatch):
    monkeypatch.chdir(ROOT)
    (block,) = code_blocks(DOCS / 'quickstart.md')
    names = {}
    exec(block, names)
    assert names['features'].shape == (2, 384)


def test_plain_pytorch_page_trains_a_step():
    blocks = code_blocks(DOCS / 'plain_pytorch.md')
    example, picture_of_shares, transmix, instead_of_mixup = blocks
    names = {}
    exec(example, names)
    assert names['target'].shape == (4, 10)
    torch.testing.assert_close(names['target'].sum(dim=1), torch.ones(4))
    assert all(p.grad is not None for p in names['model'].parameters())
    exec(picture_of_shares, names)
    assert names['picture'].shape == (14, 14)
    assert 0 <= names['picture'].min() and names['picture'].max() <= 1
    exec(transmix, names)
    torch.testing.assert_close(names['target'].sum(dim=1), torch.ones(4))
    timms = timm.data.Mixup(1.0, 0.0, prob=0.0, label_smoothing=0.1, num_classes=10)
    _, labels = timms(names['images'], torch.tensor([0, 3, 3, 7]))
    exec(instead_of_mixup, names)
    torch.testing.assert_close(names['mix'].labels, labels)


BACKBONE_BLOCKS = code_blocks(DOCS / 'add_a_backbone.md')


@pytest.fixture(scope='module')
def names():
    """The names of the page, after its definitions and registrations ran.

    What the page registers is forgotten afterwards: the toys are no backbones of
    this package.
    """
    names = {'__name__': 'toy'}
    with pytest.MonkeyPatch.context() as patch:
        for kind in ('backbones', 'attentions', 'token_modules'):
            patch.setattr(KNOWN, kind, dict(getattr(KNOWN, kind)))
        for block in BACKBONE_BLOCKS:
            if not block.startswith('import mmtlalign'):
                exec(block, names)
        yield names


@pytest.mark.parametrize(
    'way',
    [
        'attention inside a forward',
        'attention behind an attribute',
        'pooled keys',
    ],
)
def test_registering_takes_less_than_30_lines(way):
    (block,) = [b for b in BACKBONE_BLOCKS if b.startswith(f'# register: {way}')]
    assert len([line for line in block.splitlines() if line.strip()]) < 30


def test_add_a_backbone_page_traces_what_it_says(names):
    (block,) = [b for b in BACKBONE_BLOCKS if b.startswith('import mmtlalign')]
    exec(block, names)
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
        ('AttributeAttention', torch.eye(17)),
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
    """Share (B, 1 + N, 1) after all layers, by matrices that are written out."""
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
