"""The tool that counts and times classifiers, and the tables of what networks cost."""

import json
import re

import pytest
from mmengine.config import Config
from repository import ROOT, tool
from tiny_run import write_config
from torch import nn

from mmtlalign.evaluation.cost import count, image_size
from tools.analysis_tools.published_costs import (
    CONCERNED,
    NOTES,
    PUBLISHED,
    notes,
    published,
)
from tools.configs.metafiles import without_memory
from tools.configs.tables import (
    families,
    first_runs,
    networks,
    pretraining_runs,
)

COST = tool('analysis_tools/cost')
CONFIGS = ROOT / 'configs'
DEIT = CONFIGS / 'tlalign/tlalign_deit-tiny-p16_8xb128-coslr-300e_in1k.py'
MAPS = CONFIGS / 'small/token-label_lvvit-mini-p8_imagenette-64px.py'
# Of the tiny config: two layers of width 16 on 4 x 4 patches of 8 pixels; 32 inside
# the feed-forward.
TOKENS, WIDTH = 17, 16
TINY = 16 * 192 * WIDTH + 2 * WIDTH
TINY += 2 * (8 * TOKENS * WIDTH**2 + 2 * TOKENS**2 * WIDTH)
QUICK = ('--warm-up', '0', '--repeats', '2', '--batch-size', '2', '--device', 'cpu')


@pytest.fixture
def tiny(tmp_path):
    return write_config(tmp_path, tmp_path)


@pytest.fixture
def run(tmp_path, capsys):
    """What the tool says, and what it writes."""

    def call(*arguments):
        file = tmp_path / 'cost.json'
        COST.main([*map(str, arguments), '--json', str(file)])
        return capsys.readouterr().out, json.loads(file.read_text())

    return call


def test_counts_with_published_values_and_notes(run, tiny):
    said, found = run(DEIT, tiny)
    big, small = found['rows']
    assert (big['parameters'], big['size']) == (5717416, 224)
    assert big['macs'] / 1e9 == pytest.approx(1.2537, abs=5e-5)
    assert (small['macs'], small['size'], small['published']) == (TINY, 32, '')
    assert re.search(r'deit-tiny\S* \[1,2\] +224 +5\.717 +1\.2537 +1\.3 \(DeiT\)', said)
    assert "1.6 (TL-Align's README" in said and NOTES['attention'] in said
    assert 'Counted by torch.utils.flop_counter' in said and 'im/s' not in said


def test_another_size(run, tiny):
    _, found = run(tiny, '--size', 64, '--cfg-options', 'model.backbone.img_size=64')
    assert found['rows'][0]['size'] == 64
    assert found['rows'][0]['macs'] > 4 * TINY - 3 * 2 * WIDTH


def test_unused_parameters_are_named(run, tiny, monkeypatch):
    build = COST.build

    def with_more(cfg, path):
        model = build(cfg, path)
        model.spare = nn.Linear(2, 2)
        return model

    monkeypatch.setattr(COST, 'build', with_more)
    said, found = run(tiny)
    assert 'does not use the parameters spare.weight, spare.bias' in said
    assert found['rows'][0]['unused'] == ['spare.weight', 'spare.bias']
    assert found['rows'][0]['macs'] == TINY


@pytest.mark.parametrize('amp', [(), ('--amp',)])
def test_throughput_is_a_ratio_to_the_control(run, tiny, tmp_path, amp):
    other = write_config(tmp_path, tmp_path, "optim_wrapper['optimizer']['lr'] = 0.1")
    arguments = (other, '--throughput', '--control', tiny, *QUICK, *amp)
    said, found = run(*arguments)
    assert found['control'] == str(tiny)
    assert [row['config'] for row in found['rows']] == [str(tiny), str(other)]
    for row in found['rows']:
        for phase in ('inference', 'training'):
            timed = row['throughput'][phase]
            assert len(timed['seconds']) == 2 and timed['images_per_second'] > 0
            assert (timed['ratio'] == 1) == (row['config'] == str(tiny))
    setting = [found[key] for key in ('batch', 'precision', 'device', 'repeats')]
    assert setting == [2, 'bfloat16' if amp else 'fp32', 'cpu', 2]
    assert f'Ratios are to {tiny.stem}: above 1 is faster.' in said
    assert 'training ratio' in said and 'threads' in said


def test_label_maps_are_made_up(run):
    _, found = run(MAPS, '--throughput', *QUICK)
    assert found['rows'][0]['throughput']['training']['images_per_second'] > 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none.py'], 'none.py'),
        (
            [CONFIGS / 'esvit/esvit_swin-mini-p4-w4_digits-32px.py'],
            'is not a classifier',
        ),
        (
            [CONFIGS / 'small/swin-mini-p4-w4_upernet_camvid-128x128.py'],
            'EncoderDecoder of mmseg is not a classifier',
        ),
        (
            [
                CONFIGS / 'pvt/pvt-tiny_8xb128-coslr-300e_in1k.py',
                *('--size', 16),
            ],
            r'16 x 16 pixels: Images of 16x16 pixels: this PVT needs',
        ),
        (['TINY', '--size', 32, '--throughput', '--batch-size', 0], 'takes 1 or more'),
        (['TINY', '--size', 0], '--size takes 1 or more'),
        (['TINY', '--warm-up', -1], '--warm-up takes 0 or more'),
        (['TINY', '--control', 'TINY'], '--control is used with --throughput'),
        (['UNSIZED'], 'does not set the size of its images: add --size'),
        (
            [
                *('TINY', '--throughput', *QUICK),
                *('--cfg-options', 'optim_wrapper=None'),
            ],
            'optim_wrapper is missing',
        ),
    ],
)
def test_wrong_input(arguments, message, tmp_path, capsys):
    names = dict(
        TINY=write_config(tmp_path, tmp_path),
        UNSIZED=write_config(tmp_path, tmp_path, "model['backbone'].pop('img_size')"),
    )
    arguments = [str(names.get(a, a)) for a in arguments]
    with pytest.raises(SystemExit) as stop:
        COST.main(arguments)
    assert re.search(message, f'{stop.value.code} {capsys.readouterr().err}')


# ------------------------------------------------------------------ published values


def test_published_values_are_of_the_network_and_size():
    deit = dict(type='VisionTransformer', arch='deit-small', patch_size=16)
    assert published(deit, 224).startswith('4.6 (DeiT)')
    assert published(dict(deit, type='mmpretrain.VisionTransformer'), 224)
    assert published(deit, 384) == published(dict(deit, patch_size=8), 224) == ''
    swin = dict(type='SwinTransformer', arch='tiny')
    assert published(swin, 224) == published(dict(swin, window_size=7), 224) != ''
    assert published(dict(swin, window_size=14), 224) == ''
    assert published(dict(type='ResNet', depth=50), 224) == ''
    assert notes(dict(type='mmtlalign.DHVT')) == ['attention', 'dhvt']
    assert notes(dict(type='ResNet')) == []


def test_every_published_value_has_its_source_and_every_note_exists():
    for row in PUBLISHED:
        values = row.macs.split('), ')
        assert all(re.match(r'\d+\.\d+ \(\w', value) for value in values), row
    assert {key for keys in CONCERNED.values() for key in keys} <= NOTES.keys()


# --------------------------------------------------------------------------- tables


@pytest.fixture(scope='module')
def page():
    """The rows of docs/backbones.md: (config, size) -> parameters, MACs."""
    text = (ROOT / 'docs/backbones.md').read_text(encoding='utf-8')
    rows = re.findall(
        r'^\| \[`\S+`\]\(\.\./(configs/\S+\.py)\) \| `\w+` \| (\d+) '
        r'\| (\d+\.\d{3}) \| (\d+\.\d{3}) \|',
        text,
        re.MULTILINE,
    )
    return {name: (int(size), *map(float, cells)) for name, size, *cells in rows}


def check(name, row):
    """A row of the page is what the counter says."""
    cfg = Config.fromfile(ROOT / name)
    model = cfg.model.backbone
    if '/esvit/' not in name:
        model = dict(cfg.model, data_preprocessor=cfg.data_preprocessor)
    if model.get('backbone', {}).get('type') == 'mmtlalign.TIMMBackbone':
        model['backbone'].pretrained = False
    size, parameters, macs = row
    assert size == image_size(cfg)
    found = count(without_memory(model), size)
    assert found.parameters / 1e6 == pytest.approx(parameters, abs=5.1e-4)
    assert found.macs / 1e9 == pytest.approx(macs, abs=5.1e-4)


def test_two_rows_of_the_page_are_what_the_counter_says(page):
    for part in ('tlalign_deit-tiny-p16', 'dhvt-tiny-p4_2xb256'):
        (name,) = (name for name in page if f'/{part}' in name)
        check(name, page[name])


@pytest.mark.slow
def test_all_rows_of_the_page_are_what_the_counter_says(page):
    assert len(page) > 30
    for name, row in page.items():
        check(name, row)


def test_a_network_stands_once_for_each_size_as_its_paper_has_it(page):
    runs = first_runs(
        pretraining_runs(CONFIGS), lambda run: (run.network, run.cost['Image Size'])
    )
    assert len(page) == len(runs)
    names = {key: run.path.stem for key, run in runs.items()}
    assert names['deit-small-p16', 224].startswith('tlalign_deit-small-p16_8xb128')
    assert names['lvvit-tiny-p16', 224].startswith('token-label_')
    assert names['dhvt-tiny-p16', 224] == 'dhvt-tiny-p16_2xb128-coslr-300e_in1k'
    text = networks(CONFIGS)
    assert '| 4.5 (Swin), 4.51 (timm) |' in text and NOTES['backbone'] in text


def test_model_zoo_has_the_sizes_of_each_network():
    text = families(CONFIGS)
    sizes = '5.7 / 22.1 / 86.6 | 1.25 / 4.60 / 17.56'
    assert f'| `deit-p16` | tiny, small, base | {sizes} |' in text
    assert '| `swin-p4-w7` | tiny, small, base | 28.3 / 49.6 / 87.8 |' in text
    assert '`resnet50`' in text and '-w14`' not in text
    assert text in (ROOT / 'docs/model_zoo.md').read_text(encoding='utf-8')
